"""A small graph of which it is known whether its rows are independent.

A case is written in the notation of ``tests/support/models/text.py``. ``read_cases`` reads a table of them::

    name (opset 18; draws n=1..5): what the case is about
        float[N,T] x, int64[N] n => float[N,M] y
        a = Tanh(x) $SHORTHAND y = Relu(a)
"""

import ast
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import ArrayLike

from tests.support.models.text import Draw, parse

Truth = Literal["independent", "mixing"]
Kind = Literal["values", "shape", "failure"]

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
    """Largest difference between a row alone and in a batch that is rounding, relative to the row's largest value."""

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
    imports = {"": opset, "com.microsoft": 1, "ai.onnx.ml": ml, "local": 1}
    try:
        model = parse(signature, body, constants or {}, imports, functions, zlib.crc32(name.encode()))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return Case(name, truth, model, note, axes or {}, lengths or {}, draws or {}, sizes, seen, unseen, tolerance)


def read_cases(
    truth: Truth,
    table: str,
    shorthands: Mapping[str, str] | None = None,
    constants: Mapping[str, ArrayLike] | None = None,
    draws: Mapping[str, Draw] | None = None,
) -> list[Case]:
    """The cases of a table; what is indented belongs to the case above it.

    Options are those of ``build``: ``axes x=1 flag=None``, ``lengths T=4,9``, ``draws n=1..5 k=1|2``, ``sizes 1,2``,
    ``opset 18``; ``constants k`` takes ``k`` from ``constants``, ``draws n=k`` from ``draws``. Without signature it is
    ``float[N,4] x => float[N,4] y``; ``|`` or a new line ends it. Local functions, which begin with ``def``, come last.
    ``$N`` stands for ``shorthands["N"]``, or for what ``_SHORTHANDS`` has.
    """
    cases = []
    for entry in re.split(r"\n(?=\S)", Template(table.strip()).substitute(_SHORTHANDS, **(shorthands or {}))):
        found = _ENTRY.fullmatch(entry)
        if found is None:
            raise ValueError(f"expected 'name (options): note', a signature and nodes, got {entry!r}")
        name, texts, note, signature, nodes = found.groups()
        options = dict(_read_option(text, constants or {}, draws or {}) for text in texts.split(";")) if texts else {}
        body, *functions = re.split(r"\n *(?=def )", nodes)
        cases.append(build(name, truth, signature or _SIGNATURE, body, note, functions="\n".join(functions), **options))
    return cases


_SHORTHANDS = {"N": "s = Shape(x) n = Gather(s, 0) ", "PLACES": "s = Shape(x) n = Gather(s, 0) r = Range(0, n, 1) "}
_SIGNATURE = "float[N,4] x => float[N,4] y"
_ENTRY = re.compile(r"(\w+)(?: \((.*?)\))?: (.*)\n(?: *(\w+\[.*\s+=> [^|\n]*)[|\n])?([\s\S]*)")
"""Name, options, note, signature and nodes."""


def _read_option(text: str, constants: Mapping[str, ArrayLike], draws: Mapping[str, Draw]) -> tuple[str, Any]:
    name, *values = text.split()
    if name == "constants":
        return name, {key: constants[key] for key in values}
    if name in ("axes", "lengths"):
        return name, {key: ast.literal_eval(value) for key, value in (pair.split("=") for pair in values)}
    if name == "draws":
        pairs = (pair.split("=") for pair in values)
        return name, {key: draws[value] if value in draws else _read_draw(value) for key, value in pairs}
    (value,) = values
    if name in ("sizes", "unseen"):
        return name, tuple(int(size) for size in value.split(","))
    return name, value if name == "seen" else ast.literal_eval(value)


def _read_draw(text: str) -> Draw:
    """``1..5``, ``-0.5..0.5`` or ``1|2|7``."""
    if "|" in text:
        return among(*map(ast.literal_eval, text.split("|")))
    return between(*map(ast.literal_eval, text.split("..")))


def between(low: float, high: float) -> Draw:
    """Values of ``low <= value < high``."""
    return lambda rng, shape: (
        rng.uniform(low, high, shape) if isinstance(low, float) else rng.integers(low, high, shape)
    )


def among(*values: object) -> Draw:
    """Values out of a list."""
    return lambda rng, shape: rng.choice(np.array(values), shape)
