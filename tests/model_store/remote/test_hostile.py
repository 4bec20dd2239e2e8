"""Remote stores that try to keep a mirror from its work."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_store import Store
from model_store.errors import RemoteError
from model_store.remote.address import read_address
from model_store.remote.contents import RemoteFile
from model_store.remote.mirror import Mirror
from model_store.remote.stores.opening import open_remote
from model_store.remote.stores.remote_store import tell_fault
from tests.model_store.remote.conftest import list_versions
from tests.support.remotes.folders import FolderStore


@pytest.mark.parametrize(
    "listed",
    [
        {"a/1/main.onnx": RemoteFile("", 10**30, "")},
        {"a/1/main.onnx": RemoteFile("", 3, ""), "a/1/main.onnx/other.onnx": RemoteFile("", 3, "")},
        {"m/1": RemoteFile("", 3, "")},
    ],
    ids=["larger than the disk", "file and folder at once", "file with the name of a version"],
)
def test_objects_that_no_folder_can_have_do_not_stop_the_others(
    mirror: Mirror, remote: FolderStore, copy: Store, monkeypatch: pytest.MonkeyPatch, listed: dict[str, RemoteFile]
) -> None:
    """Whoever may publish one model of a bucket cannot keep the other models from being followed."""
    list_files, read = remote.list_files, remote.read
    monkeypatch.setattr(remote, "list_files", lambda only: {**listed, **list_files(only)})
    monkeypatch.setattr(remote, "read", lambda where, *part: read(where, *part) if where else b"any")
    mirror.refresh()
    assert list_versions(copy) == [1, 2]


@pytest.mark.parametrize("first", ["note", "note/text"])
def test_file_that_becomes_a_folder_is_mended(
    mirror: Mirror, remote: FolderStore, source: Store, copy: Store, first: str
) -> None:
    """And the other way round: what no manifest lists may change, and does not stop the mirror."""
    folder = source.root / "m/1"

    def write(path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"any")

    write(folder / first)
    mirror.refresh()
    (folder / first).unlink()
    if first == "note/text":
        (folder / "note").rmdir()
    second = "note" if first == "note/text" else "note/text"
    write(folder / second)
    mirror.refresh()
    assert (copy.root / "m/1" / second).read_bytes() == b"any"


@pytest.mark.parametrize("aliases", [b"[" * 200_000, b'{"stable": []}'], ids=["deep", "a list"])
def test_aliases_that_are_none_do_not_stop_the_others(
    mirror: Mirror, source: Store, copy: Store, aliases: bytes
) -> None:
    """Nor if they are compared with the versions that could not be fetched."""
    (source.root / "m/2/main.onnx").write_bytes(b"owt")
    (source.root / "m/aliases.json").write_bytes(aliases)
    mirror.refresh()
    assert list_versions(copy) == [1]


@contextmanager
def answering(pages: dict[str, bytes], link: str = "", location: str = "") -> Iterator[str]:
    """The address of a server that answers each path that has one of the words with its page, or leads elsewhere."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = next((page for word, page in pages.items() if word in self.path), b"")
            self.send_response(302 if location else 200)
            self.send_header("Link", link)
            self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


_ONE = b'{"repositories": ["m"]}'


@pytest.mark.parametrize(
    ("pages", "link"),
    [
        ({"catalog": b'{"repositories": ' + b"[" * 200_000}, ""),
        ({"catalog": _ONE}, '<http://[>; rel="next"'),
        ({"catalog": _ONE, "tags": b'{"tags": 5}'}, ""),
    ],
    ids=["deep", "bad link", "no list of tags"],
)
def test_registry_that_answers_nonsense_counts_as_away(pages: dict[str, bytes], link: str) -> None:
    """What it answers is told, and no error is of a kind that nobody expects."""
    with answering(pages, link) as host, pytest.raises(RemoteError):
        open_remote(read_address(f"oci://{host}")).list_files(())


@pytest.mark.parametrize(
    "pages",
    [
        {"catalog": _ONE, "tags": b'{"tags": [1, null]}'},
        {"catalog": _ONE, "tags": b'{"tags": ["1"]}', "manifests": b'{"layers": ' + b"[" * 200_000},
    ],
    ids=["tags that are no texts", "deep manifest"],
)
def test_what_is_no_model_in_a_registry_is_left_out(pages: dict[str, bytes]) -> None:
    with answering(pages) as host:
        assert open_remote(read_address(f"oci://{host}")).list_files(()) == {}


def test_registry_that_lists_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its list, which has no end, fills the memory."""
    monkeypatch.setattr("model_store.remote.stores.oci.MOST_FILES", 10)
    page = b'{"repositories": ["a", "b", "c", "d"]}'
    with (
        answering({"catalog": page}, '</v2/_catalog?again>; rel="next"') as host,
        pytest.raises(RemoteError, match="more than 10 files"),
    ):
        open_remote(read_address(f"oci://{host}")).list_files(())


@pytest.mark.parametrize("scheme", ["http", "oci"])
def test_redirect_to_plain_text_is_not_followed(scheme: str) -> None:
    """Neither files nor passwords go in plain text to another machine, wherever the store leads. This one has none."""
    with (
        answering({}, location="http://model-store.invalid/") as host,
        pytest.raises(RemoteError, match=r"leads to http://model-store\.invalid: expected https"),
    ):
        open_remote(read_address(f"{scheme}://{host}")).list_files(())


def test_web_server_with_folders_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look ends, though there is no file that could be counted."""
    monkeypatch.setattr("model_store.remote.stores.web._MOST_PAGES", 10)
    page = b"".join(b'<a href="%d/">' % number for number in range(1, 9))
    with answering({"": page}) as host, pytest.raises(RemoteError, match="more than 10 folders"):
        open_remote(read_address(f"http://{host}")).list_files(["m"])


@pytest.mark.parametrize("scheme", ["http", "oci"])
def test_signed_address_that_a_store_leads_to_is_not_told(scheme: str) -> None:
    """Logs and cards have the error, and who reads it could fetch the file."""
    with answering({}, location="https://127.0.0.1:1/blob?X-Amz-Signature=secret") as host:
        with pytest.raises(RemoteError) as raised:
            open_remote(read_address(f"{scheme}://{host}")).read("m@sha256:1", 0, 10)
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("403, url='https://h/x?sig=secret'", "403, url='https://h/x…'"),
        ("no proxy http://ann:secret@proxy:3128", "no proxy http://…@proxy:3128"),
        ("", "ValueError"),
    ],
)
def test_fault_of_a_library_has_no_secrets(text: str, told: str) -> None:
    assert tell_fault(ValueError(text)) == told
