"""Which certificates may sign, by the certificates that are trusted and by the day."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from model_store import ModelVersion
from model_store.errors import NotSigned
from model_store.signing.keys import parse_signers
from tests.support.signing.keys import DAY, IS_SERVER, NOW, SIGNS_CODE, Key, make_root, usage

SIGNS = usage("digital_signature")


def check(version: ModelVersion, signer: Key, *trusted: Key) -> str:
    """Why the version is refused when this certificate has signed it; "" if it is not."""
    signer.sign_version(version)
    pem = b"".join(each.certificate_pem for each in trusted)
    try:
        replace(version, signers=parse_signers(pem)).verify()
    except NotSigned as error:
        return str(error)
    return ""


def expired() -> tuple[Key, Key]:
    root = make_root()
    return root.issue("old", SIGNS, since=NOW - 9 * DAY, until=NOW - DAY), root


def too_early() -> tuple[Key, Key]:
    root = make_root()
    return root.issue("young", SIGNS, since=NOW + DAY), root


def under_an_expired_root() -> tuple[Key, Key]:
    root = make_root(since=NOW - 9 * DAY, until=NOW - DAY)
    return root.issue("orphan", SIGNS), root


def of_a_stranger() -> tuple[Key, Key]:
    return make_root("R").issue("stranger", SIGNS), make_root("R")


def of_a_web_server() -> tuple[Key, Key]:
    root = make_root()
    return root.issue("shop.example", SIGNS, IS_SERVER), root


def for_encryption() -> tuple[Key, Key]:
    root = make_root()
    return root.issue("mail", usage("key_encipherment"), SIGNS_CODE), root


def for_anything() -> tuple[Key, Key]:
    root = make_root()
    return root.issue("vague"), root


def issued_by_a_signer() -> tuple[Key, Key]:
    root = make_root()
    return root.issue("signer", SIGNS).issue("its child", SIGNS), root


def too_deep() -> tuple[Key, Key]:
    root = make_root(path_length=0)
    return root.issue("between", usage("key_cert_sign"), is_authority=True).issue("deep", SIGNS), root


def of_an_authority_for_web_servers() -> tuple[Key, Key]:
    root = make_root()
    return root.issue("web", usage("key_cert_sign"), IS_SERVER, is_authority=True).issue("vague", SIGNS), root


def issued_by_a_trusted_signer() -> tuple[Key, Key]:
    signer = make_root().issue("signer", SIGNS)
    return signer.issue("its child", SIGNS), signer


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (expired, r"its certificate \(CN=old\) has expired on 20..-..-..: sign the version again with a new one"),
        (too_early, r"its certificate \(CN=young\) counts from 20..-..-.. on: check the clock"),
        (under_an_expired_root, r"its certificate \(CN=orphan\) is not trusted here: .*not valid at"),
        (of_a_stranger, r"its certificate \(CN=stranger\) is not trusted here: "),
        (of_a_web_server, r"its certificate \(CN=shop.example\) is not trusted here: .*codeSigning"),
        (for_encryption, r"its certificate \(CN=mail\) is not trusted here: .*digitalSignature"),
        (for_anything, r"its certificate \(CN=vague\) is not trusted here: .*digitalSignature"),
        (issued_by_a_signer, r"its certificate \(CN=its child\) is not trusted here: .*CA"),
        (issued_by_a_trusted_signer, r"its certificate \(CN=its child\) is not trusted here: .*CA"),
        (of_an_authority_for_web_servers, r"its certificate \(CN=vague\) is not trusted here: .*codeSigning"),
        (too_deep, r"its certificate \(CN=deep\) is not trusted here: .*path length"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_certificate_that_may_not_sign_is_refused(
    version: ModelVersion, make: Callable[[], tuple[Key, Key]], why: str
) -> None:
    """The reason names it."""
    signer, root = make()
    refused = check(version, signer, root)
    with pytest.raises(NotSigned, match=f"^m/2/model.sig: {why}"):
        raise NotSigned(refused)


def test_certificate_of_a_trusted_authority_may_sign(version: ModelVersion) -> None:
    """Directly, or by a chain that is in the signature; also if it says only that it signs code."""
    root = make_root()
    between = root.issue("between", usage("key_cert_sign"), is_authority=True)
    assert check(version, root.issue("signer", SIGNS), root) == ""
    assert check(version, root.issue("signer", SIGNS_CODE), make_root(), root) == ""
    assert check(version, between.issue("signer", SIGNS, SIGNS_CODE), root) == ""
    assert check(version, between.issue("signer", SIGNS), between) == ""


def test_trusted_certificate_may_sign_itself(version: ModelVersion) -> None:
    """Then others of the same authority may not."""
    root = make_root()
    signer = root.issue("signer", SIGNS)
    assert check(version, signer, signer) == ""
    assert "is not trusted here" in check(version, root.issue("signer", SIGNS), signer)


def test_chain_without_its_middle_is_refused(version: ModelVersion) -> None:
    """The signature must bring what is between the signer and what is trusted."""
    between = make_root().issue("between", usage("key_cert_sign"), is_authority=True)
    signer = between.issue("signer", SIGNS)
    root = Key(between.private, between.chain[-1])
    assert check(version, signer, root) == ""
    assert "is not trusted here" in check(version, replace(signer, chain=()), root)


def test_authority_that_the_signature_brings_is_not_trusted(version: ModelVersion) -> None:
    """A signature cannot vouch for itself."""
    signer = make_root("R").issue("signer", SIGNS)
    signer.sign_version(version, with_root=True)
    with pytest.raises(NotSigned, match="is not trusted here"):
        replace(version, signers=parse_signers(make_root("R").certificate_pem)).verify()


def test_certificate_of_another_key_is_refused(version: ModelVersion) -> None:
    """The certificate in a signature can be copied from another one; its key cannot."""
    root = make_root()
    honest = root.issue("honest", SIGNS)
    assert "it was not made by the key of its certificate" in check(
        version, Key(Key().private, honest.certificate, honest.chain), root
    )


def test_certificates_do_not_count_for_bare_keys(version: ModelVersion, key: Key) -> None:
    """A signature without a certificate needs its key in the file; one with a certificate may be checked by its key."""
    root = make_root()
    signer = root.issue("signer", SIGNS)
    assert "none of the keys that count here made it" in check(version, Key(signer.private), root)
    signer.sign_version(version)
    with pytest.raises(NotSigned, match="there are no certificates to compare with"):
        replace(version, signers=parse_signers(key.public_pem)).verify()
    replace(version, signers=parse_signers(signer.public_pem)).verify()


def test_dates_are_looked_at_when_a_version_is_read(version: ModelVersion) -> None:
    """A version that was read yesterday is refused today, if its certificate ended in between."""
    root = make_root()
    root.issue("signer", SIGNS, until=NOW + DAY).sign_version(version)
    signers = parse_signers(root.certificate_pem)
    replace(version, signers=replace(signers, clock=lambda: NOW + 0.9 * DAY)).verify()
    with pytest.raises(NotSigned, match="has expired"):
        replace(version, signers=replace(signers, clock=lambda: NOW + 1.1 * DAY)).verify()


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_keys_of_three_curves_sign(version: ModelVersion, curve: ec.EllipticCurve) -> None:
    """As bare keys, and with certificates."""
    signer = Key(ec.generate_private_key(curve))
    signer.sign_version(version)
    replace(version, signers=parse_signers(signer.public_pem)).verify()
    assert check(version, signer.issue("itself", SIGNS), signer) == ""
