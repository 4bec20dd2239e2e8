"""Tolerances that follow the rounding of a model."""

import warnings

import numpy as np
import pytest

from export import ParityError, publish
from export.original import Original
from export.proof.rounding import measure_rounding
from tests.support.models.tracing import is_traced

torch = pytest.importorskip("torch")


def rounding_of(spec, inputs):
    original = Original(spec)
    with original.evaluating():
        return measure_rounding(original, inputs)


def test_whole_numbers_and_what_is_exact_do_not_move(make_module, make_spec):
    """Masks, counts and indices are compared exactly, so rounding must not change them."""
    x = np.array([[0.0, 1.0, -3.0, 2.0]], np.float32)
    exact = make_module(lambda linear, x: (x + 2) * (x == 1).float() + x.round())
    assert not rounding_of(make_spec(exact), {"x": x})["y"].any()


def test_rounding_follows_datatype_and_cancellation(make_module, make_spec):
    """A difference of nearly equal sums is off by the size of the sums; 16 bits are off by more than 32."""
    x = np.linspace(0.1, 0.9, 8, dtype=np.float32).reshape(2, 4)
    cancelling = make_module(lambda linear, x: linear(x) * 1e4 + 1e4 / 3 - linear(x) * 1e4 - 1e4 / 3)
    assert 1e-3 < rounding_of(make_spec(cancelling), {"x": x})["y"].max() < 1
    half = make_module().half()
    spec = make_spec(half, inputs={"x": torch.rand(3, 4).half()})
    assert rounding_of(spec, {"x": x.astype(np.float16)})["y"].max() > 1e-4


@pytest.mark.long
@pytest.mark.parametrize("kind", ["steep", "half", "tie"])
def test_model_whose_rounding_is_larger_than_the_default_needs_no_tolerance(make_module, make_spec, store, kind):
    """The sine of large numbers, 16 bits, and the index of one of two nearly equal scores are published."""
    bodies = {
        "steep": lambda linear, x: (linear(x) * 3e3).sin(),
        "half": lambda linear, x: linear.half()(x),
        "tie": lambda linear, x: (torch.softmax(x, 1) * torch.softmax(-x, 1)).argmax(1),
    }
    x = torch.linspace(-2, 2, 12).reshape(3, 4)
    x = x.half() if kind == "half" else x
    assert publish(make_spec(make_module(bodies[kind]), inputs={"x": x}), store).version == 1


class Quantised(torch.nn.Module):
    """A convolution in 8 bits, between floats."""

    def __init__(self):
        super().__init__()
        self.before, self.after = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.conv = torch.nn.Conv2d(2, 4, 3)

    def forward(self, x):
        return self.after(self.conv(self.before(x)))


@pytest.fixture
def quantised():
    torch.manual_seed(0)
    with warnings.catch_warnings(action="ignore"):  # deprecated, and in use
        module = Quantised().eval()
        module.qconfig = torch.ao.quantization.get_default_qconfig("x86")
        torch.ao.quantization.prepare(module, inplace=True)
        module(torch.randn(8, 2, 6, 6))
        yield torch.ao.quantization.convert(module)


def test_step_of_a_quantised_number_is_rounding(make_spec, store, quantised):
    """ONNX Runtime and PyTorch may round a sum between two steps differently."""
    spec = make_spec(quantised, inputs={"x": torch.randn(3, 2, 6, 6)})
    moved = rounding_of(spec, {"x": torch.randn(2, 2, 6, 6).numpy()})["y"]
    assert np.median(moved) > quantised.conv.scale
    assert publish(spec, store).version == 1


def test_transform_is_as_far_off_as_its_largest_numbers(make_spec):
    """Each number is a sum of all, so a small one is no more exact than the large ones."""

    class Mixed(torch.nn.Module):
        def forward(self, x):
            return torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real

    x = torch.randn(4, 7, 8, generator=torch.Generator().manual_seed(1))
    moved = rounding_of(make_spec(Mixed(), inputs={"x": x}), {"x": x.numpy()})["y"]
    largest = np.abs(np.fft.fft2(x.numpy()).real).max()
    assert 1e-6 * largest < moved.min() < moved.max() < 1e-4 * largest


def test_no_element_stays_by_chance(make_module, make_spec):
    """An element that never moved in a few runs may differ as much as others of its size."""
    spec = make_spec(make_module(lambda linear, x: linear.half()(x.half()).float()))
    x = np.random.default_rng(0).uniform(-2, 2, (1000, 4)).astype(np.float32)
    expected = Original(spec).run({"x": x})["y"]
    assert (rounding_of(spec, {"x": x})["y"] >= 1e-3 * np.abs(expected)).all()


def test_difference_that_rounding_does_not_account_for_is_refused(make_module, make_spec, store):
    """An error of one in a thousand is refused, however large the outputs are."""

    def differ(linear, x):
        return linear(x) * (1e6 if not is_traced() else 1.001e6)

    with pytest.raises(ParityError, match="disagrees with PyTorch"):
        publish(make_spec(make_module(differ)), store)
