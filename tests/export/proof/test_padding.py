"""Padded rows: what lies beyond their length changes nothing."""

import numpy as np
import pytest

from export import ParityError, SpecError, publish
from export.inputs import make_random

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("export_once")


class MaskedMean(torch.nn.Module):
    """x [batch, time, 4], length [batch] -> the mean of a layer over the places that count, and each place's own."""

    def __init__(self, leak=0.0, blind=False):
        super().__init__()
        self.linear, self.leak, self.blind = torch.nn.Linear(4, 3), leak, blind

    def forward(self, x, length):
        y = self.linear(x)
        counted = (torch.arange(x.shape[1])[None, :] < length[:, None]).to(x.dtype)
        share = (counted + self.leak * (1 - counted)) / length[:, None].to(x.dtype)
        if self.blind:
            share = torch.ones_like(share) / x.shape[1]
        return torch.bmm(share[:, None], y)[:, 0], y


@pytest.fixture
def make_padded_spec(make_spec, one_thread):
    def make(module=None, **others):
        fields = {
            "inputs": {"x": torch.randn(3, 7, 4), "length": torch.tensor([7, 1, 4])},
            "outputs": ("mean", "each"),
            "dynamic": {"x": {0: "batch", 1: "time"}, "length": {0: "batch"}},
            "padded": {"x": "length"},
            "lengths": ({"time": 7}, {"time": 12}),
        }
        return make_spec(module or MaskedMean(), **{**fields, **others})

    return make


@pytest.mark.long
@pytest.mark.parametrize("wrong", [{"leak": 0.3}, {"blind": True}], ids=["leak", "no mask"])
def test_padding_that_shows_is_refused_with_the_worst_element(make_padded_spec, store, wrong):
    """A mean over the padding equals its original and is refused, with the row, its length and the element."""
    with pytest.raises(ParityError, match=r"padding changes answers: row \d \(length=\d+\).*worst element mean\[") as e:
        publish(make_padded_spec(MaskedMean(**wrong)), store)
    assert e.value.worst.output == "mean"
    assert e.value.worst.excess > 1e-3
    assert store.names() == []


def test_padding_that_shows_in_real_samples_only_is_refused(make_padded_spec, store):
    """The samples are tried as well as random rows; random rows that are all full show no padding."""
    samples = {"x": torch.randn(6, 7, 4), "length": torch.tensor([7, 2, 3, 7, 1, 5])}

    def make_full(sizes, seed):
        draw = torch.Generator().manual_seed(seed)
        rows, time = sizes["batch"], sizes["time"]
        return {"x": torch.randn(rows, time, 4, generator=draw), "length": torch.full((rows,), time)}

    spec = make_padded_spec(MaskedMean(blind=True), samples=samples, random_inputs=make_full)
    with pytest.raises(ParityError, match=r"padding changes answers.*inputs=samples"):
        publish(spec, store)


def test_lengths_that_do_not_fit_are_not_tried(make_padded_spec, store):
    """A length of 0, or above the size of the axis, is refused."""
    samples = {"x": torch.randn(2, 7, 4), "length": torch.tensor([7, 0])}
    with pytest.raises(SpecError, match="expected lengths from 1 to 7, the size of 'x', got 0 to 7"):
        publish(make_padded_spec(samples=samples), store)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"padded": {"length": "length"}}, "expected an input with two dynamic axes"),
        ({"padded": {"x": "absent"}}, r"lengths: expected an input of torch\.int64 \[batch\], got 'absent'"),
        ({"padded": {"x": "x"}}, r"lengths: expected an input of torch\.int64"),
    ],
    ids=["no axis", "absent", "no lengths"],
)
def test_padding_that_contradicts_the_inputs_is_refused(make_padded_spec, fields, complaint):
    """A padded input needs a free axis, and lengths that are integers, one a row."""
    with pytest.raises(SpecError, match=complaint):
        make_padded_spec(**fields)


def test_inputs_of_one_axis_are_padded_together(make_padded_spec):
    """Another input with the padded axis must be declared as padded too."""
    inputs = {"x": torch.randn(3, 7, 4), "length": torch.tensor([7, 1, 4]), "mask": torch.ones(3, 7)}
    dynamic = {"x": {0: "batch", 1: "time"}, "length": {0: "batch"}, "mask": {0: "batch", 1: "time"}}
    with pytest.raises(SpecError, match="expected 'mask', with the same axis, to be padded"):
        make_padded_spec(inputs=inputs, dynamic=dynamic)


def test_masked_padding_passes_and_is_a_stage_of_its_own(make_padded_spec, store):
    """Outputs along the padded axis are compared up to the row's length, the others whole."""
    steps = []
    manifest = publish(make_padded_spec(), store, steps.append).verify()
    assert [s for s in steps if s.startswith("rows without and with padding")] == [
        "rows without and with padding: seed=0, inputs=random, time=7",
        "rows without and with padding: seed=0, inputs=random, time=12",
    ]
    assert manifest.graphs["main"].outputs[1].shape == ("batch", "time", 3)


def test_random_lengths_go_from_one_to_the_size(make_padded_spec):
    """Other seeds draw other lengths within the size of the padded axis; one row is full."""
    drawn = [make_random(make_padded_spec(), {"batch": 50, "time": 12}, seed)["length"] for seed in (0, 1)]
    for lengths in drawn:
        assert lengths.dtype == np.int64
        assert (lengths[0], lengths.min(), lengths.max()) == (12, 1, 12)
    assert not np.array_equal(*drawn)


class TimeFirst(MaskedMean):
    """x [time, batch, 4] -> the mean, and each place's own [time, batch, 3]."""

    def forward(self, x, length):
        mean, each = super().forward(x.transpose(0, 1), length)
        return mean, each.transpose(0, 1)


@pytest.mark.parametrize("leak", [0.0, 0.3])
def test_rows_on_another_axis_are_cut_and_compared_there(make_padded_spec, store, leak):
    """Time-first rows pass with their padding masked, and are refused where it shows."""
    spec = make_padded_spec(
        TimeFirst(leak),
        inputs={"x": torch.randn(7, 3, 4), "length": torch.tensor([7, 1, 4])},
        dynamic={"x": {0: "time", 1: "batch"}, "length": {0: "batch"}},
    )
    if leak:
        with pytest.raises(ParityError, match=r"padding changes answers: row \d \(length=\d+\).*worst element mean\["):
            publish(spec, store)
        return
    outputs = publish(spec, store).verify().graphs["main"].outputs
    assert [(t.shape, t.batch_axis) for t in outputs] == [(("batch", 3), 0), (("time", "batch", 3), 1)]


@pytest.mark.long
@pytest.mark.parametrize(("bounds", "largest"), [({}, None), ({"time": (2, 12)}, 12)], ids=["free", "bounded"])
def test_lengths_are_from_one_to_what_the_padded_axis_may_have(make_padded_spec, store, bounds, largest):
    """PyTorch refuses the place before the first one, which ONNX counts from the end, so the server refuses 0."""
    tensor = publish(make_padded_spec(bounds=bounds), store).read_manifest().graphs["main"].inputs[1]
    assert (tensor.least, tensor.largest) == (1, largest)
