"""Well-formed v2 requests to begin with, over several models, and how a request becomes the bytes of HTTP."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from onnx.helper import np_dtype_to_tensor_dtype

from model_store.datatypes import DATATYPES
from tests.support.models import graphs

LENGTH = "Inference-Header-Content-Length"
Json = dict[str, Any]
MODELS: dict[str, tuple[str, tuple[str, ...], int | None]] = {
    "floats": ("FP32", ("x",), None),
    "doubles": ("FP64", ("x",), None),
    "halves": ("FP16", ("x",), None),
    "brains": ("BF16", ("x",), None),
    "longs": ("INT64", ("x",), None),
    "bytes": ("UINT8", ("x",), None),
    "flags": ("BOOL", ("x",), None),
    "texts": ("BYTES", ("x",), None),
    "add": ("FP32", ("a", "b"), 2),
    "fixed": ("FP32", ("x",), 2),
}
"""Name -> datatype, inputs, elements of a row where they are fixed. None of them can fail on what it accepts."""
_TEXTS = ("", "a", "né", "\U0001f600", "0", '"\\', "long " * 20)


def write_models(root: Path) -> Path:
    """The store of ``MODELS``."""
    for name, (datatype, _, width) in MODELS.items():
        if width is None:
            graphs.write_plain(root, name, graphs.echo(np_dtype_to_tensor_dtype(DATATYPES[datatype].dtype)))
    graphs.write_plain(root, "add", graphs.add())
    graphs.write_plain(root, "fixed", graphs.one_at_a_time())
    return root


@dataclass
class Request:
    """A request in parts, each of which can be damaged. ``text`` is made of ``header`` unless it is given.

    ``header_bytes`` is what the length of the JSON part claims to be: a number, any text, or None for none.
    ``length`` replaces the true Content-Length; ``chunks`` sends the body in pieces of that size. ``is_cut`` says that
    the server may be left waiting for the rest, so that it owes no answer when we close our side.
    """

    path: str
    header: Any
    tail: bytes = b""
    method: str = "POST"
    text: bytes | None = None
    header_bytes: int | str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    pack: Callable[[bytes], bytes] | None = None
    length: str | None = None
    chunks: int = 0
    damage: Callable[[bytes], bytes] | None = None
    is_cut: bool = False
    changes: list[str] = field(default_factory=list)

    def json_text(self) -> bytes:
        return json.dumps(self.header).encode() if self.text is None else self.text

    def render(self) -> bytes:
        """The bytes to send."""
        body = self.json_text() + self.tail
        if self.pack is not None:
            body = self.pack(body)
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: fuzz"]
        if self.header_bytes is not None:
            lines.append(f"{LENGTH}: {self.header_bytes}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.chunks:
            lines.append("Transfer-Encoding: chunked")
            pieces = [body[i : i + self.chunks] for i in range(0, len(body), self.chunks)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        else:
            lines.append(f"Content-Length: {len(body) if self.length is None else self.length}")
        message = "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body
        return message if self.damage is None else self.damage(message)


def make_request(random: Random) -> Request:
    """A request that some model answers: JSON, binary, mixed or raw; some have no rows, or rows of nothing."""
    name = random.choice(list(MODELS))
    datatype, inputs, fixed = MODELS[name]
    rows = 2 if name == "fixed" else random.randint(0, 5)
    width = fixed or random.randint(0, 9)
    version = random.choice(["", "", "/versions/1"])
    request = Request(f"/v2/models/{name}{version}/infer", {"inputs": []})
    has_no_json = DATATYPES[datatype].is_binary_only
    is_binary = [has_no_json or random.random() < 0.5 for _ in inputs]
    for tensor, binary in zip(inputs, is_binary, strict=True):
        item, tail = _make_tensor(random, tensor, datatype, (rows, width), binary)
        request.header["inputs"].append(item)
        request.tail += tail
    if random.random() < 0.3:
        request.header["id"] = random.choice(["", "1", "né", "x" * 200])
    wants_binary = has_no_json or random.random() < 0.5
    if wants_binary:
        request.header["parameters"] = {"binary_data_output": True}
    if random.random() < 0.3:
        output = "total" if name == "add" else "y"
        request.header["outputs"] = [{"name": output, "parameters": {"binary_data": wants_binary}}]
    if any(is_binary):
        request.header_bytes = len(request.json_text())
        if len(inputs) == 1 and datatype != "BYTES" and random.random() < 0.1:
            request.text, request.header_bytes = b"", 0
    return request


def _make_tensor(
    random: Random, name: str, datatype: str, shape: tuple[int, int], is_binary: bool
) -> tuple[Json, bytes]:
    item: Json = {"name": name, "datatype": datatype, "shape": [*shape]}
    values = _values(random, datatype, shape[0] * shape[1])
    if is_binary:
        tail = _binary(values, datatype)
        item["parameters"] = {"binary_data_size": len(tail)}
        return item, tail
    if random.random() < 0.5:
        item["data"] = values
    else:
        item["data"] = [values[row * shape[1] : (row + 1) * shape[1]] for row in range(shape[0])]
    return item, b""


def _values(random: Random, datatype: str, count: int) -> list[Any]:
    if datatype == "BYTES":
        return random.choices(_TEXTS, k=count)
    if datatype == "BOOL":
        return random.choices((True, False), k=count)
    if DATATYPES[datatype].is_float:
        return [round(random.uniform(-100, 100), 3) for _ in range(count)]
    return [random.randint(0, 255) for _ in range(count)]


def _binary(values: list[Any], datatype: str) -> bytes:
    if datatype == "BYTES":
        encoded = [value.encode() for value in values]
        return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)
    return np.array(values, DATATYPES[datatype].dtype).tobytes()
