"""x[mask] = value, as PyTorch's exporter writes it: several operators, each of which would mix rows by itself.

NonZero lists where the mask is true in the whole batch, ReduceSum and Expand repeat the value as often, and ScatterND
writes it there. So each element depends only on its own place of the mask.
"""

from model_store.rows.facts import Fact, Fixed, Rows
from model_store.rows.rules.elementwise import join
from model_store.rows.sizes import ONE
from model_store.rows.steps import Step

_RESHAPING = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast"})


def assign_by_mask(step: Step) -> list[Fact | None] | None:
    """The facts of a ScatterND that writes one value wherever a mask is true; None for any other."""
    if step.node.op != "ScatterND" or step.text("reduction", "none") != "none" or len(step.node.inputs) != 3:
        return None
    data, mask = step.fact(0), _find_mask(step)
    state = None if mask is None else step.trace(mask)[1]
    if mask is None or state is None or not isinstance(data.state, Rows) or not isinstance(state.state, Rows):
        return None
    if state.shape is None or state.shape != data.shape or not _repeats_one_value(step, mask):
        return None
    return [step.give(join(data.state, state.state))]


def _find_mask(step: Step) -> str | None:
    """The mask whose true positions are the index tuples."""
    transposed = step.trace(step.node.inputs[1])[0]
    if transposed is None or transposed.op != "Transpose" or list(transposed.attributes.get("perm", ())) != [1, 0]:
        return None
    listed = step.trace(transposed.inputs[0])[0]
    if listed is None or listed.op != "NonZero" or not _is_truth(step, listed.inputs[0]):
        return None
    return listed.inputs[0]


def _repeats_one_value(step: Step, mask: str) -> bool:
    """Whether a single value is written, as often as the mask is true."""
    expand = step.trace(_skip(step, step.node.inputs[2]))[0]
    if expand is None or expand.op != "Expand":
        return False
    value = step.trace(expand.inputs[0])[1]
    if value is None or value.shape is None or not isinstance(value.state, Fixed) or set(value.shape) - {ONE}:
        return False
    count = step.trace(_skip(step, expand.inputs[1]))[0]
    if count is None or count.op != "ReduceSum" or count.attributes.get("noop_with_empty_axes", 0):
        return False
    counted = step.trace(count.inputs[0])[1]
    flat = counted is not None and counted.shape is not None and len(counted.shape) == 1
    return flat and _skip(step, count.inputs[0]) in _list_alike(step, mask)


def _skip(step: Step, name: str) -> str:
    """The tensor with the same elements in the same order, before reshapes and casts from truth values."""
    node = step.trace(name)[0]
    while node is not None and node.op in _RESHAPING and not node.domain:
        if node.op == "Cast" and not _is_truth(step, node.inputs[0]):
            break
        name = node.inputs[0]
        node = step.trace(name)[0]
    return name


def _is_truth(step: Step, name: str) -> bool:
    measured = step.measures.values(name)
    return measured is not None and measured[0].dtype.kind == "b"


def _list_alike(step: Step, mask: str) -> set[str]:
    """The mask, and the tensors that it is broadcast from.

    The value is repeated as often as one of these is true, and ScatterND needs as many values as the mask has. So the
    mask has the same shape, or is true nowhere.
    """
    found = {mask, _skip(step, mask)}
    node = step.trace(mask)[0]
    while node is not None and node.op in ("Expand", "Identity") and not node.domain:
        found |= {node.inputs[0], _skip(step, node.inputs[0])}
        node = step.trace(node.inputs[0])[0]
    return found
