"""A store behind a link that only the kernel can follow."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store import Store
from model_store.errors import BadLayout
from model_store.files.links import Boundary
from service.settings import Settings
from tests.support.models.graphs import double, write_plain

OTHER_ROOT = """
import os, shutil, subprocess, sys
root, store = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "none", root], check=True)
shutil.copytree(store, root + "/models", symlinks=True)
os.chroot(root)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Path]:
    """A link to a store in another container, as KServe makes it: its text leads to a folder that is not there."""
    store = write_plain(tmp_path / "store", "double", double())
    (store / "double" / "config.pbtxt").write_text('name: "double"')
    (store / "inside").symlink_to("double")
    (store / "outside").symlink_to("../..")
    root = tmp_path / "root"
    root.mkdir()
    command = ["unshare", "--mount", sys.executable, "-c", OTHER_ROOT, str(root), str(store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            pytest.skip("a namespace of mounts cannot be made here")
        link = tmp_path / "link"
        link.symlink_to(f"/proc/{process.pid}/root/models")
        yield link
        process.stdin.close()


def test_link_leads_elsewhere_when_it_is_resolved(link: Path) -> None:
    """The link is of the kind that the other tests need."""
    assert os.listdir(link)
    assert not link.resolve().exists()


def test_store_behind_it_is_the_one_that_serves(link: Path) -> None:
    """The setting keeps the link, and models, their configuration and their files are read through it."""
    store = Settings(store=link).store
    assert store == link
    found = Store(store).find("double")
    assert found.read_beside("config.pbtxt") == b'name: "double"'
    assert bytes(found.read_plain().content) == double()


def test_links_behind_it_are_refused(link: Path) -> None:
    """A link in such a store cannot be checked, so it is not followed."""
    for name in ("inside", "outside"):
        with pytest.raises(BadLayout):
            Boundary(link).resolve(link / name)


def test_store_of_the_settings_keeps_its_links(tmp_path: Path) -> None:
    """A link may be turned to another folder while the server runs. Other paths are those that links lead to."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    settings = Settings(store=tmp_path / "link", engine_cache=tmp_path / "link")
    assert settings.store == tmp_path / "link"
    assert settings.engine_cache == tmp_path / "folder"
