"""The file of keys and certificates whose signatures count."""

import subprocess
import sys
from pathlib import Path

import pytest

from model_store.errors import BadKey
from model_store.signing.keys import parse_signers, read_signers
from model_store.signing.signing import SigningKey
from tests.support.signing.keys import Key, make_root


def refusal(content: bytes) -> str:
    with pytest.raises(BadKey) as caught:
        parse_signers(content)
    return str(caught.value)


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """The reason is that of the system."""
    for path, why in ((tmp_path / "none", "No such file"), (tmp_path, "it is a folder")):
        with pytest.raises(BadKey, match=f"it cannot be read: {why}"):
            read_signers(path)


@pytest.mark.parametrize("content", [b"", b"ssh-ed25519 AAAA me", Key().public_pem[:-40]])
def test_file_without_keys_is_refused(content: bytes) -> None:
    """Whatever else it holds: otherwise nobody's signature would count, and nobody would know why."""
    assert refusal(content) == "expected a PEM file of public keys or certificates, there are none in it"


def test_private_key_is_refused(tmp_path: Path) -> None:
    """A server does not need it, and must not have it."""
    content = Key().write(tmp_path / "key.pem").read_bytes()
    assert "got a private key, which only signers need: `openssl pkey -in KEY -pubout`" in refusal(content)
    assert "got a private key" in refusal(Key().public_pem + content)


@pytest.mark.parametrize(
    "options", [("rsa", "rsa_keygen_bits:2048"), ("ec", "ec_paramgen_curve:secp256k1"), ("ed25519", None)]
)
def test_keys_of_other_kinds_are_refused(options: tuple[str, str | None]) -> None:
    """Model-signing knows three curves."""
    kind, option = options
    make = ["openssl", "genpkey", "-algorithm", kind, *(["-pkeyopt", option] if option else [])]
    private = subprocess.run(make, check=True, capture_output=True).stdout
    public = subprocess.run(["openssl", "pkey", "-pubout"], input=private, check=True, capture_output=True).stdout
    assert "P-256, P-384 or P-521, got another kind of key" in refusal(public)


@pytest.mark.parametrize("label", ["PUBLIC KEY", "CERTIFICATE", "CERTIFICATE REQUEST"])
def test_damaged_block_is_refused(label: str) -> None:
    """One that is right beside it does not hide it."""
    block = f"-----BEGIN {label}-----\nMFkwEwYH\n-----END {label}-----\n".encode()
    assert refusal(Key().public_pem + block).startswith("expected a PEM file of public keys or certificates, ")


def test_all_keys_and_certificates_of_a_file_count() -> None:
    """With any text around them."""
    root = make_root()
    signers = parse_signers(
        b"the old key\r\n" + Key().public_pem + b"\n# and\n" + root.certificate_pem + root.public_pem
    )
    assert (len(signers.keys), len(signers.certificates)) == (2, 1)


def test_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server needs one that verifies; only whoever signs needs the one that signs."""
    key = Key()
    path = key.write(tmp_path / "key.pem")
    monkeypatch.setitem(sys.modules, "model_signing", None)
    assert len(parse_signers(key.public_pem).keys) == 1
    with pytest.raises(BadKey, match=r"pip install 'sluice-serving\[signing\]'"):
        SigningKey(path).sign(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BadKey, match=r"pip install 'sluice-serving\[verify\]'"):
        parse_signers(key.public_pem)
    with pytest.raises(BadKey, match=r"pip install 'sluice-serving\[signing\]'"):
        SigningKey(path).read_signers()
