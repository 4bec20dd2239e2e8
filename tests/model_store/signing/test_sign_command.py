"""`sluice models sign`, `verify --key`, and that OpenSSF's model-signing understands both."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from model_signing import signing, verifying

from model_store import ModelVersion, Store
from model_store.manifest import MANIFEST_FILE
from model_store.signing import SIGNATURE_FILE
from model_store.signing.signing import SigningKey
from tests.support.commands.models import run_models
from tests.support.models.graphs import double, write_plain
from tests.support.models.manifests import publish_each
from tests.support.signing.keys import DAY, IS_SERVER, NOW, Key, make_root, usage

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two versions of ``m``, and the plain model ``plain``."""
    return write_plain(publish_each(tmp_path / "models", b"one", b"two").root, "plain", double())


@pytest.fixture
def files(tmp_path: Path, key: Key) -> tuple[Path, Path]:
    """The files of the private and of the public key."""
    public = tmp_path / "public.pem"
    public.write_bytes(key.public_pem)
    return key.write(tmp_path / "key.pem"), public


def run(root: Path, *words: str | Path) -> int:
    return run_models(*words, "--store", root)


def newest(root: Path) -> ModelVersion:
    return Store(root).find("m")


def test_damaged_version_is_not_signed(root: Path, files: tuple[Path, Path], capsys: Capture) -> None:
    """Otherwise a signature would vouch for a file that nobody has published."""
    (newest(root).folder / "main.onnx").write_bytes(b"owt")
    assert run(root, "sign", "m", "--key", files[0]) == 1
    assert "main.onnx is not the file that was published" in capsys.readouterr().err
    assert not (newest(root).folder / SIGNATURE_FILE).exists()


def test_version_that_changes_while_it_is_signed_is_not_signed(
    root: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """What was signed is compared with the manifest before the signature is written."""
    sign = SigningKey.sign

    def change_before(self: SigningKey, folder: Path) -> bytes:
        path = folder / MANIFEST_FILE
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        signature = sign(self, folder)
        path.write_bytes(content)
        return signature

    monkeypatch.setattr(SigningKey, "sign", change_before)
    assert run(root, "sign", "m", "--key", files[0]) == 1
    assert "it does not fit manifest.json" in capsys.readouterr().err
    assert not (newest(root).folder / SIGNATURE_FILE).exists()


def test_plain_version_is_not_signed(root: Path, files: tuple[Path, Path], capsys: Capture) -> None:
    """It has no manifest, and the message says how to get one."""
    assert run(root, "sign", "plain", "--key", files[0]) == 1
    assert "`sluice import` makes a version of an ONNX file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["--key", "none.pem"], 1, "it cannot be read: No such file"),
        (["--key", "public.pem"], 1, "expected a PEM file of a private key"),
        (
            ["--key", "rsa.pem"],
            1,
            "rsa.pem: expected a private key on the curve P-256, P-384 or P-521, got",
        ),
        (["--key", "secret.pem"], 1, "its passphrase is needed: add --passphrase"),
        (["--key", "key.pem", "--certificate", "none.pem"], 1, "it cannot be read: No such file"),
        (["--key", "key.pem", "--certificate", "other.pem"], 1, "does not match"),
        (["--key", "key.pem", "--certificate", "old.pem"], 1, "has expired"),
        (["--key", "key.pem", "--chain", "old.pem"], 2, "expected --certificate too"),
    ],
)
def test_key_that_cannot_sign_is_refused(
    root: Path,
    files: tuple[Path, Path],
    words: list[str],
    code: int,
    why: str,
    key: Key,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    """In one line, and nothing is written."""
    key.write(tmp_path / "secret.pem", "a secret")
    if "rsa.pem" in words:
        subprocess.run(["openssl", "genrsa", "-out", tmp_path / "rsa.pem", "2048"], check=True, capture_output=True)
    signs = usage("digital_signature")
    (tmp_path / "other.pem").write_bytes(make_root().issue("other", signs).certificate_pem)
    old = Key(key.private).issue("old", signs, since=NOW - 9 * DAY, until=NOW - DAY)
    (tmp_path / "old.pem").write_bytes(old.certificate_pem)
    monkeypatch.chdir(tmp_path)
    assert run(root, "sign", "m", *words) == code
    captured = capsys.readouterr()
    assert (why in captured.err, captured.out, captured.err.count("\n")) == (True, "", 1)
    assert not (newest(root).folder / SIGNATURE_FILE).exists()


def test_signed_version_passes_and_others_fail(root: Path, files: tuple[Path, Path], capsys: Capture) -> None:
    """``verify --key`` wants a signature of each version, and says which has none; a plain one cannot have one."""
    private, public = files
    assert run(root, "sign", "m", "--version", "1", "--key", private) == 0
    assert capsys.readouterr().out == "signed m version 1\n"
    assert run(root, "verify", "m", "--version", "1", "--key", public) == 0
    assert run(root, "verify", "--key", public, "--json") == 1
    results = {(r["name"], r["version"]): r["reason"] for r in json.loads(capsys.readouterr().out.splitlines()[-1])}
    assert results["m", 1] == ""
    assert "m/2 has no signature" in results["m", 2]
    assert "plain version 1 has no manifest.json" in results["plain", 1]
    assert run(root, "verify") == 0


def test_key_of_the_server_is_the_default(
    root: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """``verify`` says what a server with the same variables would say; a key that cannot be read is told."""
    monkeypatch.setenv("SLUICE_SIGNED_BY", str(files[1]))
    assert run(root, "verify", "m") == 1
    assert "m/1 has no signature" in capsys.readouterr().out
    monkeypatch.setenv("SLUICE_SIGNED_BY", str(root / "none"))
    assert run(root, "verify", "m") == 1
    assert f"{root / 'none'}: expected a PEM file" in capsys.readouterr().err


def test_new_signature_takes_the_place_of_the_old_one(root: Path, files: tuple[Path, Path], tmp_path: Path) -> None:
    """So keys can be changed. Nothing but the signature is left in the folders of the model."""
    other = Key()
    (tmp_path / "other-public.pem").write_bytes(other.public_pem)
    assert run(root, "sign", "m", "--key", files[0]) == 0
    assert run(root, "sign", "m", "--key", other.write(tmp_path / "other.pem")) == 0
    assert run(root, "verify", "m", "--version", "2", "--key", files[1]) == 1
    assert run(root, "verify", "m", "--version", "2", "--key", tmp_path / "other-public.pem") == 0
    assert sorted(path.name for path in (root / "m").iterdir()) == ["1", "2"]
    assert sorted(path.name for path in newest(root).folder.iterdir()) == ["main.onnx", "manifest.json", "model.sig"]


def test_key_with_a_passphrase_signs(
    root: Path, files: tuple[Path, Path], key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """It comes from a variable, so that it is in no list of processes."""
    monkeypatch.setenv("SIGNING_KEY_PASSPHRASE", "a secret")
    assert run(root, "sign", "m", "--key", key.write(tmp_path / "secret.pem", "a secret"), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"name": "m", "version": 2, "file": "model.sig"}
    assert run(root, "verify", "m", "--version", "2", "--key", files[1]) == 0


def test_model_signing_verifies_what_the_command_has_signed(
    root: Path, files: tuple[Path, Path], key: Key, tmp_path: Path
) -> None:
    """By a key, and by a certificate with what is between it and the root."""
    private, public = files
    assert run(root, "sign", "m", "--key", private) == 0
    folder = newest(root).folder
    verifying.Config().use_elliptic_key_verifier(public_key=public).verify(folder, folder / SIGNATURE_FILE)
    paths = _write_chain(tmp_path)
    for chain, trusted in (([], paths["between"]), (["--chain", paths["between"]], paths["root"])):
        assert run(root, "sign", "m", "--key", paths["key"], "--certificate", paths["signer"], *chain) == 0
        assert run(root, "verify", "m", "--version", "2", "--key", trusted) == 0
    verifier = verifying.Config().use_certificate_verifier(certificate_chain=[paths["root"]])
    verifier.verify(folder, folder / SIGNATURE_FILE)


def test_command_verifies_what_model_signing_has_signed(root: Path, files: tuple[Path, Path], tmp_path: Path) -> None:
    """By a key, and by a certificate; the signature is in the folder of the version, under its default name."""
    private, public = files
    folder = newest(root).folder
    signing.Config().use_elliptic_key_signer(private_key=private).sign(folder, folder / SIGNATURE_FILE)
    assert run(root, "verify", "m", "--version", "2", "--key", public) == 0
    (folder / SIGNATURE_FILE).unlink()
    paths = _write_chain(tmp_path)
    signer = signing.Config().use_certificate_signer(
        private_key=paths["key"], signing_certificate=paths["signer"], certificate_chain=[paths["between"]]
    )
    signer.sign(folder, folder / SIGNATURE_FILE)
    assert run(root, "verify", "m", "--version", "2", "--key", paths["root"]) == 0


@pytest.mark.parametrize("kind", ["expired", "of a web server", "copied to another number"])
def test_command_refuses_some_of_what_model_signing_accepts(root: Path, tmp_path: Path, kind: str) -> None:
    """As the page on signatures says: model-signing looks neither at these dates and purposes nor at the folder."""
    authority = make_root(since=NOW - 9 * DAY)
    uses = (usage("digital_signature"), *([IS_SERVER] if kind == "of a web server" else []))
    ends = {"until": NOW - DAY} if kind == "expired" else {}
    signer = authority.issue("signer", *uses, since=NOW - 8 * DAY, **ends)
    (tmp_path / "root.pem").write_bytes(authority.certificate_pem)
    signature = signer.sign_version(newest(root))
    if kind == "copied to another number":
        signature = shutil.copytree(signature.parent, root / "m" / "7") / SIGNATURE_FILE
    verifier = verifying.Config().use_certificate_verifier(certificate_chain=[tmp_path / "root.pem"])
    verifier.verify(signature.parent, signature)
    assert run(root, "verify", "m", "--version", signature.parent.name, "--key", tmp_path / "root.pem") == 1


def _write_chain(folder: Path) -> dict[str, Path]:
    authority = make_root()
    between = authority.issue("between", usage("key_cert_sign"), is_authority=True)
    signer = between.issue("signer", usage("digital_signature"))
    paths = {"key": signer.write(folder / "signer-key.pem")}
    for name, each in (("root", authority), ("between", between), ("signer", signer)):
        paths[name] = folder / f"{name}.pem"
        paths[name].write_bytes(each.certificate_pem)
    return paths


@pytest.mark.slow
def test_command_lines_understand_each_other(root: Path, files: tuple[Path, Path]) -> None:
    """`model_signing` and `sluice models`, as programs: each verifies what the other has signed, and finds a change."""
    private, public = files
    folder = newest(root).folder
    signature = folder / SIGNATURE_FILE
    theirs = [sys.executable, "-m", "model_signing"]
    ours = [sys.executable, str(Path(__file__).parents[3] / "sluice.py"), "models"]
    their_check = [*theirs, "verify", "key", "--public_key", public, "--signature", signature, folder]
    our_check = [*ours, "verify", "m", "--version", "2", "--key", public, "--store", root]
    signs = (
        [*ours, "sign", "m", "--key", private, "--store", root],
        [*theirs, "sign", "key", "--private_key", private, "--signature", signature, folder],
    )
    for sign in signs:
        subprocess.run(sign, check=True, capture_output=True)
        assert [_code(check) for check in (their_check, our_check)] == [0, 0]
        (folder / "main.onnx").write_bytes(b"owt")
        assert [_code(check) for check in (their_check, our_check)] == [1, 1]
        (folder / "main.onnx").write_bytes(b"two")
        signature.unlink()


def _code(command: list[str | Path]) -> int:
    return subprocess.run(command, check=False, capture_output=True).returncode
