"""Decisions of forward that the older exporter would record as they are in the example."""

import math
from pathlib import Path

import pytest

from export import ExportError

torch = pytest.importorskip("torch")

HERE = Path(__file__).name


def refuse(body, other_rows=4):
    from export.onnx.decisions import refuse_decisions

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("limit", torch.tensor(2.0))

        def forward(self, x, n):
            return body(self, x, n)

    example = (torch.ones(3, 9, 4), torch.arange(3))
    other = (torch.ones(other_rows, 5, 4), torch.arange(other_rows))
    with torch.no_grad():
        refuse_decisions("tiny", Module(), example, other)


def add_each(module, x, n):
    for place in range(x.shape[1]):
        x = x + place
    return x


VALUES = {
    "branch": lambda module, x, n: x if x.abs().max() > 10 else -x,
    "float": lambda module, x, n: x * float(n.max()),
    "item": lambda module, x, n: torch.full((2,), x.mean().item()),
    "list": lambda module, x, n: x + n.tolist()[0],
    "numpy": lambda module, x, n: x + torch.from_numpy(x.detach().numpy()),
    "equal": lambda module, x, n: x if torch.equal(x, -x) else -x,
    "bool": lambda module, x, n: x if bool((n > 3).any()) else -x,
}
SIZES = {
    "threshold": lambda module, x, n: x if x.shape[1] > 64 else -x,
    "integer": lambda module, x, n: x * int(x.shape[1] * 0.5),
    "loop": add_each,
    "length": lambda module, x, n: x + len(x),
    "maximum": lambda module, x, n: torch.nn.functional.pad(x, (0, 0, 0, max(0, 16 - x.shape[1]))),
    "constant": lambda module, x, n: x * torch.tensor(x.shape[1]),
}


@pytest.mark.parametrize(("bodies", "by"), [(VALUES, "values of its inputs"), (SIZES, "a size that is free")])
def test_decision_by_values_or_free_sizes_is_refused_with_its_line(bodies, by):
    """A trace would fix the decision of the example, so it is refused with file and line."""
    for body in bodies.values():
        with pytest.raises(ExportError, match=rf"^tiny: .*{HERE}:\d+: forward .*{by}"):
            refuse(body)


def test_rows_that_are_gone_through_one_by_one_are_refused():
    """Only the tracer's warning tells of a loop over a tensor."""
    with pytest.raises(ExportError, match=rf"{HERE}:\d+: forward .*(length|traced)"):
        refuse(lambda module, x, n: torch.stack([row * 2 for row in x]))


def test_decision_that_no_input_has_a_part_in_is_none():
    """Checks and scales by fixed sizes and buffers are the same for each request, so they are allowed."""

    def forward(module, x, n):
        assert x.shape[2] == 4
        rows, length, width = x.shape
        y = x.reshape(rows, length * width).reshape(rows, length, width) / math.sqrt(x.size(-1))
        return y * 2 if module.limit > 1 else y

    refuse(forward)
    with pytest.raises(ExportError, match="a size that is free"):
        refuse(lambda module, x, n: x if x.shape[0] == 3 else -x)
