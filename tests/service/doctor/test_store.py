"""What `sluice doctor` says of a store; failures first."""

import shutil
from pathlib import Path

import pytest

from model_store import Store
from service.doctor import store as checked
from service.doctor.signatures import check_signers
from service.settings import Settings
from tests.support.models.graphs import double, write_plain
from tests.support.models.manifests import describe
from tests.support.signing.keys import DAY, NOW, Key, make_root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two versions of ``m``, and the plain model ``plain``."""
    for content in (b"one", b"two"):
        Store(tmp_path).publish(describe(), {"main.onnx": content})
    return write_plain(tmp_path, "plain", double())


def check(root: Path, **settings: object) -> list[tuple[str, str]]:
    return [(found.state, found.text) for found in checked.survey(Settings(store=root, **settings)).findings]


def test_no_store_and_an_empty_one_are_wrong(tmp_path: Path) -> None:
    """A server does not start without the folder, and serves nothing from an empty one."""
    [(state, text)] = check(tmp_path / "none")
    assert (state, "there is none" in text) == ("wrong", True)
    [(state, text)] = check(tmp_path)
    assert (state, "nothing to serve" in text) == ("wrong", True)


@pytest.mark.parametrize("most", [checked.MOST_READ_BYTES, 0], ids=["digests", "sizes"])
def test_damaged_file_is_named(root: Path, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another size is found in a store of any size; its model and version are named."""
    monkeypatch.setattr(checked, "MOST_READ_BYTES", most)
    (root / "m" / "1" / "main.onnx").write_bytes(b"damaged")
    [(state, text)] = check(root)
    assert (state, text.startswith("m version 1: main.onnx")) == ("wrong", True)


def test_file_of_the_same_size_is_found_by_its_digest(root: Path) -> None:
    """Its content is read and compared."""
    (root / "m" / "2" / "main.onnx").write_bytes(b"owt")
    assert [state for state, _ in check(root)] == ["wrong"]


def test_what_cannot_be_used_is_wrong_and_few_of_many_are_told(root: Path) -> None:
    """Five are told with their reasons, the others are counted."""
    for number in range(8):
        (root / f"empty-{number}").mkdir()
    found = check(root)
    assert [state for state, _ in found] == ["wrong"] * 6
    assert found[0][1] == "empty-0: empty-0 is empty: expected the file empty-0/1/model.onnx"
    assert found[-1][1] == "3 more versions cannot be used"


def test_model_of_the_settings_that_is_not_there_is_wrong(root: Path) -> None:
    """A misspelt name would leave a server without its model."""
    found = check(root, models=("m", "n"), default_models={"tensors": "o"})
    assert [text for state, text in found if state == "wrong"] == [
        "SLUICE_MODELS names 'n': the store holds m, plain",
        "SLUICE_DEFAULT_MODELS names 'o': the store holds m, plain",
    ]


def test_models_of_an_extra_that_is_missing_are_wrong(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setattr(checked, "find_spec", lambda name: None)
    count = checked._Count(needs={"tokenizers"})
    [found, _] = checked._tell(Settings(store=root), {"m": Store(root).list_model("m")}, count)
    assert (found.state, "sluice-serving[text]" in found.advice) == ("wrong", True)


def test_versions_that_are_not_signed_are_told(root: Path, tmp_path: Path) -> None:
    """The newest of each model, for it does not serve; of the older ones how many. What is signed is compared."""
    key, path = Key(), tmp_path / "public.pem"
    path.write_bytes(key.public_pem)
    assert [(state, text.partition(":")[0]) for state, text in check(root, signed_by=path)] == [
        ("wrong", "m/2 has no signature"),
        ("wrong", "plain version 1 has no manifest.json, which is what a signature covers, so it cannot be signed"),
        ("note", "1 older versions are not signed, and cannot serve"),
    ]
    shutil.rmtree(root / "plain")
    key.sign_version(Store(root).find("m"))
    assert [state for state, _ in check(root, signed_by=path)] == ["note", "ok"]


def test_keys_that_cannot_be_read_are_wrong(root: Path) -> None:
    """A server does not start; the store is looked at all the same."""
    [found] = check_signers(Settings(store=root, signed_by=root / "none"))
    assert (found.state, f"SLUICE_SIGNED_BY={root / 'none'}: expected a PEM file" in found.text) == ("wrong", True)
    assert [state for state, _ in check(root, signed_by=root / "none")] == ["ok"]
    assert not [*check_signers(Settings(store=root))]


def test_certificates_that_end_are_told_before(tmp_path: Path) -> None:
    """A month before, and when they have ended."""
    path = tmp_path / "root.pem"
    path.write_bytes(make_root("R", until=NOW + 40 * DAY).certificate_pem + Key().public_pem)
    settings = Settings(store=tmp_path, signed_by=path)
    found = [[each.state for each in check_signers(settings, NOW + days * DAY)] for days in (0, 20, 50)]
    assert found == [["ok"], ["ok", "note"], ["ok", "wrong"]]


def test_good_store_is_told_with_what_was_compared(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests, sizes where there are too many bytes, and plain files without either; the newest versions are summed."""
    [(state, text)] = check(root)
    assert state == "ok"
    assert text == f"2 models, 3 versions in {root}: 2 equal their digests (6 B read), 1 are plain, without digests"
    monkeypatch.setattr(checked, "MOST_READ_BYTES", 0)
    assert "2 have the right sizes" in check(root)[0][1]
    assert checked.survey(Settings(store=root)).newest_bytes == len(b"two") + len(double())
    assert checked.survey(Settings(store=root, models=("m",))).newest_bytes == len(b"two")
