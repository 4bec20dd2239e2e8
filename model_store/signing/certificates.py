"""Checks whether a certificate may sign models: its chain to a trusted one, its dates, and its purpose."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from model_store.errors import NotSigned

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_MOST_IN_CHAIN = 8


def find_signer(chain: Sequence[bytes], trusted: Sequence[bytes], at: datetime) -> "PublicKeyTypes":
    """The key of the certificate that has signed, which is the first in ``chain``. All certificates are in DER.

    Raises NotSigned unless the certificate is trusted, or was issued by a trusted one through others of the chain, and
    may sign at this time.
    """
    try:
        signer, *others = map(x509.load_der_x509_certificate, chain)
        store = verification.Store(list(map(x509.load_der_x509_certificate, trusted)))
    except ValueError as error:
        raise NotSigned(f"one of its certificates cannot be read: {error}") from None
    _check_dates(signer, at)
    policy = (
        verification.PolicyBuilder()
        .store(store)
        .time(at)
        .max_chain_depth(_MOST_IN_CHAIN)
        .extension_policies(ca_policy=_may_issue(), ee_policy=_may_sign())
    )
    try:
        policy.build_client_verifier().verify(signer, others)
    except verification.VerificationError as error:
        raise NotSigned(f"its certificate ({_name(signer)}) is not trusted here: {error}") from None
    return signer.public_key()


def read_dates(certificates: Sequence[bytes]) -> list[tuple[str, datetime]]:
    """The names of certificates in DER, and when they expire."""
    read = map(x509.load_der_x509_certificate, certificates)
    return [(_name(each), each.not_valid_after_utc) for each in read]


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()[:100]


def _check_dates(signer: x509.Certificate, at: datetime) -> None:
    """Raises NotSigned with its own text for the most common faults."""
    until, since = signer.not_valid_after_utc, signer.not_valid_before_utc
    if at > until:
        raise NotSigned(
            f"its certificate ({_name(signer)}) has expired on {until:%Y-%m-%d}: sign the version again with a new one"
        )
    if at < since:
        raise NotSigned(f"its certificate ({_name(signer)}) counts from {since:%Y-%m-%d} on: check the clock")


def _may_issue() -> verification.ExtensionPolicy:
    def check_authority(_: verification.Policy, __: x509.Certificate, found: x509.BasicConstraints) -> None:
        if not found.ca:
            raise ValueError("a certificate that may not issue others has issued one")

    def check_usage(_: verification.Policy, __: x509.Certificate, found: x509.KeyUsage | None) -> None:
        if found is not None and not found.key_cert_sign:
            raise ValueError("the key of an issuer is not for certificates")

    def check_purpose(_: verification.Policy, __: x509.Certificate, found: x509.ExtendedKeyUsage | None) -> None:
        allowed = (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
        if found is not None and not any(purpose in found for purpose in allowed):
            raise ValueError("an issuer is for something else than signing code (extendedKeyUsage has no codeSigning)")

    anyhow = verification.Criticality.AGNOSTIC
    policy = verification.ExtensionPolicy.permit_all()
    policy = policy.require_present(x509.BasicConstraints, anyhow, check_authority)
    policy = policy.may_be_present(x509.KeyUsage, anyhow, check_usage)
    return policy.may_be_present(x509.ExtendedKeyUsage, anyhow, check_purpose)


def _may_sign() -> verification.ExtensionPolicy:
    """If it has key usages, they must include the signing of data; extended ones, the signing of code. It must have
    one kind: otherwise the certificate of any web server would be accepted."""

    def check_usage(_: verification.Policy, found: x509.Certificate, usage: x509.KeyUsage | None) -> None:
        if usage is not None and not usage.digital_signature:
            raise ValueError("its key is not for signatures (keyUsage has no digitalSignature)")
        if usage is None and _purposes(found) is None:
            raise ValueError("it does not say what its key is for: expected keyUsage with digitalSignature")

    def check_purpose(_: verification.Policy, __: x509.Certificate, found: x509.ExtendedKeyUsage | None) -> None:
        if found is not None and ExtendedKeyUsageOID.CODE_SIGNING not in found:
            raise ValueError("it is for something else than signing code (extendedKeyUsage has no codeSigning)")

    anyhow = verification.Criticality.AGNOSTIC
    policy = verification.ExtensionPolicy.permit_all()
    policy = policy.may_be_present(x509.KeyUsage, anyhow, check_usage)
    return policy.may_be_present(x509.ExtendedKeyUsage, anyhow, check_purpose)


def _purposes(certificate: x509.Certificate) -> x509.ExtendedKeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
