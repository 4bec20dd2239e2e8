"""Bytes that are not UTF-8 become texts, and these become the same bytes again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from service.engine.onnx.session import Session
from service.errors import InvalidInput
from service.protocol.escape import read_bytes, read_texts, write_bytes, write_texts
from service.protocol.generate import describe_generated
from service.protocol.infer_request import InferRequest, parse_infer
from service.protocol.infer_response import render_infer
from tests.support.models import graphs

CHARACTERS = [chr(number) for number in range(0x10FF80, 0x110000)]
"""The characters that bytes become; here they are sent by a caller."""
FAULTS = [b"\xff", b"\x80", b"\xc3", b"\xe2\x82", b"\xed\xb2\x80", b"\xf4\x8f", b"\xf4\x8f\xbe", b"\xf4\x90\x80\x80"]
"""Invalid UTF-8: single bytes, truncated characters, an encoded surrogate, and one beyond the last character."""
PIECES = [*FAULTS, b"", b"a", "é".encode(), b"\xbe\x80", *(character.encode() for character in CHARACTERS)]
any_bytes = st.binary() | st.lists(st.sampled_from(PIECES)).map(b"".join)


def send(elements: list[bytes], *, as_json: bool) -> InferRequest:
    """A request with these elements in binary form, whose outputs are wanted in the form of ``as_json``."""
    content = b"".join(len(e).to_bytes(4, "little") + e for e in elements)
    size = {"binary_data_size": len(content)}
    item = {"name": "x", "shape": [len(elements)], "datatype": "BYTES", "parameters": size}
    text = json.dumps({"inputs": [item], "parameters": {"binary_data_output": not as_json}}).encode()
    return parse_infer(text + content, len(text))


@pytest.mark.parametrize("content", FAULTS)
def test_bytes_that_are_not_utf8_have_no_json_answer(content: bytes) -> None:
    """An output with bytes that are not UTF-8 is refused as JSON, with its name."""
    header, outputs = send([b"fine", content], as_json=True)
    with pytest.raises(InvalidInput, match="output 'x': BYTES that are not UTF-8 have no JSON form, ask for binary"):
        render_infer("m", "1", header, outputs)
    with pytest.raises(InvalidInput, match="output 'x': BYTES that are not UTF-8"):
        describe_generated("m", "1", None, outputs)


@given(any_bytes)
def test_any_bytes_come_back(content: bytes) -> None:
    """Any bytes become valid text, and that text becomes the same bytes again."""
    texts = read_bytes([content, b"beside"])
    assert all(text.encode().decode() == text for text in texts)
    assert write_bytes(texts) == [content, b"beside"]


@given(st.lists(any_bytes))
def test_different_bytes_are_different_texts_and_joined_texts_are_joined_bytes(contents: list[bytes]) -> None:
    """Models may compare and join the texts: equal and joined texts stand for equal and joined bytes."""
    texts = read_bytes(contents)
    assert len(set(texts)) == len(set(contents))
    assert write_bytes(["".join(texts)]) == [b"".join(contents)]


@given(st.lists(st.text(st.characters(codec="utf-8") | st.sampled_from(CHARACTERS))))
def test_any_text_of_json_comes_back(texts: list[str]) -> None:
    """A text in JSON is read as its UTF-8 in binary form is, and comes back as JSON."""
    read = read_texts(texts)
    assert read == read_bytes([text.encode() for text in texts])
    assert write_texts(read) == texts


@given(st.text(st.characters(codec="utf-8", max_codepoint=0x10FF7F)))
def test_texts_are_themselves(text: str) -> None:
    """A model sees texts as they were sent, apart from the last 128 characters of Unicode."""
    assert read_bytes([text.encode()]) == read_texts([text]) == [text]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\x80", "\U0010ff80"),
        (b"a\xff", "a\U0010ffff"),
        ("\U0010ff80".encode(), "\U0010fff4\U0010ff8f\U0010ffbe\U0010ff80"),
    ],
)
def test_bytes_become_the_last_characters(content: bytes, text: str) -> None:
    """Byte 0x80 + k is U+10FF80 + k, and each byte of such a character in valid UTF-8 is one of them."""
    assert read_bytes([content]) == [text]


@pytest.mark.parametrize("contents", [[b"\0", b"", b"\xff\0\x80"], PIECES], ids=["few", "all"])
def test_onnx_runtime_passes_them_through_a_graph(contents: list[bytes]) -> None:
    """Bytes pass from a binary body through a session into a binary answer unchanged."""
    header, inputs = send(contents, as_json=False)
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = graphs.build([node], *([(name, TensorProto.STRING, ["n"])] for name in "xy"))
    [y] = Session(graph).run(inputs)
    chunks, _ = render_infer("m", "1", header, {"y": y})
    assert b"".join(chunks[1:]) == b"".join(len(e).to_bytes(4, "little") + e for e in contents)
