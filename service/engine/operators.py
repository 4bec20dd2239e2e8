"""The operators of an ONNX file, and whether ONNX Runtime survives tensors without elements in them.

Some of its kernels end the process on an empty axis, and with it the requests of everybody: they divide by a size, or
fail where no error can be raised. A process that has ended says nothing, so what is known was tried beforehand, each in
a process of its own: every axis emptied in all 1,731 cases of the ONNX operators' own tests and in 324 graphs besides
(ONNX Runtime 1.32.0, CPU). ``tests/emptying.py`` tries the former again. Other domains have more such kernels, and not
all of them were tried.

The file is read as protocol buffers are: fields, each with a number and a length. Weights are stepped over.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

FRAGILE = frozenset({"LSTM", "GRU", "RNN", "Unique", "ConvTranspose", "STFT", "Einsum", "Conv"})
"""Those of ONNX itself that do not survive an empty axis. ``RNN`` did, and is one with the first two in its code; of
``Conv`` it is an empty kernel that never comes back, and nobody misses an empty picture."""
_OWN_DOMAINS = ("", "ai.onnx")

_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {6: "graph", 11: "graph"},
}
"""Which fields of a message lead to nodes, and what they are."""
_OP_TYPE, _DOMAIN = 4, 7
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


class Operator(NamedTuple):
    domain: str
    name: str

    def __str__(self) -> str:
        return f"{self.domain}.{self.name}" if self.domain else self.name


def find_fragile(content: bytes) -> str | None:
    """What in a graph may not survive a tensor without elements, for messages; None if everything does."""
    try:
        for operator in read_operators(content):
            if operator.name in FRAGILE or operator.domain not in _OWN_DOMAINS:
                return str(operator)
    except (ValueError, IndexError):
        return "a file that is not in ONNX's own format"
    return None


def read_operators(content: bytes) -> Iterator[Operator]:
    """The operator of each node, in the graphs inside of nodes and in functions too.

    Raises ValueError or IndexError for what is no ONNX file.
    """
    waiting = [("model", memoryview(content))]
    while waiting:
        kind, message = waiting.pop()
        texts = {_OP_TYPE: "", _DOMAIN: ""}
        for number, part in _fields(message):
            inside = _INSIDE[kind].get(number)
            if inside is not None:
                waiting.append((inside, part))
            elif kind == "node" and number in texts:
                texts[number] = str(part, "utf-8")
        if kind == "node":
            yield Operator(texts[_DOMAIN], texts[_OP_TYPE])


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field that has a length of its own; the others are stepped over."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        wire_type = key & 7
        if wire_type == _VARINT:
            _, at = _read_varint(message, at)
        elif wire_type == _LENGTH:
            size, at = _read_varint(message, at)
            yield key >> 3, message[at : at + size]
            at += size
        elif wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if wire_type == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"expected a field of protocol buffers, got one of type {wire_type}")
    if at > len(message):
        raise ValueError("a field reaches beyond the end of its message")


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
