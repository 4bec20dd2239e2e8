"""A session does what a page says, and tells where the page is wrong."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pages.blocks import Block
from tests.support.pages.session import PageError, Session
from tests.support.processes import free_port

SERVER = """#!/bin/sh
exec python -c '
import http.server, os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode())
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["SLUICE_PORT"])), Handler).serve_forever()'
"""


def sh(text: str, output: str = "") -> Block:
    return Block("page.md", "sh", text, output=output)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session in whose path there is no Sluice."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("python", "curl", "mkdir", "cat"):
        found = shutil.which(name) or shutil.which(f"{name}3")
        assert found is not None
        (programs / name).symlink_to(found)
    folder = tmp_path / "folder"
    folder.mkdir()
    environ = {**os.environ, "PATH": f"{programs}:/bin:/usr/bin"}
    with Session(folder, free_port(), environ, f'PROGRAMS="{programs}"') as opened:
        yield opened


def test_block_begins_where_the_one_before_it_ended(session: Session) -> None:
    """`cd` holds for the blocks below it, for files too."""
    session.run(sh("mkdir mine\ncd mine"))
    session.run(Block("page.md", "text", "hello\n", file="greeting.txt"))
    session.run(sh("cat greeting.txt", output="hello"))
    assert session.folder.name == "mine"


def test_command_that_fails_is_named_with_what_it_printed(session: Session) -> None:
    """A block ends at its first command that fails."""
    with pytest.raises(PageError, match=r"page\.md: echo after: exit code 3\nbefore\n$"):
        session.run(sh("echo before\n(exit 3)\necho after"))


def test_output_that_the_page_shows_wrongly_is_told(session: Session) -> None:
    """What is printed is compared with what is shown."""
    with pytest.raises(PageError, match="it prints otherwise:\ntwo"):
        session.run(sh("echo two", output="one"))


def test_server_is_asked_on_a_port_of_its_own_and_stopped(session: Session) -> None:
    """The page names port 3000; commands and files of the session have the port of its server."""
    (Path(session.folder).parent / "programs" / "sluice").write_text(SERVER)
    (Path(session.folder).parent / "programs" / "sluice").chmod(0o755)
    session.run(sh("sluice serve --store models"))
    session.run(sh("curl -sf http://127.0.0.1:3000/here", output="/here"))
    session.close()
    with pytest.raises(PageError, match="exit code 7"):
        session.run(sh("curl -sf http://127.0.0.1:3000/here"))


def test_server_that_does_not_start_is_told(session: Session) -> None:
    """A server that ends is not waited for, and what it printed is shown."""
    with pytest.raises(PageError, match=r"no server became ready:\n.*sluice: command not found"):
        session.run(sh("sluice serve"))
