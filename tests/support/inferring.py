"""Sends tensors by the Open Inference Protocol, runs the same in plain ONNX Runtime, and compares the two."""

import ctypes
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime as ort

from model_store.datatypes import BY_ONNX, DATATYPES, datatype_of

Tensors = Mapping[str, np.ndarray]

_BF16 = DATATYPES["BF16"]
_BF16_NUMBER = 16  # TensorProto.BFLOAT16


class Refused(Exception):
    """The server answered with an error. ``status`` is of HTTP, the text is the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status, self.reason = status, reason


def infer(client: httpx.Client, model: str, inputs: Tensors) -> dict[str, np.ndarray]:
    """All outputs of one request, each tensor as bytes both ways. Raises Refused."""
    header, tensors = [], []
    for name, array in inputs.items():
        tensors.append(_to_bytes(array))
        size = {"binary_data_size": len(tensors[-1])}
        facts = {"name": name, "shape": list(array.shape), "datatype": datatype_of(array).name, "parameters": size}
        header.append(facts)
    text = json.dumps({"inputs": header, "parameters": {"binary_data_output": True}}).encode()
    response = client.post(
        f"/v2/models/{model}/infer",
        content=b"".join((text, *tensors)),
        headers={"Inference-Header-Content-Length": str(len(text))},
    )
    if response.status_code != 200:
        raise Refused(response.status_code, response.json()["error"])
    return _read(response)


def load(client: httpx.Client, model: str) -> None:
    """Ask the server for the model. Raises Refused, with the reason why it cannot serve."""
    response = client.post(f"/v2/repository/models/{model}/load")
    if response.status_code != 200:
        raise Refused(response.status_code, response.json()["error"])


def read_bits(client: httpx.Client, model: str) -> str:
    """The card's word on a row's bits: "exact", "exact padded to 2", "… on one core", or "rounding" and how much."""
    cards = client.get("/models").raise_for_status().json()["models"]
    [bits] = [card["batching"]["bits"] for card in cards if card["name"] == model]
    text: str = bits
    return text


def _read(response: httpx.Response) -> dict[str, np.ndarray]:
    length = int(response.headers.get("inference-header-content-length", len(response.content)))
    tensors: dict[str, np.ndarray] = {}
    at = length
    for output in json.loads(response.content[:length])["outputs"]:
        datatype, shape = DATATYPES[output["datatype"]], output["shape"]
        if "data" in output:
            tensors[output["name"]] = np.array(output["data"], datatype.dtype).reshape(shape)
            continue
        size = output["parameters"]["binary_data_size"]
        content = response.content[at : at + size]
        at += size
        flat = np.frombuffer(content, datatype.dtype) if datatype.itemsize else _to_texts(content)
        tensors[output["name"]] = flat.reshape(shape)
    assert at == len(response.content), "the answer is longer than its header says"
    return tensors


def _to_bytes(array: np.ndarray) -> bytes:
    if datatype_of(array).itemsize:
        return np.ascontiguousarray(array).tobytes()
    texts = [_encode(text) for text in array.reshape(-1)]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _encode(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()


def _to_texts(content: bytes) -> np.ndarray:
    texts, at = [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "little")
        texts.append(content[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return np.array(texts, object)


class Plain:
    """ONNX Runtime by itself, on one thread. Raises its own errors."""

    def __init__(self, model: bytes | Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # what it cannot do it raises as well
        source = model if isinstance(model, bytes) else str(model)
        self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.types = tuple(tensor.type for tensor in (*inputs, *outputs))
        self.input_names = [tensor.name for tensor in inputs]
        self.output_names = [tensor.name for tensor in outputs]

    @property
    def unknown_types(self) -> tuple[str, ...]:
        """Types of inputs and outputs that the protocol cannot express, as ONNX Runtime writes them."""
        return tuple(kind for kind in self.types if kind not in BY_ONNX)

    def run(self, inputs: Tensors) -> dict[str, np.ndarray]:
        if _BF16.onnx not in self.types:
            return dict(zip(self.output_names, self._session.run(self.output_names, dict(inputs)), strict=True))
        lent = {name: _lend(array) for name, array in inputs.items()}
        values = self._session.run_with_ort_values(self.output_names, lent)
        return dict(zip(self.output_names, map(_copy, values), strict=True))


def open_plain(content: bytes) -> Plain:
    """As ``Plain``. If the machine lacks a graph's locale it uses C.UTF-8, which changes the case alike."""
    try:
        return Plain(content)
    except Exception:
        model = onnx.load_from_string(content)
        nodes = [node for node in model.graph.node if node.op_type == "StringNormalizer"]
        if not nodes:
            raise
        for node in nodes:
            kept = [attribute for attribute in node.attribute if attribute.name != "locale"]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute("locale", "C.UTF-8")])
        return Plain(model.SerializeToString())


def _lend(array: np.ndarray) -> Any:
    """ONNX Runtime does not take NumPy's BF16, so it gets the bits."""
    if array.dtype != _BF16.dtype:
        return ort.OrtValue.ortvalue_from_numpy(np.require(array, None, "C"))
    bits = np.require(array, None, "C").view(np.uint16)  # np.ascontiguousarray would give a scalar an axis
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _BF16_NUMBER)


def _copy(value: Any) -> np.ndarray:
    if value.element_type() != _BF16_NUMBER:
        array: np.ndarray = value.numpy()
        return array
    array = np.empty(value.shape(), _BF16.dtype)
    ctypes.memmove(array.ctypes.data, value.data_ptr(), array.nbytes)
    return array


def find_difference(got: Tensors, expected: Tensors, *, rtol: float = 0.0) -> str | None:
    """The first difference between two answers, in names, datatypes, shapes or bits; None if there is none.

    All NaNs are equal. ``rtol`` is how far floats may be off, as a part of the tensor's largest number.
    """
    if got.keys() != expected.keys():
        return f"outputs {list(got)}, expected {list(expected)}"
    for name, wanted in expected.items():
        array = got[name]
        if (datatype_of(array), array.shape) != (datatype_of(wanted), wanted.shape):
            return f"{name}: {array.dtype} {array.shape}, expected {wanted.dtype} {wanted.shape}"
        if datatype_of(wanted).is_float:
            found = _compare_floats(array, wanted, rtol)
            if found:
                return f"{name}: {found}"
        elif array.tolist() != wanted.tolist():
            return f"{name}: other values"
    return None


def _compare_floats(got: np.ndarray, expected: np.ndarray, rtol: float) -> str | None:
    integer = np.dtype(f"u{expected.dtype.itemsize}")
    a, b = (np.ascontiguousarray(array).reshape(-1) for array in (got, expected))
    same = (a.view(integer) == b.view(integer)) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return None
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, np.abs(a - b))
    finite = b[np.isfinite(b)]
    allowed = rtol * float(np.abs(finite).max(initial=0.0))
    if (off <= allowed).all():
        return None
    at = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
    return f"{int((~same).sum())} of {same.size} numbers differ, such as {a[at]:.9g}, expected {b[at]:.9g}"
