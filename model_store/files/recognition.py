"""Says what a file is that ONNX Runtime cannot load, and what to do about it."""

import re

_NO_ONNX = re.compile(r"INVALID_PROTOBUF|No graph was found|start byte")
_DAMAGED = "it is not an ONNX file, or not complete: copy it again"
_BEGINNINGS: tuple[tuple[int, bytes | tuple[bytes, ...], str], ...] = (
    (
        0,
        b"version https://git-lfs",
        "it is the pointer of Git LFS to the model: run `git lfs pull`, and copy the model itself",
    ),
    (
        0,
        (b"PK\x03\x04", b"\x80\x02"),
        "it looks like a file of PyTorch: `sluice export` publishes its models, from a spec",
    ),
    (0, b"\x1f\x8b", "it is compressed by gzip: unpack it"),
    (0, b"\x89HDF", "it is a file of HDF5, as Keras writes it: convert the model to ONNX"),
    (4, b"TFL3", "it is a model of TensorFlow Lite: convert it to ONNX"),
    (0, b"<", "it is a page of HTML or a file of XML: download or convert the model itself"),
)
"""A place in the file, the bytes of another kind of file there, and what to do. PyTorch writes a zip, or a pickle."""
_ADVICE = (
    (
        r"is not a registered function|No Op registered",
        "the server has the operators of ONNX and ONNX Runtime only: export the model without custom ones",
    ),
    (r"Opset|opset|IR version|ir_version", "export it for an older version of ONNX"),
    (r"NOT_IMPLEMENTED", "ONNX Runtime lacks that operator for these datatypes: cast to float32"),
)


def advise(error: str, content: bytes) -> str:
    """What to do about a file that ONNX Runtime refused with this error. Empty if nothing is known."""
    if not _NO_ONNX.search(error):
        return next((advice for pattern, advice in _ADVICE if re.search(pattern, error)), "")
    if not content:
        return "it is empty: copy it again"
    found = (advice for at, beginning, advice in _BEGINNINGS if content.startswith(beginning, at))
    return next(found, _DAMAGED)
