"""Signatures of versions that come from a remote store."""

from dataclasses import replace

import pytest

from model_store import Store, StoreError
from model_store.errors import NotSigned
from model_store.remote.mirror import Mirror
from model_store.signing import SIGNATURE_FILE
from model_store.signing.keys import parse_signers
from tests.support.signing.keys import Key


def verify(copy: Store, key: Key, number: int) -> None:
    replace(copy.find("m", number), signers=parse_signers(key.public_pem)).verify()


def test_signature_comes_with_its_version(mirror: Mirror, source: Store, copy: Store) -> None:
    """Also if it is made after the version was fetched. An unsigned version stays unsigned."""
    key = Key()
    key.sign_version(source.find("m", 1))
    mirror.refresh()
    verify(copy, key, 1)
    with pytest.raises(NotSigned, match="m/2 has no signature"):
        verify(copy, key, 2)
    key.sign_version(source.find("m", 2))
    assert mirror.refresh() == {"m"}
    verify(copy, key, 2)


@pytest.mark.parametrize("same_size", [True, False])
def test_new_signature_takes_the_place_of_the_old_one(
    mirror: Mirror, source: Store, copy: Store, same_size: bool
) -> None:
    """So keys can be changed: an old signature must not stay in the copy."""
    old, new = Key(), Key()
    old_size = old.sign_version(source.find("m", 1)).stat().st_size
    mirror.refresh()
    path = new.sign_version(source.find("m", 1))
    if not same_size:
        path.write_bytes(path.read_bytes() + b"\n")
    while (path.stat().st_size == old_size) is not same_size:  # signatures have one of a few lengths
        path = new.sign_version(source.find("m", 1))
    assert mirror.refresh() == {"m"}
    verify(copy, new, 1)
    with pytest.raises(StoreError):
        verify(copy, old, 1)
    assert (copy.find("m", 1).folder / SIGNATURE_FILE).read_bytes() == path.read_bytes()
