import pytest

from export import ParityError, SpecError
from export.onnx.exporter import export_graph
from export.onnx.weights import serialise
from export.original import Original
from export.proof.parity import check_parity, count_cases, make_cases
from export.runtime import Runtime

torch = pytest.importorskip("torch")


def check(spec):
    original = Original(spec)
    return check_parity(original, Runtime(serialise(export_graph(original).model).content), lambda step: None)


LARGE = {"inputs": {"x": torch.tensor([[2**24 + 1, 2**30 + 7], [1, 2]])}, "atol": 10.0, "rtol": 1.0}


@pytest.mark.parametrize(
    ("body", "fields", "complaint"),
    [
        (
            lambda linear, x: linear(x) / (torch.relu(x[:, :1] - 5) + 1e-8),
            {},
            r"the exported graph gives -?inf at y\[0, 0\].*clamp\(min=1e-7\)",
        ),
        (lambda linear, x: torch.sqrt(linear(x)), {}, "the PyTorch original gives nan"),
        (lambda linear, x: torch.div(x, 3, rounding_mode="floor"), LARGE, "allowed difference 0"),
        (
            lambda linear, x: linear(x)[:, :1] if torch.compiler.is_exporting() else linear(x),
            {},
            r"expected float32 \(1, 3\), got float32 \(1, 1\)",
        ),
    ],
    ids=["guard that the exporter drops", "NaN of the original", "integers through floats", "another shape"],
)
def test_difference_is_refused(make_module, make_spec, body, fields, complaint):
    """Infinities, NaN, integers that are off by a rounding, and shapes that would broadcast are all found."""
    with pytest.raises(ParityError, match=complaint):
        check(make_spec(make_module(body), **fields))


def test_every_case_of_the_grid_is_tried_once(make_spec, make_real_samples):
    """Every batch size, seed and length is tried once, then the samples; the count shown is the count run."""
    spec = make_spec(
        inputs={"x": torch.randn(3, 9, 4)},
        dynamic={"x": {0: "batch", 1: "time"}},
        lengths=({"time": 1}, {"time": 50}),
        batches=(1, 5),
        seeds=(4, 8),
    )
    cases = list(make_cases(spec))
    assert [(c.rows, c.seed, c.source) for c in cases] == [
        (rows, seed, f"random time={time}") for time in (1, 50) for rows in (1, 5) for seed in (4, 8)
    ]
    assert all(c.inputs["x"].shape == (c.rows, int(c.source.rpartition("=")[2]), 4) for c in cases)
    assert count_cases(spec) == len(cases)
    with_samples = make_spec(samples={"x": make_real_samples(5)}, batches=(1, 2, 3), seeds=(4, 8))
    assert count_cases(with_samples) == len(list(make_cases(with_samples))) == 7


def test_cases_record_the_worst_error(make_spec):
    """Each case holds the largest error of its outputs."""
    parity = check(make_spec(batches=(2, 3)))
    assert [r.rows for r in parity.rungs] == [2, 3]
    assert all(0 <= r.max_abs_error < 1e-6 and 0 <= r.max_rel_error < 1e-6 for r in parity.rungs)
    assert (parity.atol, parity.rtol) == (1e-5, 1e-5)


def test_samples_of_constants_are_not_accepted_as_a_proof(make_spec):
    """Inputs of ones have no range to draw from, so other samples are asked for."""
    with pytest.raises(SpecError, match=r"constant or not finite.*random_inputs"):
        check(make_spec(inputs={"x": torch.ones(3, 4)}))
