"""The keys and certificates whose signatures are accepted: one PEM file."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from model_store.errors import BadKey, NotSigned, escape
from model_store.files.links import tell_why
from model_store.files.reading import MOST_CONFIG_BYTES, read_regular
from model_store.manifest import MANIFEST_FILE
from model_store.signing.bundle import Bundle, read_bundle, read_statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n.*?-----END \1-----", re.DOTALL)
_EXPECTED = "expected a PEM file of public keys or certificates"
_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
"""The hash of a signature by the curve of its key: https://github.com/sigstore/protobuf-specs."""


def explain_unsigned(name: str, number: int) -> str:
    """Why a version without a manifest cannot be signed, and what to do."""
    return (
        f"{name} version {number} has no {MANIFEST_FILE}, which is what a signature covers, so it cannot be signed: "
        "`sluice import` makes a version of an ONNX file"
    )


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Signers:
    """The accepted signers: public keys, and certificates that sign or have issued those that sign; all in DER.

    A certificate is accepted only while it is valid by ``clock``.
    """

    keys: tuple[bytes, ...] = ()
    certificates: tuple[bytes, ...] = ()
    clock: Callable[[], datetime] = field(default=now, compare=False)

    def check(self, content: bytes, manifest: bytes, number: int) -> None:
        """Check a signature file against the bytes of the manifest of a version. Raises NotSigned with the reason."""
        bundle = read_bundle(content)
        self._check_bundle(bundle)
        statement = read_statement(bundle.payload)
        if statement.digests.get(MANIFEST_FILE) != hashlib.sha256(manifest).hexdigest():
            raise NotSigned(
                f"it does not fit {MANIFEST_FILE}: the manifest was changed, or the signature is of another version: "
                "restore them, or sign the version again"
            )
        if statement.folder != str(number):
            raise NotSigned(
                f"it is the signature of a folder that was called {statement.folder!r:.60}: expected '{number}', the "
                "number of the version: publish and sign it with this number"
            )

    def _check_bundle(self, bundle: Bundle) -> None:
        from model_store.signing.certificates import find_signer

        if any(is_made_by(_load_key(key), bundle) for key in self.keys):
            return
        if not bundle.certificates:
            raise NotSigned(f"none of the keys that count here made it, but key {escape(bundle.hint)[:12]}…")
        if not self.certificates:
            raise NotSigned("none of the keys that count here made it, and there are no certificates to compare with")
        signer = find_signer(bundle.certificates, self.certificates, self.clock())
        if not is_made_by(signer, bundle):
            raise NotSigned("it was not made by the key of its certificate: it was changed")


def is_made_by(key: "PublicKeyTypes", bundle: Bundle) -> bool:
    """Whether this key has signed the payload."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        return False
    try:
        key.verify(bundle.signature, bundle.signed_bytes, ec.ECDSA(getattr(hashes, _HASHES[key.curve.name])()))
    except InvalidSignature:
        return False
    return True


def read_signers(path: Path) -> Signers:
    """The keys and certificates of a PEM file. Raises BadKey, which says what is wrong with the file."""
    try:
        content = read_regular(path, MOST_CONFIG_BYTES)
    except OSError as error:
        raise BadKey(f"{_EXPECTED}, it cannot be read: {tell_why(error)}") from None
    return parse_signers(content)


def parse_signers(content: bytes) -> Signers:
    """As ``read_signers``, from the content of the file."""
    try:
        from cryptography import x509  # noqa: F401
    except ImportError:
        raise BadKey("signatures need cryptography: pip install 'sluice-serving[verify]'") from None
    keys: list[bytes] = []
    certificates: list[bytes] = []
    for block in _BLOCK.finditer(content):
        label = block[1].decode()
        if "PRIVATE KEY" in label:
            raise BadKey(
                f"{_EXPECTED}, got a private key, which only signers need: `openssl pkey -in KEY -pubout` prints the "
                "public one"
            )
        if label == "PUBLIC KEY":
            keys.append(_parse_key(block[0]))
        elif label == "CERTIFICATE":
            certificates.append(_parse_certificate(block[0]))
        else:
            raise BadKey(f"{_EXPECTED}, got a block {label!r}")
    if not keys and not certificates:
        raise BadKey(f"{_EXPECTED}, there are none in it")
    return Signers(tuple(keys), tuple(certificates))


def _parse_key(block: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    try:
        key = load_pem_public_key(block)
    except Exception as error:  # noqa: BLE001  # several types, for example for keys on unknown curves
        raise BadKey(f"{_EXPECTED}, one of its keys cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise BadKey(f"{_EXPECTED} on the curve P-256, P-384 or P-521, got another kind of key")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _load_key(key: bytes) -> "PublicKeyTypes":
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    return load_der_public_key(key)


def _parse_certificate(block: bytes) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        return x509.load_pem_x509_certificate(block).public_bytes(Encoding.DER)
    except ValueError as error:
        raise BadKey(f"{_EXPECTED}, one of its certificates cannot be read: {error}") from None
