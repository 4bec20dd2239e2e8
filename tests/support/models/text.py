"""Graphs in ONNX's own text form, with two shorthands in the arguments of a node.

Numbers (``2``, ``0.5``, ``[0, -1]``) are constants, int64 or float32.
``w[4,5]`` is a random weight of that shape (``_WEIGHTS`` lists the kinds).
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from numpy.random import Generator
from numpy.typing import ArrayLike
from onnx import numpy_helper, parser

Draw = Callable[[Generator, Sequence[int]], np.ndarray]


def make_model(signature: str, body: str, opset: int = 20, **constants: ArrayLike) -> bytes:
    """A checked model of ``float[batch,3] x => float[batch,3] y`` and its nodes. Lists of floats are FP32."""
    model = parse(signature, body, constants, {"": opset})
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def parse(
    signature: str,
    body: str,
    constants: Mapping[str, ArrayLike],
    imports: Mapping[str, int],
    functions: str = "",
    seed: int = 0,
) -> onnx.ModelProto:
    """``functions`` are local ones of the domain ``local``; each begins with ``def``. ``seed`` draws the weights."""
    inputs, outputs = signature.split("=>")
    text, weights = _extract_constants(body, seed)
    versions = ", ".join(f'"{domain}" : {version}' for domain, version in imports.items())
    local = re.sub(r"(?m)^\s*def ", f'<domain: "local", opset_import: [{versions}]> ', functions)
    try:
        model = parser.parse_model(
            f"<ir_version: 10, opset_import: [{versions}]> tiny ({inputs}) => ({outputs}) {{ {text} }} {local}"
        )
    except parser.ParseError as error:
        raise ValueError(str(error)) from error
    weights |= {key: _to_array(value) for key, value in constants.items()}
    model.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in weights.items())
    return model


def _to_array(value: ArrayLike) -> np.ndarray:
    """An array as it is; lists of Python floats as float32."""
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 and not isinstance(value, np.ndarray) else array


_ARGUMENT = re.compile(
    r"""
      "[^"]*"                                               # a text
    | =\s*\[[^\]]*\]                                        # an attribute that is a list
    | <(?:"[^"]*"|[^<>(){}"])*>                             # attributes without a graph among them
    | \w+\[[^\]]*\]\s+\w+                                   # a typed name
    | (?<=[(,])\s*(?P<kind>[a-z]\w*)\[(?P<shape>[\d,\s]*)\](?=\s*[,)])
    | (?<=[(,])\s*(?P<number>-?\d[\d.e-]*|\[[^\]\w]*\]|\[[-\d][^\]]*\])(?=\s*[,)])
    """,
    re.VERBOSE,
)

_WEIGHTS: dict[str, Draw] = {
    "w": lambda rng, shape: rng.normal(0, 0.5, shape).astype(np.float32),
    "p": lambda rng, shape: rng.uniform(0.5, 1.5, shape).astype(np.float32),
    "f64": lambda rng, shape: rng.normal(0, 0.5, shape),
    "f16": lambda rng, shape: rng.normal(0, 0.5, shape).astype(np.float16),
    "i8": lambda rng, shape: rng.integers(-100, 100, shape).astype(np.int8),
    "u8": lambda rng, shape: rng.integers(0, 200, shape).astype(np.uint8),
    "ones": lambda _, shape: np.ones(shape, np.float32),
    "zeros": lambda _, shape: np.zeros(shape, np.float32),
}


def _extract_constants(body: str, seed: int) -> tuple[str, dict[str, np.ndarray]]:
    """The text with names in the place of the constants written in it, and the constants by name."""
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}

    def replace(match: re.Match[str]) -> str:
        if match["kind"]:
            shape = [int(length) for length in match["shape"].split(",") if length.strip()]
            value = _WEIGHTS[match["kind"]](rng, shape)
        elif match["number"]:
            value = _read_numbers(match["number"])
        else:
            return match[0]
        name = f"c_{len(found)}"
        found[name] = value
        return name

    return _ARGUMENT.sub(replace, body), found


def _read_numbers(text: str) -> np.ndarray:
    """``2`` or ``[2, 3]`` as int64, ``0.5`` or ``[1.0, 2.0]`` as float32."""
    if "." in text or "e" in text:
        return np.array([float(number) for number in _split(text)] if "[" in text else float(text), np.float32)
    return np.array([int(number) for number in _split(text)] if "[" in text else int(text), np.int64)


def _split(text: str) -> list[str]:
    return [number for number in text.strip("[] ").split(",") if number.strip()]
