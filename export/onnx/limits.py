"""The sizes of free axes for which a traced graph is right, as torch.export found while tracing.

``forward`` may decide by a size, as in ``if x.shape[1] > 64``. Then the trace is right only for sizes with the same
decision. torch.export records each such decision as a guard. Some guards do not matter, such as that a size is not 1.
Guards that are more than a range of one size are tested (``export/proof/domain/sizes.py``).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch.utils._sympy.printers import PythonPrinter

from export.spec import BATCH, GraphSpec, Sizes
from model_store.graph import AxisRange

_LARGEST_FACTOR = 128
_UNLIMITED = 2**48


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition on sizes that the trace relies on. ``names`` are the axes in it."""

    text: str
    names: frozenset[str]
    expression: Any
    symbols: Mapping[Any, str]

    def holds(self, sizes: Sizes) -> bool:
        values = {symbol: sympy.Integer(sizes[name]) for symbol, name in self.symbols.items()}
        try:
            return bool(self.expression.xreplace(values) != sympy.false)
        except ZeroDivisionError:
            return False


@dataclass(frozen=True, slots=True)
class Limits:
    """The ``ranges`` of free axes by name, including the batch, and all ``guards``."""

    ranges: Mapping[str, AxisRange] = field(default_factory=dict)
    guards: tuple[Guard, ...] = ()


@contextmanager
def watch_limits(spec: GraphSpec) -> Iterator[list[Limits]]:
    """Collect the limits of what torch.export makes inside the block, because torch.onnx drops its guards later."""
    found: list[Limits] = []
    export = torch.export.export

    def export_and_read(*args: Any, **options: Any) -> torch.export.ExportedProgram:
        program = export(*args, **options)
        found.append(read_limits(program, spec))
        return program

    torch.export.export = export_and_read
    try:
        yield found
    finally:
        torch.export.export = export


def read_limits(program: torch.export.ExportedProgram, spec: GraphSpec) -> Limits:
    """The limits of the axes that the spec leaves free, from the program."""
    axes = list(_list_axes(program, spec))
    found = program.range_constraints
    ranges = {name: _read_range(found[size.node.expr]) for name, size in axes if size.node.expr in found}
    guards = list(_read_guards(axes))
    for name in {name for name, _ in axes} - {BATCH}:
        factor = _find_factor(name, spec, guards)
        if factor > 1:
            ranges[name] = ranges.get(name, AxisRange()).model_copy(update={"multiple_of": factor})
    return Limits({name: limits for name, limits in ranges.items() if limits != AxisRange()}, tuple(guards))


def _list_axes(program: torch.export.ExportedProgram, spec: GraphSpec) -> Iterator[tuple[str, torch.SymInt]]:
    """The free axes by name with their symbols, if the program has the inputs of the spec in order."""
    placeholders = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    given = [placeholders.get(str(name)) for name in program.graph_signature.user_inputs]
    if len(given) != len(spec.inputs):
        return
    for value, axes in zip(given, spec.axes.values(), strict=True):
        for axis, name in axes.items():
            size: Any = value.shape[axis] if isinstance(value, torch.Tensor) else None  # declared as an integer
            if isinstance(size, torch.SymInt) and isinstance(size.node.expr, sympy.Symbol):
                yield name, size


def _read_range(limits: Any) -> AxisRange:
    """The range of an axis. A least size of 1 or less, and a largest size in the trillions, are no limits."""
    least, largest = limits.lower, limits.upper
    return AxisRange(
        least=int(least) if 1 < least < _UNLIMITED else None, largest=int(largest) if largest < _UNLIMITED else None
    )


def _read_guards(axes: Sequence[tuple[str, torch.SymInt]]) -> Iterator[Guard]:
    """The guards: torch.export's own, and the run-time assertions that torch.onnx asks for."""
    if not axes:
        return
    names = {size.node.expr: name for name, size in axes}
    noted = axes[0][1].node.shape_env
    found = [assertion.expr for some in noted.deferred_runtime_asserts.values() for assertion in some]
    for expression in dict.fromkeys([*found, *(guard.expr for guard in noted.guards)]):
        symbols = {symbol: names[symbol] for symbol in expression.free_symbols if symbol in names}
        if len(symbols) < len(expression.free_symbols):
            continue
        shown = expression.xreplace({symbol: sympy.Symbol(name, integer=True) for symbol, name in symbols.items()})
        yield Guard(PythonPrinter().doprint(shown), frozenset(symbols.values()), expression, symbols)


def _find_factor(name: str, spec: GraphSpec, guards: Sequence[Guard]) -> int:
    """The number of which the size of an axis must be a multiple; 1 if any size will do."""
    factor = 1
    for guard in guards:
        if name in guard.names and guard.names <= {name, BATCH}:
            factor = math.lcm(factor, _factor_of(guard, name, spec.example_sizes))
    return factor


def _factor_of(guard: Guard, name: str, example: Sizes) -> int:
    """The number whose multiples are exactly the sizes that satisfy the guard; 1 if there is none."""
    for factor in range(2, min(example[name], _LARGEST_FACTOR) + 1):
        sizes = range(1, 3 * factor + 1)
        if example[name] % factor == 0 and all(
            guard.holds({**example, name: size}) == (size % factor == 0) for size in sizes
        ):
            return factor
    return 1
