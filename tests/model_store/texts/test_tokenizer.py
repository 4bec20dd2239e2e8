"""Tokenizers of versions."""

import pytest

from model_store.errors import StoreError
from model_store.texts.tokenizer import Tokenizer, open_tokenizers
from tests.support.models.manifests import describe
from tests.support.texts.models import TOKENS, WORDS, make_embedder, make_tokenizer


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"model": 3}'])
def test_other_content_is_refused(content: bytes) -> None:
    """The message names the file."""
    with pytest.raises(StoreError, match=r"^m/1/tokenizer.json: expected a tokenizer.json of the library tokenizers"):
        Tokenizer(content, "m/1/tokenizer.json")


def test_padding_and_truncation_of_the_file_do_not_count() -> None:
    """The manifest says both."""
    tokenizer = Tokenizer(make_tokenizer(), "m")
    assert len(tokenizer.encode("ann " * 9).ids) == 11
    assert Tokenizer(make_tokenizer(), "m", 6).encode("ann " * 9).ids == [2, 4, 4, 4, 4, 3]
    assert Tokenizer(make_tokenizer(), "m", 6).encode("ann").ids == [2, 4, 3]


def test_pair_has_a_number_for_each_text() -> None:
    """Whether there are pairs depends on the tokenizer."""
    tokenizer = Tokenizer(make_tokenizer(), "m")
    assert tokenizer.encode("ann", "rome in").types == [0, 0, 0, 1, 1, 1]
    assert tokenizer.makes_pairs
    assert not Tokenizer(make_tokenizer(makes_pairs=False), "m").makes_pairs
    assert tokenizer.size == len(WORDS)


def test_only_texts_that_may_be_cut_are_cut() -> None:
    """At the last length of the manifest."""
    files = {"tokenizer.json": make_tokenizer()}
    for truncate, count in ((False, 32), (True, 16)):
        manifest = make_embedder(truncate=truncate).manifest
        tokenizer = open_tokenizers(manifest, files, "m")["tokenizer.json"]
        assert len(tokenizer.encode("ann " * 30).ids) == count
    assert open_tokenizers(describe(), {}, "m") == {}
    assert TOKENS.lengths[-1] == 16
