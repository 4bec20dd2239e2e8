"""Texts to the ids of their tokens."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from service.codecs.pictures.reader import RowFile
from service.codecs.rows import Group
from service.codecs.texts.tokens import count_bytes_of_texts, count_tokens, read_texts
from service.errors import Cancelled, InvalidInput
from tests.support.driving import Driver, make
from tests.support.models.text import make_model
from tests.support.texts.models import TOKENS, WORDS, make_embedder, make_tokenizer

LONG = " ".join(["ann"] * 15)


@pytest.fixture(scope="module")
def model() -> Driver:
    return make_embedder()


def read(model: Driver, *rows: Any) -> list[Group]:
    return read_texts(rows, model.context, "inputs")


def words(group: Group, row: int) -> str:
    return " ".join(WORDS[i] for i in group.inputs["ids"][row])


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (3, r"inputs\[1\]: expected a text, got a number"),
        (None, r"inputs\[1\]: expected a text, got null"),
        (True, r"inputs\[1\]: expected a text, got a boolean"),
        ("", r"inputs\[1\]: expected a text, got an empty one"),
        (" \n ", r"inputs\[1\]: expected a text, got an empty one"),
        (["ann", ""], r"inputs\[1\]: expected a text, got an empty one"),
        (["ann"], r'inputs\[1\]: expected a text, \["text", "pair"\], or {"text": ..., .*}, got an array of 1'),
        (["ann"] * 3, r"inputs\[1\]: expected a text, .*, got an array of 3"),
        ([1, 2], r"inputs\[1\]: expected a text, .*, got an array of other values"),
        ({"txt": "ann"}, r"inputs\[1\]: expected a text, .*, got fields \['txt'\]"),
        ({"text": "ann", "more": 1}, r"inputs\[1\]: expected a text, .*, got fields \['text', 'more'\]"),
        ({"text": 3}, r"inputs\[1\].text: expected a text, got a number"),
        ({"text": "ann", "text_pair": 3}, r"inputs\[1\].text_pair: expected a text, got a number"),
        (LONG, r"inputs\[1\]: expected at most 16 tokens, got 17: send a shorter text"),
        (["ann " * 7, "ann " * 7], r"inputs\[1\]: expected at most 16 tokens, got 17"),
        ("a" * 1025, r"inputs\[1\]: expected at most 1024 characters, got 1025: send a shorter text"),
        ("\ud800", r"inputs\[1\]: expected a text, got half of a surrogate pair"),
        (RowFile(b"\xff\xfe", "file 1 (a.txt)"), r"file 1 \(a.txt\): expected a text in UTF-8, got other bytes"),
    ],
)
def test_rows_that_are_no_texts_are_refused(model: Driver, row: Any, complaint: str) -> None:
    """The message names the row, what was expected and what came."""
    with pytest.raises(InvalidInput, match=f"^{complaint}"):
        read(model, "ann", row)


@pytest.mark.parametrize("pair", [["ann", "rome"], {"text": "ann", "text_pair": "rome"}])
@pytest.mark.parametrize("facts", [{"makes_pairs": False}, {"special": False}])
def test_pair_is_refused_where_nothing_would_part_it(pair: Any, facts: dict[str, Any]) -> None:
    """A tokenizer that joins two texts without a sign between them makes no pairs."""
    with pytest.raises(InvalidInput, match=r"^inputs\[0\]: expected one text, got a pair: model 'm' takes no pairs"):
        read(make_embedder(**facts), pair)


def test_text_of_megabytes_is_refused_before_it_is_tokenised() -> None:
    """Also where longer texts are cut: the limit is one of time."""
    model = make_embedder(truncate=True)
    assert read(model, "ann " * 1000)[0].inputs["ids"].shape == (1, 16)
    with pytest.raises(InvalidInput, match="expected at most 1048576 characters, got 2097152"):
        read(model, "ann " * (1 << 19))


def test_reading_stops_when_nobody_waits_any_more(model: Driver) -> None:
    """A thread must not tokenise for a request that has ended."""
    with pytest.raises(Cancelled):
        read_texts(["ann"], model.context, "inputs", lambda: True)


def test_row_is_padded_to_its_own_next_length(model: Driver) -> None:
    """Never to that of its neighbours, and the padding that the file of the tokenizer fixes does not count."""
    short, long = read(model, "ann", "ann lives in rome : in new york", "rome")
    assert (short.places, long.places) == ([0, 2], [1])
    assert words(short, 1) == "[CLS] rome [SEP] [PAD]"
    assert short.inputs["mask"].tolist() == [[1, 1, 1, 0]] * 2
    assert long.inputs["ids"].shape == (1, 16)
    assert [group.inputs["ids"].shape for group in read(model, "ann ann", "ann ann ann")] == [(1, 4), (1, 8)]
    assert count_tokens([short, long]) == (16, 8)


def test_inputs_have_the_datatypes_of_the_graph() -> None:
    """Ids, mask and types may be of several; types number the texts of a pair, and padding is 0."""
    content = make_model(
        "int32[batch,length] i, float[batch,length] m, int64[batch,length] t => float[batch,length] y",
        "a = Cast<to = 1>(i) b = Cast<to = 1>(t) c = Add(a, b) y = Mul(c, m)",
    )
    tokens = TOKENS.model_copy(update={"ids": "i", "mask": "m", "types": "t", "pad": 1})
    model = make({"main": content}, tokens=tokens, files={"tokenizer.json": make_tokenizer()})
    [group] = read(model, {"text": "ann", "text_pair": "rome ask"})
    assert group.inputs["i"].dtype == np.int32
    assert group.inputs["i"].tolist() == [[2, 4, 3, 9, 10, 3, 1, 1]]
    assert group.inputs["m"].dtype == np.float32
    assert group.inputs["m"].tolist() == [[1, 1, 1, 1, 1, 1, 0, 0]]
    assert group.inputs["t"].tolist() == [[0, 0, 0, 1, 1, 1, 0, 0]]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"special": False}, "ann lives [PAD] [PAD]"),
        ({"prefix": "ask: "}, "[CLS] ask : ann lives [SEP] [PAD] [PAD]"),
        ({"truncate": True, "lengths": (4,)}, "[CLS] ann lives [SEP]"),
        ({"truncate": True, "lengths": (3,)}, "[CLS] ann [SEP]"),
    ],
)
def test_manifest_says_what_surrounds_a_text(facts: Mapping[str, Any], expected: str) -> None:
    """Special tokens, a prefix, and whether a longer text is cut; special tokens stay at its end."""
    [group] = read(make_embedder(**facts), "ann lives")
    assert words(group, 0) == expected


def test_spans_are_places_in_the_text_of_the_caller() -> None:
    """In characters, not bytes, and without the prefix."""
    [group] = read(make_embedder(prefix="ask: "), "Ω rome")
    assert [span for span in group.texts[0].encoded.spans if span[1]] == [(0, 1), (2, 6)]


def test_file_is_a_text() -> None:
    """In a form, or a body whose first bytes are those of a picture."""
    [group] = read(make_embedder(), RowFile(b"ann lives", "file 0"), RowFile(memoryview(b"rome in"), "body"))
    assert [text.text for text in group.texts] == ["ann lives", "rome in"]


def test_long_texts_count_as_slow() -> None:
    """Tokenising a thousand characters takes a millisecond, whichever form they come in."""
    long = "a" * 1100
    for row in (long, ["a", long], {"text": long}, RowFile(long.encode(), "a")):
        assert count_bytes_of_texts([row], 32768) > 32768
        assert count_bytes_of_texts(["a", 3, None], 32768) < 200
