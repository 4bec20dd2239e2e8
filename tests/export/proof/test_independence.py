from functools import partial

import pytest

from export import DependentRows, publish
from export.spec import BATCHES, SEEDS

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("export_once")


def attend(linear, x):
    y = linear(x)
    return torch.softmax(y @ y.T, -1) @ y


def read_predecessor(linear, x):
    y = linear(x)
    return y + torch.nn.functional.pad(y, (0, 0, 1, 0))[:-1]


ON_AXIS_1 = {"inputs": {"x": torch.randn(5, 3, 4)}, "dynamic": {"x": {0: "time", 1: "batch"}}}


@pytest.fixture
def make_spec(make_spec):
    return partial(make_spec, batches=BATCHES, seeds=SEEDS)


@pytest.mark.parametrize(
    ("body", "fields", "complaint"),
    [
        (attend, {}, "rows influence each other: row 0 changes with rows 1, 2, 3"),
        (read_predecessor, {}, "row 1 changes with row 0; of 17 rows"),
        (lambda linear, x: linear(x) * x.shape[0], {}, "rows 0, 1, 2 of 3 differ from the same rows run alone"),
        (lambda linear, x: linear(x) + torch.arange(x.shape[0])[:, None], {}, "row 1 of 2 differ"),
        (
            lambda linear, x: linear(x) + 0.1 * x.mean(1, keepdim=True)[..., :3],
            ON_AXIS_1,
            "rows influence each other: row 0 changes with",
        ),
    ],
    ids=["attention", "predecessor", "number of rows", "place", "another axis"],
)
def test_row_that_depends_on_others_is_refused(make_module, make_spec, store, body, fields, complaint):
    """Rows that change with others, their number or their place are named, and nothing is published."""
    with pytest.raises(DependentRows, match=complaint) as caught:
        publish(make_spec(make_module(body), **fields), store)
    assert body is not read_predecessor or caught.value.rows == tuple(range(1, 17))
    assert store.names() == []


def test_influence_below_every_tolerance_is_found(make_module, make_spec, store):
    """A leak of one part in a million passes parity, and is refused all the same."""
    leak = make_module(lambda linear, x: linear(x) + 3e-6 * linear(x).mean(0, keepdim=True))
    with pytest.raises(DependentRows) as caught:
        publish(make_spec(leak, atol=1.0, rtol=1.0), store)
    assert abs(caught.value.worst.got - caught.value.worst.expected) < 1e-4


@pytest.mark.long
def test_difference_by_batch_size_that_is_rounding_is_accepted(make_module, make_spec, store):
    """Rounding is accepted unless the spec asks for equal bits; larger differences are refused."""
    module = make_module(lambda linear, x: torch.log(linear(x).abs() + 1))
    with pytest.raises(DependentRows, match=r"differ from the same rows run alone.*allow it with row_atol"):
        publish(make_spec(module, row_atol=0.0), store)
    counting = make_module(lambda linear, x: linear(x) * (1 + 1e-4 * x.shape[0]))
    with pytest.raises(DependentRows, match="differ from the same rows run alone"):
        publish(make_spec(counting), store)
    assert publish(make_spec(module), store).version == 1


@pytest.mark.long
def test_independent_layers_are_bit_equal_in_every_batch(make_spec, store):
    """Convolution, trained BatchNorm, pooling and softmax pass with a tolerance of zero, at 64 rows too."""
    module = torch.nn.Sequential(
        torch.nn.Conv2d(2, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(32, 5),
        torch.nn.Softmax(1),
    )
    assert publish(make_spec(module, inputs={"x": torch.randn(3, 2, 4, 4)}), store).version == 1
