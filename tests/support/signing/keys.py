"""Keys, certificates and signatures for tests, made without the package that makes real ones."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from model_store import ModelVersion
from model_store.manifest import MANIFEST_FILE
from model_store.signing import SIGNATURE_FILE

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
SIGNS_CODE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
IS_SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def usage(*uses: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in uses for use in _USES})


@dataclass
class Key:
    """A private key, and maybe its certificate with those that lead to the root, which is the last of ``chain``."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    certificate: x509.Certificate | None = None
    chain: Sequence[x509.Certificate] = ()

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def certificate_pem(self) -> bytes:
        assert self.certificate is not None
        return self.certificate.public_bytes(Encoding.PEM)

    def write(self, path: Path, passphrase: str | None = None) -> Path:
        """The file of the private key."""
        secret = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
        path.write_bytes(self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
        return path

    def issue(
        self,
        name: str,
        *extensions: x509.ExtensionType,
        is_authority: bool = False,
        path_length: int | None = None,
        since: datetime = NOW - DAY,
        until: datetime = NOW + 3 * DAY,
    ) -> "Key":
        """A key with a certificate that this one has issued; its own if this one has none, which makes a root."""
        new = self if self.certificate is None else Key()
        issuer = _name(name) if self.certificate is None else self.certificate.subject
        builder = x509.CertificateBuilder(
            issuer, _name(name), new.private.public_key(), x509.random_serial_number(), since, until
        ).add_extension(x509.BasicConstraints(is_authority, path_length), critical=True)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(self.private, hashes.SHA256())
        if self.certificate is None:
            self.certificate = certificate
            return self
        return Key(new.private, certificate, (self.certificate, *self.chain))

    def sign(
        self, statement: Mapping[str, Any] | bytes, with_root: bool = False, changes: Mapping[str, Any] | None = None
    ) -> bytes:
        """A signature file; ``changes`` replace fields of the envelope."""
        payload = statement if isinstance(statement, bytes) else json.dumps(statement).encode()
        signed = f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(payload)} ".encode() + payload
        algorithm = {256: hashes.SHA256, 384: hashes.SHA384, 521: hashes.SHA512}[self.private.curve.key_size]
        signature = self.private.sign(signed, ec.ECDSA(algorithm()))
        material: dict[str, Any] = {"publicKey": {"hint": hashlib.sha256(self.public_pem).hexdigest()}}
        if self.certificate is not None:
            chain = [self.certificate, *(self.chain if with_root else self.chain[:-1])]
            each = [{"rawBytes": _text(one.public_bytes(Encoding.DER))} for one in chain]
            material = {"x509CertificateChain": {"certificates": each}}
        envelope = {"payload": _text(payload), "payloadType": _PAYLOAD_TYPE, "signatures": [{"sig": _text(signature)}]}
        bundle = {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {**material, "tlogEntries": []},
            "dsseEnvelope": {**envelope, **(changes or {})},
        }
        return json.dumps(bundle).encode()

    def sign_version(self, version: ModelVersion, **options: Any) -> Path:
        """Sign a version as the command does. Returns the signature file."""
        path = version.folder / SIGNATURE_FILE
        path.write_bytes(self.sign(describe(version), **options))
        return path


def describe(version: ModelVersion) -> dict[str, Any]:
    """What is signed of a version."""
    resources = [
        {"name": file.name, "algorithm": "sha256", "digest": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in sorted(version.folder.iterdir())
        if file.name != SIGNATURE_FILE
    ]
    assert any(each["name"] == MANIFEST_FILE for each in resources)
    root = hashlib.sha256(b"".join(bytes.fromhex(each["digest"]) for each in resources))
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": version.folder.name, "digest": {"sha256": root.hexdigest()}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE_FILE],
            },
            "resources": resources,
        },
    }


def make_root(name: str = "A root of the tests", **options: Any) -> Key:
    return Key().issue(name, usage("key_cert_sign"), is_authority=True, **options)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
