"""Reads a bundle of Sigstore, the file in which model-signing keeps a signature. Reading it checks no signature.

A bundle has an envelope (DSSE) with a payload, the signature over it, and possibly the certificates of the signer. The
payload is an in-toto statement with the digests of all files. It is read only after its signature was checked.

Formats: https://docs.sigstore.dev/about/bundle/, https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md,
https://github.com/in-toto/attestation/tree/main/spec/v1.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from model_store.errors import NotSigned
from model_store.manifest import reword

_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_MOST_CERTIFICATES = 10


def _decode(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except ValueError:
        raise ValueError("expected base64") from None


_Base64 = Annotated[bytes, BeforeValidator(_decode)]


class _Part(BaseModel):
    """Unknown fields are allowed, because the formats may be extended."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel)


class _Certificate(_Part):
    raw_bytes: _Base64


class _Chain(_Part):
    certificates: Annotated[Sequence[_Certificate], Field(min_length=1, max_length=_MOST_CERTIFICATES)]


class _PublicKey(_Part):
    hint: str | None = None


class _Material(_Part):
    x509_certificate_chain: _Chain | None = None
    public_key: _PublicKey | None = None


class _Signature(_Part):
    sig: _Base64


class _Envelope(_Part):
    payload: _Base64
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: Annotated[Sequence[_Signature], Field(min_length=1, max_length=1)]


class _Bundle(_Part):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verification_material: _Material
    dsse_envelope: _Envelope


class _Subject(_Part):
    name: str


class _Resource(_Part):
    name: str
    algorithm: str
    digest: str


class _Serialization(_Part):
    model_config = ConfigDict(alias_generator=None)

    method: Literal["files"]
    hash_type: Literal["sha256"]


class _Predicate(_Part):
    serialization: _Serialization
    resources: Sequence[_Resource]


class _Statement(_Part):
    kind: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[Sequence[_Subject], Field(min_length=1, max_length=1)]
    predicate_type: Literal["https://model_signing/signature/v1.0"]
    predicate: _Predicate


@dataclass(frozen=True, slots=True)
class Bundle:
    """``certificates`` are in DER, the signer's first; empty if a bare key has signed, which ``hint`` names."""

    payload: bytes
    signature: bytes
    certificates: tuple[bytes, ...]
    hint: str

    @property
    def signed_bytes(self) -> bytes:
        """The bytes that were signed: payload and type, each with its length."""
        return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(self.payload), self.payload)


@dataclass(frozen=True, slots=True)
class Statement:
    """What was signed: SHA-256 by file name, and the name of the folder of the files."""

    folder: str
    digests: dict[str, str]


def read_bundle(content: bytes) -> Bundle:
    """Parse a bundle. Raises NotSigned for bytes that are no bundle of model-signing."""
    try:
        found = _Bundle.model_validate_json(content)
    except ValidationError as error:
        raise NotSigned(f"expected a bundle of model-signing: {_describe(error)}") from None
    material, envelope = found.verification_material, found.dsse_envelope
    chain = material.x509_certificate_chain
    return Bundle(
        envelope.payload,
        envelope.signatures[0].sig,
        () if chain is None else tuple(each.raw_bytes for each in chain.certificates),
        (material.public_key and material.public_key.hint) or "",
    )


def read_statement(payload: bytes) -> Statement:
    """Parse a payload. Raises NotSigned for a statement that does not list whole files by SHA-256."""
    try:
        found = _Statement.model_validate_json(payload)
    except ValidationError as error:
        raise NotSigned(f"expected a signature over files by SHA-256, got another one: {_describe(error)}") from None
    digests = {each.name: each.digest for each in found.predicate.resources if each.algorithm == "sha256"}
    return Statement(found.subject[0].name, digests)


def _describe(error: ValidationError) -> str:
    """The first fault, without values, which may be large or contain anything."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {reword(first['msg'])}" if place else reword(first["msg"])
