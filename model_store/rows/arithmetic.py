"""Arithmetic on sizes: computes small tensors that a graph derives from shapes, for every number of rows.

An element is a ``Size``, a truth value, or None if it is not known. Nothing is guessed: a comparison has a truth value
only if it is the same for all sizes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from model_store.rows.facts import Fact
from model_store.rows.graph.nodes import MOST_KNOWN, read_small
from model_store.rows.sizes import Size
from model_store.rows.steps import Step

Element = Size | bool | None
WHOLE = (6, 7)
"""ONNX's numbers for int32 and int64."""
_FLOATS = (1, 11)
_LARGEST_FACTOR = {"int64": 1 << 40, "int32": 1 << 16, "float": 1 << 10}
"""The largest factor in the polynomial of a size, by the type that holds it."""


def lift(array: np.ndarray) -> np.ndarray:
    """Known integers or truth values as elements."""
    elements = np.empty(array.shape, object)
    for at in np.ndindex(array.shape):
        value = array[at]
        if array.dtype.kind == "b":
            elements[at] = bool(value)
        elif array.dtype.kind in "iu" or (array.dtype.kind == "f" and float(value).is_integer()):
            elements[at] = Size.of(int(value))
    return elements


def evaluate(step: Step) -> np.ndarray | None:
    """The elements of the node's first output; None if this node is not computed."""
    compute = _OPERATORS.get(step.node.op) if not step.node.domain else None
    if compute is None:
        return None
    try:
        elements = compute(step)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    if elements is None or elements.size > MOST_KNOWN:
        return None
    for at in np.ndindex(elements.shape):
        element = elements[at]
        if isinstance(element, Size) and not fits(step, element):
            elements = elements.copy()
            elements[at] = None
    return elements


def fits(step: Step, size: Size) -> bool:
    """Whether the type of the node's first output can hold the size for all lengths.

    A constant was measured, so it fits. For others the factors decide: 32 bits allow lengths up to 32,767, and 64 bits
    up to 8 million. A tensor without measured values is a float.
    """
    if size.constant is not None:
        return True
    measured = step.measures.values(step.node.outputs[0])
    name = measured[0].dtype.name if measured is not None else "float"
    return max(map(abs, size.terms.values())) <= _LARGEST_FACTOR.get(name, -1)


def _values(step: Step, at: int) -> np.ndarray:
    fact = step.facts[at] if at < len(step.facts) else None
    if fact is None or fact.values is None:
        raise ValueError("its values are not known")
    return fact.values


def _numbers(step: Step, at: int) -> list[int]:
    found = [size.constant if isinstance(size, Size) else None for size in _values(step, at).reshape(-1)]
    if None in found:
        raise ValueError("its values are not known")
    return found  # type: ignore[return-value]


def _array(elements: Any) -> np.ndarray:
    """Elements as an array, also a single one."""
    if isinstance(elements, np.ndarray):
        return elements
    array = np.empty((), object)
    array[()] = elements
    return array


def _each(operate: Callable[..., Element]) -> Callable[[Step], np.ndarray]:
    """Apply an operation to each element, with broadcasting. An unknown operand gives an unknown result."""

    def compute(step: Step) -> np.ndarray:
        operands = np.broadcast_arrays(*(_values(step, at) for at in range(len(step.facts))))
        result = np.empty(operands[0].shape, object)
        for at in np.ndindex(result.shape):
            taken: list[Any] = [operand[at] for operand in operands]
            result[at] = None if None in taken else operate(*taken)
            if result[at] is None:
                result[at] = _derive(step, at, taken)
        return result

    return compute


def _derive(step: Step, at: tuple[int, ...], operands: Sequence[Element]) -> Size | None:
    """A new integer that is known only as a function of sizes: equal operands give the same number."""
    measured = step.measures.values(step.node.outputs[0])
    if measured is None or measured[0].dtype.kind == "b" or any(array.ndim != len(at) for array in measured):
        return None
    if not all(isinstance(operand, Size) and not operand.has_rows for operand in operands):
        return None
    operator = "fmod" if step.attribute("fmod", 0) else step.node.op
    sizes = [operand for operand in operands if isinstance(operand, Size)]
    return step.measures.derive(operator, sizes, tuple(int(array[at]) for array in measured))


def _quotient(step: Step) -> np.ndarray:
    whole = step.measures.values(step.node.outputs[0]) is not None  # values of floats are not kept

    def divide(a: Size, b: Size) -> Size | None:
        exact = a.divide(b)
        if exact is None and whole and a.constant is not None and b.constant:
            return Size.of(math.trunc(a.constant / b.constant))
        return exact

    return _each(divide)(step)


def _remainder(a: Size, b: Size) -> Size | None:
    if a.divide(b) is not None:
        return Size.of(0)
    return Size.of(a.constant % b.constant) if a.constant is not None and b.constant else None


def _equal(a: Element, b: Element) -> bool | None:
    if isinstance(a, bool) or isinstance(b, bool):
        return a == b
    if a is None or b is None:
        return None
    if a == b:
        return True
    return False if _is_above(a, b) or _is_above(b, a) else None


def _is_above(a: Size, b: Size) -> bool | None:
    """Whether a > b; None if that depends on the sizes."""
    least, most = (a - b).least(), (a - b).most()
    if least is not None and least > 0:
        return True
    return False if most is not None and most <= 0 else None


def _negate(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


def _largest(*sizes: Size) -> Size | None:
    for size in sizes:
        if all(_is_above(other, size) is False for other in sizes):
            return size
    return None


def _smallest(*sizes: Size) -> Size | None:
    for size in sizes:
        if all(_is_above(size, other) is False for other in sizes):
            return size
    return None


def _choose(step: Step) -> np.ndarray:
    """Where: an element is known if its condition is known, or if both sides are equal."""
    condition, yes, no = np.broadcast_arrays(*(_values(step, at) for at in range(3)))
    result = np.empty(condition.shape, object)
    for at in np.ndindex(result.shape):
        if condition[at] is None:
            result[at] = yes[at] if yes[at] is not None and yes[at] == no[at] else None
        else:
            result[at] = yes[at] if condition[at] else no[at]
    return result


def _shape(step: Step) -> np.ndarray:
    sizes = step.fact(0).dims
    rank = len(sizes)
    start, end = step.attribute("start", 0), step.attribute("end", rank)
    return _array_of(sizes[max(start + rank, 0) if start < 0 else start : end + rank if end < 0 else end])


def _array_of(sizes: Any) -> np.ndarray:
    result = np.empty(len(sizes), object)
    for at, size in enumerate(sizes):
        result[at] = size
    return result


def _count(step: Step) -> np.ndarray:
    total = Size.of(1)
    for size in step.fact(0).dims:
        total *= size
    return _array(total)


def _cast(step: Step) -> np.ndarray:
    values, to = _values(step, 0), step.attribute("to")
    to_truth = to == 9
    result = np.empty(values.shape, object)
    for at in np.ndindex(values.shape):
        value = values[at]
        if to not in (9, *WHOLE, *_FLOATS) and not (isinstance(value, Size) and value.constant is not None):
            result[at] = None
        elif to_truth and isinstance(value, Size):
            result[at] = _negate(_equal(value, Size.of(0)))
        elif not to_truth and isinstance(value, bool):
            result[at] = Size.of(int(value))
        else:
            result[at] = value
    return result


def _gather(step: Step) -> np.ndarray:
    values, indices = _values(step, 0), np.array(_numbers(step, 1)).reshape(_constant_shape(step.fact(1)))
    return _array(np.take(values, indices, axis=step.attribute("axis", 0)))


def _constant_shape(fact: Fact) -> tuple[int, ...]:
    shape = tuple(size.constant for size in fact.dims)
    if None in shape:
        raise ValueError("its shape is not known")
    return shape  # type: ignore[return-value]


def _slice(step: Step) -> np.ndarray:
    values = _values(step, 0)
    if step.has(1):
        starts, ends = _numbers(step, 1), _numbers(step, 2)
        axes = _numbers(step, 3) if step.has(3) else list(range(len(starts)))
        strides = _numbers(step, 4) if step.has(4) else [1] * len(starts)
    else:
        starts, ends = step.attribute("starts"), step.attribute("ends")
        axes, strides = step.attribute("axes") or list(range(len(starts))), [1] * len(starts)
    cut = [slice(None)] * values.ndim
    for start, end, axis, stride in zip(starts, ends, axes, strides, strict=True):
        stop = None if stride < 0 and end < -values.shape[axis] else end
        cut[axis] = slice(start, stop, stride)
    return values[tuple(cut)]


def _concat(step: Step) -> np.ndarray:
    return np.concatenate([_values(step, at) for at in range(len(step.facts))], axis=step.attribute("axis"))


def _axes(step: Step) -> list[int] | None:
    return _numbers(step, 1) if step.has(1) else step.attribute("axes")


def _unsqueeze(step: Step) -> np.ndarray:
    return np.expand_dims(_values(step, 0), tuple(_axes(step) or ()))


def _squeeze(step: Step) -> np.ndarray:
    axes = _axes(step)
    return np.squeeze(_values(step, 0), tuple(axes) if axes is not None else None)


def _reshape(step: Step) -> np.ndarray:
    target = _numbers(step, 1) if step.has(1) else list(step.attribute("shape"))
    values = _values(step, 0)
    return values.reshape([values.shape[at] if size == 0 else size for at, size in enumerate(target)])


def _reduce(operate: Callable[[Size, Size], Size | None]) -> Callable[[Step], np.ndarray | None]:
    def compute(step: Step) -> np.ndarray | None:
        values, axes = _values(step, 0), _axes(step)
        if values.ndim != 1 or (axes is not None and list(axes) not in ([0], [-1], [])):
            return None
        total: Size | None = None
        for value in values:
            total = value if total is None else operate(total, value)
            if total is None:
                return None
        result = _array(total)
        return result.reshape(1) if step.attribute("keepdims", 1) else result

    return compute


def _expand(step: Step) -> np.ndarray:
    values, target = _values(step, 0), _numbers(step, 1)
    if math.prod(target) > MOST_KNOWN:
        raise ValueError("too large")
    return np.broadcast_to(values, np.broadcast_shapes(values.shape, tuple(target))).copy()


def _constant_of_shape(step: Step) -> np.ndarray:
    target = _numbers(step, 0)
    if math.prod(target) > MOST_KNOWN:
        raise ValueError("too large")
    given = step.attribute("value")
    value = None if given is None else read_small(given)
    filled = np.empty(target, object)
    filled[...] = Size.of(0) if value is None else lift(value.reshape(-1))[0]
    return filled


def _range(step: Step) -> np.ndarray:
    start, limit, delta = (_numbers(step, at)[0] for at in range(3))
    if abs((limit - start) // (delta or 1)) > MOST_KNOWN:
        raise ValueError("too large")
    return lift(np.arange(start, limit, delta))


def _transpose(step: Step) -> np.ndarray:
    return np.transpose(_values(step, 0), step.attribute("perm"))


def _rounded(size: Size) -> Size:
    """Floor, Ceil and Round leave integers unchanged."""
    return size


_OPERATORS: Mapping[str, Callable[[Step], np.ndarray | None]] = {
    "Shape": _shape,
    "Size": _count,
    "Identity": lambda step: _values(step, 0),
    "Cast": _cast,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Where": _choose,
    "ReduceProd": _reduce(lambda a, b: a * b),
    "ReduceSum": _reduce(lambda a, b: a + b),
    "ReduceMax": _reduce(_largest),
    "ReduceMin": _reduce(_smallest),
    "Add": _each(lambda a, b: a + b),
    "Sub": _each(lambda a, b: a - b),
    "Mul": _each(lambda a, b: a * b),
    "Div": _quotient,
    "Mod": _each(_remainder),
    "Neg": _each(lambda a: -a),
    "Max": _each(_largest),
    "Min": _each(_smallest),
    "Floor": _each(_rounded),
    "Ceil": _each(_rounded),
    "Round": _each(_rounded),
    "Equal": _each(_equal),
    "Greater": _each(_is_above),
    "Less": _each(lambda a, b: _is_above(b, a)),
    "GreaterOrEqual": _each(lambda a, b: _negate(_is_above(b, a))),
    "LessOrEqual": _each(lambda a, b: _negate(_is_above(a, b))),
    "Not": _each(_negate),
    "And": _each(lambda a, b: a and b),
    "Or": _each(lambda a, b: a or b),
}
