"""Random graphs of operators that move rows, and of numbers computed from sizes."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support.inferring import Plain

_MOST_ELEMENTS = 20_000
_TRIES = 60
ROWS, LENGTH, WIDTH = 3, 8, 4


def write_graph(seed: int) -> tuple[onnx.ModelProto, str, int]:
    """A graph that runs with 1 to 3 rows of length 8, its output, and the axis of the batch of its input ``x``.

    Each node is tried before it stays, so most graphs run at other sizes too.
    """
    draw = random.Random(seed)
    batch = draw.choice((0, 0, 1))
    writer = _Writer(draw, batch)
    current = "x"
    left, tries = draw.randint(3, 9), 0
    while left and tries < _TRIES and writer.shapes[current]:
        tries += 1
        kept = writer.save()
        made = draw.choice(_STEPS)(writer, current, draw.randrange(len(writer.shapes[current])))
        if made is not None and writer.runs(made):
            current, left = made, left - 1
        else:
            writer.restore(kept)
    kept = writer.save()
    joined = writer.add("Reshape", current, writer.join([writer.sizes[batch], writer.number([-1])]))
    if draw.random() < 0.7 and writer.runs(joined):
        return writer.finish(joined), joined, batch
    writer.restore(kept)
    return writer.finish(current), current, batch


class _Writer:
    """Nodes and constants so far. ``sizes`` are one-element tensors of whole numbers, the first two those of ``x``."""

    def __init__(self, draw: random.Random, batch: int) -> None:
        self.draw = draw
        self.batch = batch
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.shape: list[int | str] = ["N", "T", WIDTH] if batch == 0 else ["T", "N", WIDTH]
        self.shapes: dict[str, tuple[int, ...]] = {"x": tuple(self.lengths(ROWS, LENGTH))}
        shape = self.add("Shape", "x")
        self.sizes = [self.cut(shape, at) for at in (0, 1)]

    def lengths(self, rows: int, length: int) -> list[int]:
        return [{"N": rows, "T": length}.get(size, WIDTH) if isinstance(size, str) else size for size in self.shape]

    def save(self) -> tuple[int, list[str], list[str]]:
        return len(self.nodes), list(self.constants), list(self.sizes)

    def restore(self, kept: tuple[int, list[str], list[str]]) -> None:
        del self.nodes[kept[0] :]
        self.constants = {name: self.constants[name] for name in kept[1]}
        self.sizes = kept[2]

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        """The first output of a new node."""
        names = [f"v{len(self.nodes)}_{at}" for at in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0]

    def number(self, value: object, dtype: type = np.int64) -> str:
        name = f"c{len(self.nodes)}_{len(self.constants)}"
        self.constants[name] = np.array(value, dtype)
        return name

    def cut(self, shape: str, at: int) -> str:
        return self.add("Slice", shape, self.number([at]), self.number([at + 1]))

    def length_of(self, tensor: str, axis: int) -> str:
        return self.cut(self.add("Shape", tensor), axis)

    def join(self, sizes: Sequence[str]) -> str:
        return self.add("Concat", *sizes, axis=0)

    def single(self, size: str) -> str:
        return self.add("Squeeze", size)

    def size(self, depth: int = 0) -> str:
        """The number of rows, the length, a constant, or a number computed from them."""
        chance = self.draw.random()
        if chance < 0.45 or depth > 2:
            return self.draw.choice(self.sizes[:2])
        if chance < 0.62:
            return self.number([self.draw.choice((1, 2, 3, 4, 5, 6, 8))])
        if chance < 0.75:
            return self.draw.choice(self.sizes)
        operator = self.draw.choice(("Add", "Mul", "Mul", "Sub", "Div", "Mod", "Min", "Max"))
        self.sizes.append(self.add(operator, self.size(depth + 1), self.size(depth + 1)))
        return self.sizes[-1]

    def runs(self, output: str) -> bool:
        """Whether the graph runs up to this tensor. Records its shape."""
        try:
            plain = Plain(self.finish(output).SerializeToString())
            found = [plain.run({"x": np.ones(self.lengths(rows, LENGTH))})[output] for rows in (ROWS, 1, 2)]
        except Exception:  # noqa: BLE001  # whatever ONNX Runtime raises
            return False
        self.shapes[output] = found[0].shape
        return found[0].dtype == np.float64 and 0 < found[0].size <= _MOST_ELEMENTS and found[0].ndim <= 6

    def finish(self, output: str) -> onnx.ModelProto:
        """The model of what this tensor needs."""
        wanted, kept = {output}, []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted.update(node.input)
        graph = helper.make_graph(
            kept[::-1],
            "random",
            [helper.make_tensor_value_info("x", TensorProto.DOUBLE, self.shape)],
            [helper.make_tensor_value_info(output, TensorProto.DOUBLE, None)],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items() if name in wanted],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _reshape(w: _Writer, x: str, axis: int) -> str:
    rank = len(w.shapes[x])
    sizes = [w.length_of(x, w.draw.randrange(rank)) if w.draw.random() < 0.4 else w.size() for _ in range(3)]
    at = w.draw.randrange(4)
    return w.add("Reshape", x, w.join([*sizes[:at], w.number([-1]), *sizes[at:]][: w.draw.randint(max(at, 1), 4)]))


def _transpose(w: _Writer, x: str, axis: int) -> str:
    order = list(range(len(w.shapes[x])))
    w.draw.shuffle(order)
    return w.add("Transpose", x, perm=order)


def _slice(w: _Writer, x: str, axis: int) -> str:
    start = w.draw.choice((w.number([0]), w.number([1]), w.number([-2]), w.size(1)))
    end = w.draw.choice((w.number([10**9]), w.number([-1]), w.number([3]), w.size(1)))
    return w.add("Slice", x, start, end, w.number([axis]))


def _pad(w: _Writer, x: str, axis: int) -> str:
    pads = [w.number([0])] * (2 * len(w.shapes[x]))
    pads[axis], pads[-1 - axis] = (w.draw.choice((w.number([0]), w.number([1]), w.size())) for _ in range(2))
    return w.add("Pad", x, w.join(pads))


def _spread(w: _Writer, x: str, axis: int) -> str:
    rank = len(w.shapes[x])
    if w.draw.random() < 0.5:
        x, rank = w.add("Unsqueeze", x, w.number([w.draw.randint(0, rank)])), rank + 1
    times = [w.draw.choice((w.number([1]), w.number([1]), w.number([2]), w.size())) for _ in range(rank)]
    return w.add(w.draw.choice(("Expand", "Tile")), x, w.join(times))


def _concat(w: _Writer, x: str, axis: int) -> str:
    return w.add("Concat", x, w.add(w.draw.choice(("Neg", "Identity")), x), axis=axis)


def _split(w: _Writer, x: str, axis: int) -> str:
    if w.draw.random() < 0.5:
        return w.add("Split", x, outputs=2, axis=axis, num_outputs=2)
    return w.add("Split", x, w.join([w.size(), w.size()]), outputs=2, axis=axis)


def _compute_along(w: _Writer, x: str, axis: int) -> str:
    choice = w.draw.randrange(4)
    if choice == 0:
        return w.add("Softmax", x, axis=axis)
    if choice == 1:
        return w.add("CumSum", x, w.number(axis))
    mean = w.add("ReduceMean", x, w.number([axis]), keepdims=1)
    return mean if choice == 2 else w.add("Sub", x, mean)


def _count(w: _Writer, x: str, axis: int) -> str:
    """Numbers from 0 on along an axis, perhaps divided, are added."""
    numbers = w.add("Range", w.number(0), w.single(w.length_of(x, axis)), w.number(1))
    if w.draw.random() < 0.6:
        numbers = w.add(w.draw.choice(("Mod", "Div", "Mul")), numbers, w.single(w.size()))
    aligned = [1] * len(w.shapes[x])
    aligned[axis] = -1
    return w.add("Add", x, w.add("Reshape", w.add("Cast", numbers, to=TensorProto.DOUBLE), w.number(aligned)))


def _fill(w: _Writer, x: str, axis: int) -> str:
    """Ones of the tensor's own shape, or of a part of it, are added or joined to the tensor."""
    sizes = [w.length_of(x, at) if w.draw.random() < 0.7 else w.number([1]) for at in range(len(w.shapes[x]))]
    ones = w.add("ConstantOfShape", w.join(sizes), value=numpy_helper.from_array(np.array([1.5])))
    return w.add("Add", x, ones) if w.draw.random() < 0.5 else w.add("Concat", ones, w.add("Neg", ones), axis=axis)


def _pick(w: _Writer, x: str, axis: int) -> str:
    """Pick by flat indices: some for each row, which begin some distance apart and may be shifted."""
    flat = w.add("Reshape", x, w.number([-1]))
    each = w.add("Div", w.add("Shape", flat), w.sizes[w.batch])
    rows = w.add("Range", w.number(0), w.single(w.sizes[w.batch]), w.number(1))
    begin = w.add("Unsqueeze", w.add("Mul", rows, w.single(w.draw.choice((each, w.size())))), w.number([1]))
    places = w.add("Range", w.number(0), w.single(w.draw.choice((each, w.size()))), w.number(1))
    if w.draw.random() < 0.4:
        places = w.add(w.draw.choice(("Add", "Sub", "Mod")), places, w.single(w.size()))
    return w.add("Gather", flat, w.add("Add", begin, places))


def _gather(w: _Writer, x: str, axis: int) -> str:
    return w.add("Gather", x, w.number(w.draw.choice((0, [0], [0, 1], [-1]))), axis=axis)


def _choose(w: _Writer, x: str, axis: int) -> str:
    condition = w.add(w.draw.choice(("Greater", "Less", "Equal")), w.size(), w.size())
    return w.add("Where", condition, x, w.add("Neg", x))


def _multiply(w: _Writer, x: str, axis: int) -> str | None:
    rank = len(w.shapes[x])
    if rank < 2:
        return None
    order = [*range(rank - 2), rank - 1, rank - 2]
    return w.add("MatMul", x, w.add("Transpose", x, perm=order))


def _squeeze(w: _Writer, x: str, axis: int) -> str:
    return w.add("Squeeze", x, w.number([axis])) if w.draw.random() < 0.5 else w.add("Tanh", x)


_STEPS: Sequence[Callable[[_Writer, str, int], str | None]] = (
    _reshape, _reshape, _reshape, _transpose, _transpose, _slice, _slice, _pad, _spread, _spread, _concat, _split,
    _compute_along, _compute_along, _count, _fill, _fill, _pick, _pick, _gather, _choose, _multiply, _squeeze,
)  # fmt: skip
