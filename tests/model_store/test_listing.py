"""Stores with other layouts: what is served, and what is said about the rest."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model_store import Store
from model_store.errors import BadLayout, NotInStore
from model_store.listing import Contents
from tests.support.models.graphs import write_plain
from tests.support.models.manifests import describe

ONNX = b"onnx"


def put(root: Path, *files: str) -> Path:
    """Files with any content, with the folders around them; a name that ends in a slash is an empty folder."""
    for file in files:
        path = root / file
        if file.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(ONNX)
    return root


def list_one(root: Path, name: str = "m") -> Contents:
    """What the store says of a model, by both ways to ask."""
    store = Store(root)
    found = store.list_all()[name]
    assert store.list_model(name) == found
    assert store.names() == ([name] if found.folders else [])
    return found


# Refused, with the reason


@pytest.mark.parametrize(
    ("files", "version", "reason"),
    [
        (["m/"], "", "m is empty: expected the file m/1/model.onnx"),
        (["m/a.txt", "m/weights/"], "", "m holds a.txt, weights but no version: expected the file m/1/model.onnx"),
        (["m/1/"], "1", "m/1 is empty: expected model.onnx"),
        (["m/1"], "1", "m/1 is a file: expected a folder with model.onnx in it"),
        (["m/1/model.pt"], "1", "m/1 holds model.pt but no ONNX file: expected model.onnx"),
        (["m/1/.hidden"], "1", "m/1 is empty"),
        (["m/1/a.onnx", "m/1/b.onnx"], "1", "m/1 holds a.onnx, b.onnx but no model.onnx: rename the one"),
        ([f"m/1/{n}.onnx" for n in range(7)], "1", "0.onnx, 1.onnx, 2.onnx, 3.onnx, 4.onnx and 2 more"),
        (["m/1/model.onnx/"], "1", "m/1/model.onnx is empty: expected model.onnx"),
        (["m/1/model.onnx/model.onnx/"], "1", "m/1/model.onnx/model.onnx is a folder: expected an ONNX file"),
        (["m/v1/model.onnx"], "v1", "m/v1 is no version: expected a whole number from 1 as its name"),
        (["m/001/model.onnx"], "001", "without leading zeros"),
        (["m/0/model.onnx"], "0", "a whole number from 1"),
        ([f"m/{'9' * 19}/model.onnx"], "9" * 19, "at most 18 digits"),
        (["m/latest/model.onnx"], "latest", "rename it"),
        (["m/next/manifest.json"], "next", "m/next is no version"),
        (["m/v1/"], "v1", "m/v1 is no version"),
        (["m/a.onnx", "m/b.onnx"], "", "m holds a.onnx, b.onnx but no model.onnx"),
        (["m/manifest.json", "m/main.onnx"], "", "m holds manifest.json: expected it in m/1"),
    ],
)
def test_folder_that_holds_no_model_is_told_with_the_reason(
    tmp_path: Path, files: list[str], version: str, reason: str
) -> None:
    """The reason says what was found, what is expected and what to do."""
    found = list_one(put(tmp_path, *files))
    [told] = found.unusable
    assert (told.name, told.version, dict(found.folders)) == ("m", version, {})
    assert reason in told.reason
    with pytest.raises(NotInStore, match="no version of 'm' can be used: "):
        Store(tmp_path).find("m")


@pytest.mark.parametrize("name", ["with space", "modèle", "-m", "x" * 101, "a\nb", "a%2Fb"])
def test_name_that_an_address_cannot_carry_is_told_with_what_it_may_have(tmp_path: Path, name: str) -> None:
    """The folder is listed on one line with the characters that a name may have."""
    put(tmp_path, f"{name}/1/model.onnx")
    [(shown, contents)] = Store(tmp_path).list_all().items()
    [told] = contents.unusable
    assert shown == told.name == name.replace("\n", "\\n")
    assert "expected letters, digits, '.', '_', '-', 100 at most, the first a letter or digit, got " in told.reason
    assert told.reason.isprintable()


def test_name_that_is_no_text_can_be_shown(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are escaped, so that the index can be sent."""
    os.makedirs(os.fsencode(tmp_path) + b"/caf\xe9/1")
    [(shown, contents)] = Store(tmp_path).list_all().items()
    (shown + contents.why).encode()
    assert shown.startswith("caf\\")


def test_onnx_file_in_the_store_itself_says_where_it_belongs(tmp_path: Path) -> None:
    """An ONNX file without a folder is no model; the reason names the path that it should have."""
    found = Store(put(tmp_path, "resnet.onnx")).list_all()
    assert list(found) == ["resnet.onnx"]
    assert found["resnet.onnx"].why.endswith("move it to resnet/1/model.onnx")


def test_store_that_is_the_folder_of_a_model_is_noticed(tmp_path: Path) -> None:
    """A version folder is not taken for a model; the reason names the folder above."""
    put(tmp_path, "resnet/1/model.onnx")
    found = Store(tmp_path / "resnet").list_all()["1"]
    assert not found.folders
    assert "give the folder above as the store" in found.why


def test_what_cannot_be_read_spoils_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders without permission and broken links are told, and the others are listed."""
    write_plain(tmp_path, "good", ONNX)
    put(tmp_path, "m/1/model.onnx", "m/2/model.onnx", "locked/1/model.onnx")
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    (tmp_path / "m/3").symlink_to("nothing")
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path) in (tmp_path / "locked", tmp_path / "m/2"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = Store(tmp_path).list_all()
    assert {name: list(contents.folders) for name, contents in found.items() if contents.folders} == {
        "good": [1],
        "m": [1],
    }
    assert found["locked"].why.startswith("locked cannot be read: Permission denied: let the user")
    assert found["gone"].why == "gone is a symbolic link to nothing: fix or remove it"
    assert found["ring"].why.startswith("ring cannot be read: Too many levels of symbolic links")
    assert [told.version for told in found["m"].unusable] == ["2", "3"]
    assert str(tmp_path) not in "".join(contents.why for contents in found.values())  # it is not for callers


def test_unusable_version_is_told_to_who_asks_for_it(tmp_path: Path) -> None:
    """The version is refused with its reason, not as missing."""
    put(tmp_path, "m/1/model.onnx", "m/2/")
    store = Store(tmp_path)
    assert store.find("m").version == 1
    with pytest.raises(NotInStore, match="version 2 of 'm' cannot be used: m/2 is empty"):
        store.find("m", 2)


# Served all the same


@pytest.mark.parametrize(
    ("files", "file"),
    [
        (["m/1/resnet.onnx"], "1/resnet.onnx"),
        (["m/1/resnet.onnx", "m/1/labels.txt", "m/1/._resnet.onnx"], "1/resnet.onnx"),
        (["m/1/Model.ONNX"], "1/Model.ONNX"),
        (["m/1/model.onnx", "m/1/other.onnx"], "1/model.onnx"),
        (["m/1/model.onnx/model.onnx", "m/1/model.onnx/other.onnx"], "1/model.onnx/model.onnx"),
        (["m/1/model.onnx/net.onnx", "m/1/model.onnx/w.bin"], "1/model.onnx/net.onnx"),
        (["m/model.onnx", "m/config.pbtxt", "m/weights/w.bin"], "model.onnx"),
        (["m/net.onnx"], "net.onnx"),
        (["m/model.onnx/model.onnx"], "model.onnx/model.onnx"),
    ],
)
def test_only_onnx_file_there_is_the_model(tmp_path: Path, files: list[str], file: str) -> None:
    """An unambiguous ONNX file is version 1."""
    put(tmp_path, *files)
    (tmp_path / "m" / file).write_bytes(b"the model")
    assert list_one(tmp_path).unusable == ()
    version = Store(tmp_path).find("m")
    assert (version.version, version.is_plain) == (1, True)
    assert version.read_plain().content == b"the model"


def test_model_without_external_data_is_read_without_onnx(tmp_path: Path) -> None:
    """onnx is imported only for a model with weights elsewhere, because the import is slow."""
    write_plain(tmp_path, "m", ONNX)
    program = (
        "import sys; from pathlib import Path; from model_store import Store; "
        "assert Store(Path(sys.argv[1])).find('m').read_plain().content; assert 'onnx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True, cwd=Path(__file__).resolve().parents[2])


def test_onnx_file_beside_versions_is_told_and_they_serve(tmp_path: Path) -> None:
    """A flat file beside version folders is not served."""
    found = list_one(put(tmp_path, "m/model.onnx", "m/1/model.onnx", "m/2/model.onnx"))
    assert list(found.folders) == [1, 2]
    [told] = found.unusable
    assert (told.version, "m holds model.onnx beside the versions 1, 2" in told.reason) == ("", True)


def test_publishing_beside_a_flat_file_does_not_take_its_number(tmp_path: Path) -> None:
    """The flat file may have been version 1, so the next one is 2."""
    store = Store(put(tmp_path, "m/model.onnx"))
    assert store.publish(describe(), {"main.onnx": ONNX}).version == 2
    assert [version.version for version in store.versions("m")] == [2]


def test_what_is_no_model_is_passed_over(tmp_path: Path) -> None:
    """Hidden folders, files of others and Triton's own folders are no models."""
    put(tmp_path, ".git/1/model.onnx", "lost+found/", "README.md", "m/.publish-x/model.onnx", "m/labels.txt")
    put(tmp_path, "m/1/model.onnx", "m/configs/a.pbtxt", "m/warmup/data", "m/aliases.json")
    assert list(Store(tmp_path).list_all()) == ["m"]
    assert list_one(tmp_path).unusable == ()


@pytest.mark.parametrize(
    ("default", "reason"),
    [
        ("sub/b.onnx", ""),
        ("", ""),
        ("d.onnx", "m/1/d.onnx is not there: copy it there"),
        ("../c.bin", "default_model_filename: expected a file in m/1, got '../c.bin'"),
        ("/etc/passwd", "default_model_filename: expected a file in m/1, got '/etc/passwd'"),
        ("a\0", "expected a file in m/1"),
    ],
)
def test_name_from_a_configuration_decides_which_file_serves(tmp_path: Path, default: str, reason: str) -> None:
    """It goes before model.onnx, and is refused where it is missing or leads out of the version."""
    put(tmp_path, "m/1/model.onnx", "m/1/sub/b.onnx", "m/c.bin", "m/config.pbtxt", "other/1/model.onnx")
    (tmp_path / "m/1/sub/b.onnx").write_bytes(b"b")
    store = Store(tmp_path, read_default=lambda name, content: default if (name, content) == ("m", ONNX) else "")
    found = store.list_all()
    assert list(found["other"].folders) == [1]  # it has no configuration
    assert reason in found["m"].why
    if not reason:
        assert store.find("m").read_plain().content == (b"b" if default else ONNX)


def test_configuration_that_cannot_be_read_takes_its_own_model_only(tmp_path: Path) -> None:
    """The fault is the reason of its model; the others are listed."""

    def refuse(name: str, content: bytes) -> str | None:
        raise BadLayout(f"{name}: expected a name")

    store = Store(put(tmp_path, "m/1/model.onnx", "m/config.pbtxt", "other/1/model.onnx"), read_default=refuse)
    assert store.names() == ["other"]
    assert store.list_all()["m"].why == "m: expected a name"


# Links


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the store, with a model in it."""
    return put(tmp_path / "elsewhere", "m/1/model.onnx")


@pytest.mark.parametrize(
    ("link", "to", "version"),
    [("m", "m", ""), ("m/1", "m/1", "1"), ("m/1/model.onnx", "m/1/model.onnx", "1"), ("m/current", "m/1", "current")],
)
def test_link_out_of_the_store_is_refused_unless_it_is_allowed(
    tmp_path: Path, outside: Path, link: str, to: str, version: str
) -> None:
    """The reason names the setting that would allow the link."""
    root = tmp_path / "store"
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(outside / to)
    [told] = Store(root).list_all()["m"].unusable
    assert (told.version, "leads outside of the store by a symbolic link" in told.reason) == (version, True)
    assert "SLUICE_FOLLOW_LINKS=true" in told.reason
    assert str(outside) not in told.reason
    if link != "m/current":
        assert Store(root, follow_links=True).find("m", 1).read_plain().content == ONNX


def test_file_that_becomes_a_link_after_the_listing_is_not_read(tmp_path: Path, outside: Path) -> None:
    """The path is checked again when it is read."""
    version = Store(write_plain(tmp_path / "store", "m", ONNX)).find("m")
    (version.folder / "model.onnx").unlink()
    (version.folder / "model.onnx").symlink_to(outside / "m/1/model.onnx")
    with pytest.raises(BadLayout, match="leads outside of the store"):
        version.read_plain()


@pytest.mark.parametrize("file", ["main.onnx", "manifest.json"])
def test_published_file_that_is_a_link_out_of_the_store_is_refused(tmp_path: Path, file: str) -> None:
    """Neither the manifest nor its files are read through such a link."""
    version = Store(tmp_path / "store").publish(describe(), {"main.onnx": ONNX})
    (version.folder / file).rename(tmp_path / file)
    (version.folder / file).symlink_to(tmp_path / file)
    with pytest.raises(BadLayout, match=f"m/1/{file} leads outside of the store"):
        Store(tmp_path / "store").find("m").verify()
    assert Store(tmp_path / "store", follow_links=True).find("m").verify().name == "m"


def test_links_within_the_store_are_followed(tmp_path: Path) -> None:
    """Kubernetes mounts volumes as links into a hidden folder; a root may be a link too."""
    put(tmp_path / "volume", "..2026/m/1/model.onnx", "..2026/n/1/net.bin")
    root = tmp_path / "volume"
    (root / "..data").symlink_to("..2026")
    (root / "m").symlink_to("..data/m")
    (root / "n").mkdir()
    (root / "n/1").symlink_to("../..data/n/1")
    (root / "..2026/n/1/model.onnx").symlink_to("net.bin")
    (tmp_path / "store").symlink_to(root)
    store = Store(tmp_path / "store")
    assert store.names() == ["m", "n"]
    assert [store.find(name).read_plain().content for name in store.names()] == [ONNX, ONNX]
