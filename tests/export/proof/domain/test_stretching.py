"""Inputs beyond those that a model is made for."""

import numpy as np
import pytest

from export import ParityError, publish
from export.inputs import make_random
from tests.support.models.tracing import is_traced

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("limit", "case"),
    [(lambda x: x > 9, "x10"), (lambda x: (x == x[:, :1]).all(1, keepdim=True), "zeros|constant")],
    ids=["large", "constant"],
)
def test_difference_that_ordinary_inputs_do_not_show_is_refused(make_module, make_spec, store, limit, case):
    """The samples lie between -2 and 2, and none of their rows is constant."""

    def differ(linear, x):
        return linear(x) + (limit(x).float().sum(1, keepdim=True) if is_traced() else 0)

    with pytest.raises(ParityError, match=rf"inputs=random ({case})"):
        publish(make_spec(make_module(differ)), store)


HONEST = {
    "overflow": lambda linear, x: linear(x).exp().exp(),
    "logarithm": lambda linear, x: torch.log(x + 4),
    "norm": lambda linear, x: x / x.norm(dim=1, keepdim=True),
    "layer_norm": lambda linear, x: torch.nn.functional.layer_norm(x, (4,)),
    "ties": lambda linear, x: torch.topk(x, 2).indices,
    "saturation": lambda linear, x: torch.topk(torch.sigmoid(linear(x)), 2).indices,
}


def test_honest_model_is_not_refused_for_numbers_that_it_is_not_made_for(make_module, make_spec, store):
    """Nothing is compared where the original is not finite or rounding decides."""
    module = make_module(lambda linear, x: tuple(body(linear, x) for body in HONEST.values()))
    manifest = publish(make_spec(module, outputs=tuple(HONEST)), store).read_manifest()
    assert {"random x10", "random negated", "random zeros"} <= {case.inputs for case in manifest.parity.stretched}


@pytest.mark.parametrize(
    ("mask", "always"),
    [
        (torch.tensor([[True, True, True], [True, False, False]]), True),
        (torch.tensor([[False, False, False], [False, True, True]]), False),
        (torch.ones(2, 3, dtype=torch.int64), 1),
        (torch.tensor([[0.0, 0.0, -torch.inf], [0.0, 0.0, 0.0]]), 0.0),
    ],
    ids=["counted", "left out", "ones", "added"],
)
def test_random_masks_keep_what_each_row_of_the_samples_has(make_spec, mask, always):
    """A mask keeps at least one position, because attention over none gives NaN."""
    spec = make_spec(inputs={"x": mask}, dynamic={"x": {0: "batch", 1: "time"}})
    for time in (1, 2, 7):
        drawn = make_random(spec, {"batch": 200, "time": time}, 0)["x"]
        assert set(np.unique(drawn)) <= {*np.unique(mask.numpy()), 0, 1}
        assert (drawn == always).any(axis=1).all()
        assert time == 1 or len(np.unique(drawn)) == 2


def test_missing_numbers_of_the_samples_are_drawn_too(make_module, make_spec, store):
    """A model that fills in missing numbers is compared with as many NaN as the samples have."""
    x = torch.linspace(-2, 2, 48).reshape(12, 4)
    x[:, 1] = torch.nan
    module = make_module(lambda linear, x: linear(torch.where(torch.isnan(x), linear.bias[0], x)))
    spec = make_spec(module, inputs={"x": x})
    drawn = make_random(spec, {"batch": 500}, 0)["x"]
    assert 0.2 < np.isnan(drawn).mean() < 0.3
    assert -2 <= np.nanmin(drawn) < np.nanmax(drawn) <= 2
    assert publish(spec, store).version == 1

    other = make_module(lambda linear, x: linear(torch.nan_to_num(x, 0.5 if is_traced() else 0.0)))
    with pytest.raises(ParityError, match="disagrees with PyTorch"):
        publish(make_spec(other, inputs={"x": x}), store)
