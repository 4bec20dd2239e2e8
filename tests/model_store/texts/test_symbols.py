"""Symbols of a model that reads: their file, and their number."""

from typing import Any

import pytest

from model_store.errors import BadManifest
from model_store.graph import Graph, Tensor
from model_store.manifest import Manifest
from model_store.texts.symbols import find_symbols, join_symbols, split_symbols


def describe(reading: dict[str, Any], symbols: int | str = 3, **facts: Any) -> Manifest:
    graph = Graph(
        file="main.onnx",
        inputs=(Tensor(name="x", datatype="FP32", shape=("batch", 4), batch_axis=0),),
        outputs=(
            Tensor(name="y", datatype="FP32", shape=("batch", "steps", symbols), batch_axis=0),
            Tensor(name="n", datatype="INT64", shape=("batch",), batch_axis=0),
        ),
    )
    return Manifest.model_validate(
        {
            "name": "m",
            "task": "predict_sequence",
            "graphs": {"main": graph},
            "reading": {"output": "y", **reading},
            **facts,
        }
    )


@pytest.mark.parametrize(
    "symbols", [("", "a", " "), ("a",), ("\u2028", "\x0b", "\u3000", "\x85"), ("a", ""), ("", ""), ("ab", "ﬁ")]
)
def test_file_gives_the_symbols_that_were_written(symbols: tuple[str, ...]) -> None:
    """A space, an empty symbol, and signs that end a line elsewhere stay symbols."""
    assert split_symbols(join_symbols(symbols), "it") == symbols


def test_file_of_windows_is_read() -> None:
    """Its lines end in another way."""
    assert split_symbols(b"a\r\nb\r\n", "it") == ("a", "b")


def test_end_of_a_line_is_no_symbol() -> None:
    """It could not be read again."""
    with pytest.raises(BadManifest, match="expected no end of a line in a symbol"):
        join_symbols(("a", "\n"))


def test_file_of_a_version_is_one_of_its_files() -> None:
    """It is no tokenizer, so no library is needed."""
    manifest = describe({"file": "symbols.txt"})
    assert manifest.further_files == {"symbols.txt"}
    assert manifest.tokenizer_files == frozenset()
    assert find_symbols(manifest, {"symbols.txt": b"\na\nb\n"}) == ("", "a", "b")
    assert find_symbols(describe({"symbols": ("", "a", "b")}), {}) == ("", "a", "b")


@pytest.mark.parametrize(
    ("reading", "content", "complaint"),
    [
        ({}, b"a\nb\n", "m: symbols.txt, a symbol on each line: expected 3, as 'y' has, got 2"),
        ({}, b"a\n\xff\nb\n", "m: symbols.txt: expected a text in UTF-8"),
        ({"blank": 3}, b"a\nb\nc\n", "reading.blank: expected less than 3, got 3"),
    ],
)
def test_file_that_does_not_fit_is_refused(reading: dict[str, Any], content: bytes, complaint: str) -> None:
    """The text names the file, what was expected and what came."""
    with pytest.raises(BadManifest, match=complaint):
        find_symbols(describe({"file": "symbols.txt", **reading}), {"symbols.txt": content})


WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no symbols": ({}, {}, "reading: expected either symbols or a file"),
    "both": ({"symbols": ("a", "b", "c"), "file": "f.txt"}, {}, "reading: expected either symbols or a file"),
    "another number": ({"symbols": ("a", "b")}, {}, r"reading.output: .*expected rows of \['any', 2\]"),
    "another output": ({"symbols": ("a", "b", "c"), "output": "z"}, {}, "there is no output 'z'"),
    "a blank beyond": ({"symbols": ("a", "b", "c"), "blank": 3}, {}, "reading.blank: expected less than 3"),
    "floats as lengths": ({"symbols": ("a", "b", "c"), "length": "y"}, {}, "reading.length: .*expected INT64 or INT32"),
    "seconds of a picture": ({"symbols": ("a", "b", "c"), "step_s": 0.02}, {}, "reading.step_s: expected it where"),
}


@pytest.mark.parametrize(("reading", "facts", "complaint"), WRONG.values(), ids=WRONG)
def test_reading_that_does_not_fit_is_refused(reading: dict[str, Any], facts: dict[str, Any], complaint: str) -> None:
    """The text names the field."""
    with pytest.raises(ValueError, match=complaint):
        describe(reading, **facts)
