"""What of an ONNX file would batch, what would not and why; and a copy of it whose batch axis is free.

The rule is the service's: axis 0 of every input and output is dynamic and has one name, or none everywhere. What the
file declares is then tried: at several sizes, and every row among other neighbours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from export.comparison import measure_error
from export.errors import ExportError
from export.runtime import Runtime
from model_store.datatypes import DATATYPES

BATCH = "batch"
_SIZES = (2, 3, 5)
_OTHER_AXES = 8
"""The size that other dynamic axes are tried with."""
_TOLERANCE = 1e-4
"""Of the largest magnitude of an output: above it a difference is taken for influence, below for rounding."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output as the file declares it; ``shape`` holds sizes, names, and "" for an axis without either."""

    name: str
    kind: str
    dtype: np.dtype
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reasons`` say in words what is in the way of batches, or what was tried. ``fixable``: try ``free_batch``."""

    tensors: tuple[Tensor, ...]
    batches: bool
    reasons: tuple[str, ...]
    fixable: bool = False


def inspect(content: bytes) -> Verdict:
    """What would become of this file in the service. Raises ExportError where it is not a valid ONNX graph."""
    model = _parse(content)
    tensors = _read_tensors(model)
    obstacles = _list_obstacles(tensors)
    if obstacles:
        fixable = bool(tensors) and all(t.shape and t.shape[0] == 1 for t in tensors)
        return Verdict(tensors, False, tuple(obstacles), fixable)
    if untried := _find_untried(tensors):
        return Verdict(tensors, True, (f"as declared: {untried}; the service tries it when it loads the version",))
    inputs = [t for t in tensors if t.kind == "input"]
    runtime = Runtime(content)
    try:
        _try_sizes(runtime, inputs)
    except ExportError as error:
        return Verdict(tensors, False, (str(error),))
    influence = _find_influence(runtime, inputs)
    if influence is not None:
        return Verdict(tensors, False, (influence,))
    tried = ", ".join(map(str, _SIZES))
    return Verdict(tensors, True, (f"tried with batches of {tried}: each row kept its answer among other neighbours",))


def free_batch(content: bytes) -> bytes:
    """The graph with its axis 0, fixed at 1 so far, free. Raises ExportError where that changes its answers."""
    model = _parse(content)
    tensors = _read_tensors(model)
    if not all(t.shape and t.shape[0] == 1 for t in tensors):
        raise ExportError("axis 0 of every input and output must be 1 to be made free: see what `sluice check` lists")
    if untried := _find_untried(tensors):
        raise ExportError(f"{untried}: export the model again with a dynamic axis 0")
    for value in (*model.graph.input, *model.graph.output):
        dimension = value.type.tensor_type.shape.dim[0]
        dimension.Clear()
        dimension.dim_param = BATCH
    del model.graph.value_info[:]
    _free_reshapes(model.graph)
    changed: bytes = model.SerializeToString()
    inputs = [t for t in tensors if t.kind == "input"]
    before, after = Runtime(content), Runtime(changed)
    rows = _make_rows(inputs, max(_SIZES), seed=0)
    again = "export the model again with a dynamic axis 0"
    for size in _SIZES:
        try:
            together = after.run({name: array[:size] for name, array in rows.items()})
        except ExportError as error:
            raise ExportError(f"the graph has the batch of 1 built in ({error}): {again}") from error
        for row in range(size):
            alone = before.run({name: array[row : row + 1] for name, array in rows.items()})
            for name, expected in alone.items():
                got = together[name]
                if len(got) != size or not _is_close(expected[0], got[row]):
                    raise ExportError(f"with {size} rows, row {row} of {name!r} is not what it is alone: {again}")
    return changed


def _parse(content: bytes) -> onnx.ModelProto:
    try:
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(
            f"not a valid ONNX file ({reason}): weights in other files must be put into this one"
        ) from error
    return model


def _read_tensors(model: onnx.ModelProto) -> tuple[Tensor, ...]:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    return tuple(
        Tensor(
            value.name,
            kind,
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
            tuple(
                int(axis.dim_value) if axis.HasField("dim_value") else axis.dim_param
                for axis in value.type.tensor_type.shape.dim
            ),
        )
        for kind, values in (("input", inputs), ("output", model.graph.output))
        for value in values
    )


def _list_obstacles(tensors: Sequence[Tensor]) -> list[str]:
    """Why the declared shapes have no batch axis in common; empty where they have one."""
    obstacles = []
    for tensor in tensors:
        if not tensor.shape:
            obstacles.append(f"{tensor.kind} {tensor.name!r} is a scalar: give it one value a row, on axis 0")
        elif isinstance(tensor.shape[0], int):
            obstacles.append(
                f"axis 0 of {tensor.kind} {tensor.name!r} is fixed at {tensor.shape[0]}: export it as dynamic"
            )
    names = {tensor.shape[0] for tensor in tensors if tensor.shape and isinstance(tensor.shape[0], str)}
    if len(names) > 1:
        shown = ", ".join(sorted(repr(name) for name in names))
        obstacles.append(f"axis 0 has several names ({shown}): call the batch the same in every input and output")
    return obstacles


def _find_untried(tensors: Sequence[Tensor]) -> str | None:
    """Why the graph cannot be run here; None where it can."""
    found = next((t for t in tensors if t.dtype == DATATYPES["BF16"].dtype), None)
    if found is None:
        return None
    return f"{found.kind} {found.name!r} is BF16, which ONNX Runtime takes from no array of NumPy"


def _make_rows(inputs: Sequence[Tensor], rows: int, seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {tensor.name: _draw(tensor, rows, draw) for tensor in inputs}


def _draw(tensor: Tensor, rows: int, draw: np.random.Generator) -> np.ndarray:
    shape = (rows, *(size if isinstance(size, int) else _OTHER_AXES for size in tensor.shape[1:]))
    if tensor.dtype.kind == "f":
        return draw.random(shape).astype(tensor.dtype)
    if tensor.dtype.kind in "OSU":
        return draw.choice(np.array(["a", "b"], dtype=object), shape)
    return draw.integers(0, 2, shape).astype(tensor.dtype)  # indices this small are in every table


def _try_sizes(runtime: Runtime, inputs: Sequence[Tensor]) -> None:
    for size in _SIZES:
        for name, output in runtime.run(_make_rows(inputs, size, seed=0)).items():
            if output.ndim == 0 or len(output) != size:
                raise ExportError(
                    f"output {name!r} has shape {output.shape} for a batch of {size}: return a row for each"
                )


def _find_influence(runtime: Runtime, inputs: Sequence[Tensor]) -> str | None:
    """Which row changes when its neighbours are replaced, and by how much; None where none does."""
    size = max(_SIZES)
    rows, strangers = _make_rows(inputs, size, seed=0), _make_rows(inputs, size, seed=1)
    before = runtime.run(rows)
    for row in range(size):
        mixed = {name: np.array(array) for name, array in strangers.items()}
        for name, array in rows.items():
            mixed[name][row] = array[row]
        after = runtime.run(mixed)
        for name, expected in before.items():
            if not _is_close(expected[row], after[name][row]):
                return (
                    f"rows influence each other: row {row} of {name!r} changes with its neighbours: compute nothing "
                    "across axis 0 (BatchNorm in training mode, attention or means over the batch)"
                )
    return None


def _is_close(expected: np.ndarray, got: np.ndarray) -> bool:
    if expected.shape != got.shape:
        return False
    if expected.dtype.kind not in "fiu":
        return bool(np.array_equal(expected, got))
    scale = max(1e-6, float(np.abs(np.nan_to_num(expected)).max(initial=0.0)))
    return float(measure_error(expected, got).max(initial=0.0)) <= _TOLERANCE * scale


def _free_reshapes(graph: onnx.GraphProto) -> None:
    """A 1 at the front of the constant shape of a Reshape was the batch: let it follow the data instead."""
    constants: Mapping[str, onnx.TensorProto] = {
        **{tensor.name: tensor for tensor in graph.initializer},
        **{
            node.output[0]: node.attribute[0].t
            for node in graph.node
            if node.op_type == "Constant" and node.attribute[0].name == "value"
        },
    }
    for node in graph.node:
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None:
            continue
        sizes = numpy_helper.to_array(shape).copy()
        if sizes.size and sizes[0] == 1:
            sizes[0] = 0 if -1 in sizes else -1
            shape.CopyFrom(numpy_helper.from_array(sizes, shape.name))
