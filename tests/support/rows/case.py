"""A small graph of which it is known whether its rows are independent.

A case is written in ONNX's own text form, with two shorthands in the arguments of a node:
numbers (``2``, ``0.5``, ``[0, -1]``) are constants, int64 or float32;
``w[4,5]`` is a random weight of that shape (``_WEIGHTS`` lists the kinds).
"""

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.random import Generator
from numpy.typing import ArrayLike
from onnx import numpy_helper, parser

Truth = Literal["independent", "mixing"]
Kind = Literal["values", "shape", "failure"]
Draw = Callable[[Generator, Sequence[int]], np.ndarray]

SIZES = (1, 2, 3, 5, 8, 9, 17, 24)


@dataclass(frozen=True)
class Case:
    """A graph, whether its rows are independent, and what is needed to confirm it by running it.

    ``mixing`` means that it is wrong to batch requests: what a row gives, its shape, or whether it runs at all depends
    on the other rows of the batch, on their number, or on the row's place.
    """

    name: str
    truth: Truth
    model: onnx.ModelProto
    note: str
    axes: Mapping[str, int | None]
    """The batch axis of an input or output, where it is not 0. None: all rows share this input."""
    lengths: Mapping[str, Sequence[int]]
    """Two lengths for each other free axis, by its name; ``?`` for those without a name."""
    draws: Mapping[str, Draw]
    """How the values of an input are drawn, where not every value is valid."""
    sizes: Sequence[int]
    """Numbers of rows at which the case is run."""
    seen: Kind
    """What shows that rows mix."""
    unseen: Sequence[int]
    """Numbers of rows at which nothing shows that rows mix."""
    tolerance: float
    """Largest difference between a row alone and in company that is rounding, relative to the row's largest value."""

    def find_axis(self, tensor: str) -> int | None:
        """The batch axis of an input or output; None for an input that all rows share."""
        return self.axes.get(tensor, 0)


def independent(name: str, signature: str, body: str, note: str, **options: Any) -> Case:
    """A case whose rows are independent; see ``build`` for the arguments and options."""
    return build(name, "independent", signature, body, note, **options)


def mixing(name: str, signature: str, body: str, note: str, **options: Any) -> Case:
    """A case whose rows mix; see ``build`` for the arguments and options."""
    return build(name, "mixing", signature, body, note, **options)


def build(
    name: str,
    truth: Truth,
    signature: str,
    body: str,
    note: str,
    *,
    opset: int = 17,
    ml: int = 3,
    constants: Mapping[str, ArrayLike] | None = None,
    functions: str = "",
    axes: Mapping[str, int | None] | None = None,
    lengths: Mapping[str, Sequence[int]] | None = None,
    draws: Mapping[str, Draw] | None = None,
    sizes: Sequence[int] = SIZES,
    seen: Kind = "values",
    unseen: Sequence[int] = (),
    tolerance: float = 1e-3,
) -> Case:
    """A case from the text of its graph.

    ``signature`` is ``float[N,4] x => float[N,2] y``, ``body`` holds the nodes, ``functions`` holds local functions of
    the domain ``local``. ``ml`` is the version of the domain ai.onnx.ml.
    """
    inputs, outputs = signature.split("=>")
    text, weights = _extract_constants(body, zlib.crc32(name.encode()))
    imports = f'["" : {opset}, "com.microsoft" : 1, "ai.onnx.ml" : {ml}, "local" : 1]'
    head = f"<ir_version: 10, opset_import: {imports}>"
    local = re.sub(r"(?m)^\s*def ", f'<domain: "local", opset_import: {imports}> ', functions)
    try:
        model = parser.parse_model(f"{head} tiny ({inputs}) => ({outputs}) {{ {text} }} {local}")
    except parser.ParseError as error:
        raise ValueError(f"{name}: {error}") from error
    weights |= {key: _to_array(value) for key, value in (constants or {}).items()}
    model.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in weights.items())
    return Case(name, truth, model, note, axes or {}, lengths or {}, draws or {}, sizes, seen, unseen, tolerance)


def _to_array(value: ArrayLike) -> np.ndarray:
    """An array as it is; lists of Python floats as float32."""
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 and not isinstance(value, np.ndarray) else array


def between(low: float, high: float) -> Draw:
    """Values of ``low <= value < high``."""
    return lambda rng, shape: (
        rng.uniform(low, high, shape) if isinstance(low, float) else rng.integers(low, high, shape)
    )


def among(*values: object) -> Draw:
    """Values out of a list."""
    return lambda rng, shape: rng.choice(np.array(values), shape)


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
