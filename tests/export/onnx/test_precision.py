"""A second version in lower precision."""

import numpy as np
import pytest

from export import ExportError, GraphSpec, ParityError, QualityError, SpecError, publish
from model_store.manifest import Quality
from model_store.tasks import Classes
from service.models.loading import load_version
from service.settings import Settings

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("export_once")

LEAST = 0.9


@pytest.fixture
def make_network_spec(make_spec, make_real_samples):
    """A spec of a small network; its quality is the share of rows that it puts in the same class as the original."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3)).eval()
    held_out = torch.randn(200, 4, generator=torch.Generator().manual_seed(1))

    def measure(predict):
        with torch.no_grad():
            expected = module(held_out).numpy()
        got = predict({"x": held_out.numpy()})["y"]
        return Quality(
            data="made up",
            rows=200,
            metrics={"accuracy": float(np.mean(got.argmax(1) == expected.argmax(1)))},
            bar={"accuracy": LEAST},
        )

    def make(**others):
        fields = {"samples": {"x": make_real_samples(100)}, "quality": measure}
        return make_spec(module, **{**fields, **others})

    return make


def count_versions(store):
    return len(store.versions("tiny")) if store.names() else 0


@pytest.mark.parametrize(
    ("precision", "fields", "complaint"),
    [
        ("int8", {"samples": None}, "int8 is calibrated on real inputs: give samples for the graph main"),
        (
            "fp16",
            {"quality": Quality(data="elsewhere", rows=1, metrics={"accuracy": 1.0})},
            "needs its own quality: give a function that measures it",
        ),
        ("bf16", {}, "expected one of fp16, int8, got 'bf16'"),
    ],
    ids=["no samples", "quality of something else", "no such precision"],
)
def test_what_a_precision_lacks_is_said_before_anything_is_done(make_network_spec, store, precision, fields, complaint):
    """Missing calibration samples, or a quality that cannot be measured again, are refused at once."""
    steps = []
    with pytest.raises(SpecError, match=complaint):
        publish(make_network_spec(**fields), store, steps.append, precision)
    assert steps == []


def test_precision_that_falls_below_the_bar_is_refused_and_the_first_version_stays(make_network_spec, store):
    """Quality is measured on the converted graph, against the bar of the first version."""

    def measure(predict):
        x = np.random.default_rng(0).standard_normal((50, 4), dtype=np.float32)
        with torch.no_grad():
            expected = spec.module(torch.from_numpy(x)).numpy()
        exact = float(np.mean(np.abs(predict({"x": x})["y"] - expected) < 1e-5))
        return Quality(data="made up", rows=50, metrics={"exact": exact}, bar={"exact": 0.99})

    spec = make_network_spec(quality=measure)
    with pytest.raises(QualityError, match=r"exact: expected at least 0\.99, got 0\."):
        publish(spec, store, precision="int8")
    assert count_versions(store) == 1


def test_precision_outside_its_tolerance_shows_the_worst_element(make_network_spec, store):
    """The tolerance is a share of each output's largest magnitude, and the spec can set it."""
    with pytest.raises(ParityError, match=r"disagrees with PyTorch at .*worst element y\[") as caught:
        publish(make_network_spec(low_precision={"int8": 1e-4}), store, precision="int8")
    assert caught.value.worst.excess > 0
    assert count_versions(store) == 1


def test_graph_without_weights_to_convert_is_refused(make_spec, store):
    """A second version that equals the first is not made."""
    with pytest.raises(ExportError, match="fp16 would change nothing"):
        publish(make_spec(lambda x: x.abs()), store, precision="fp16")
    assert count_versions(store) == 1


@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.01), ("int8", 0.1)])
def test_second_version_has_figures_of_its_own_beside_the_first(make_network_spec, store, precision, share):
    """The second version is compared with PyTorch, measured again, and served with float32 tensors."""
    version = publish(make_network_spec(), store, precision=precision)
    first, second = (one.verify() for one in store.versions("tiny"))
    assert version.version == 2
    assert first.parity.scale_tol == 0
    assert second.parity.scale_tol == share
    worst = max(case.max_rel_error for case in second.parity.rungs)
    assert max(case.max_rel_error for case in first.parity.rungs) < 1e-6 < worst < share
    assert second.quality.metrics["accuracy_fp32"] == first.quality.metrics["accuracy"] == 1.0
    assert second.quality.metrics["accuracy"] >= LEAST
    assert second.provenance.parameters == {"precision": precision, "fp32_version": 1}
    assert second.graphs["main"].inputs == first.graphs["main"].inputs
    assert second.files["golden.npz"] != first.files["golden.npz"]
    assert {s.tensor for s in second.statistics} == {"x", "y"}
    loaded = load_version(version, Settings(store=store.root, provider="cpu"))
    assert loaded.golden_error == 0
    assert loaded.rows.verdict == "proved"


def test_graph_with_nothing_to_convert_stays_as_it_is_beside_one_that_has(make_network_spec, store, publish_noting):
    """A second graph without weights keeps its bytes and its tolerance, and a note names it."""
    v = torch.randn(8, 4)
    sampled = {"inputs": {"v": v}, "samples": {"v": v}, "batches": (1, 2), "seeds": (0,)}
    beside = GraphSpec(module=lambda v: v.abs(), outputs=("size",), **sampled)
    _, notes = publish_noting(make_network_spec(graphs={"beside": beside}), "int8")
    first, second = (one.verify() for one in store.versions("tiny"))
    assert second.files["beside.onnx"] == first.files["beside.onnx"]
    assert second.files["main.onnx"] != first.files["main.onnx"]
    assert (second.graph_parity["beside"].scale_tol, second.parity.scale_tol) == (0, 0.1)
    assert "note: graph beside has nothing that int8 would convert, so it stays as it is" in notes


def test_precision_that_makes_nothing_smaller_is_noted(make_spec, make_real_samples, store, publish_noting):
    """Twelve weights with their scales are larger than before: the version is made, and a note says so."""
    _, notes = publish_noting(make_spec(samples={"x": make_real_samples(20)}), "int8")
    sizes = [one.verify().files["main.onnx"].size_bytes for one in store.versions("tiny")]
    assert sizes[1] > sizes[0]
    assert [note.partition(" bytes")[0] for note in notes] == [f"note: graph main is not smaller in int8: {sizes[1]:,}"]


@pytest.mark.long
def test_explain_graph_that_does_not_convert_is_left_out_with_a_note(make_network_spec, store, publish_noting):
    """Gradients have no real inputs to calibrate on, so the version has no explain graph, and a note says so."""
    spec = make_network_spec(task="classify", labels=("a", "b", "c"), classes=Classes(logits="y"))
    _, notes = publish_noting(spec, "int8")
    first, second = (one.verify() for one in store.versions("tiny"))
    assert set(first.graphs) == {"main", "explain"}
    assert set(second.graphs) == set(second.graph_parity) | {"main"} == {"main"}
    assert [note for note in notes if note.startswith("note: the version in int8 has no graph explain: ")]
