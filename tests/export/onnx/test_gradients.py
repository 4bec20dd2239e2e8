"""The graph ``explain``: gradients without torch, equal to those of autograd."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from export import ExportError, ExportSpec, SpecError, publish
from export.runtime import Runtime
from model_store import Store
from model_store.tasks import Classes

torch = pytest.importorskip("torch")

from export.onnx import gradients  # noqa: E402  # needs torch
from export.onnx.gradients import EXPLAIN, OUTPUTS, make_explain  # noqa: E402  # needs torch
from export.original import Original  # noqa: E402  # needs torch

pytestmark = pytest.mark.usefixtures("export_once")

Make = Callable[..., ExportSpec]


@pytest.fixture
def classifier(one_thread: None) -> Any:
    """A small convolutional classifier with everything a gradient must pass: convolution, pooling, normalisation."""
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(4, 4, 3, stride=2, padding=1),
        torch.nn.AvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
    )

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, image: Any) -> Any:
            scores = self.layers(image)
            return torch.softmax(scores, dim=1), scores

    return Classifier().eval()


@pytest.fixture
def make_classifier(classifier: Any) -> Callable[..., ExportSpec]:
    def make(**others: Any) -> ExportSpec:
        fields: dict[str, Any] = {
            "name": "shapes",
            "task": "classify",
            "module": classifier,
            "inputs": {"image": torch.rand(3, 1, 8, 8)},
            "outputs": ("probabilities", "scores"),
            "labels": ("a", "b", "c"),
            "classes": Classes(probabilities="probabilities", logits="scores"),
            "batches": (1, 2, 5),
            "seeds": (0,),
        }
        return ExportSpec(**(fields | others))

    return make


def test_model_without_one_floating_input_has_no_explain_graph(make_spec: Make) -> None:
    """A model that is no classifier is refused, and the message says to set explain=False."""
    with pytest.raises(SpecError, match="set explain=False"):
        make_explain(make_spec(), Original(make_spec()))


def test_gradient_that_cannot_be_traced_fails_only_where_it_was_asked_for(make_classifier: Make, store: Store) -> None:
    """``explain=True`` refuses the model; without it the model is published without the graph, and a note says so."""
    pool = torch.nn.AvgPool2d(3, ceil_mode=True)
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), pool, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    facts = {"module": module, "outputs": ("scores",), "classes": Classes(logits="scores")}
    with pytest.raises(ExportError, match=r"ceil_mode.*set explain=False"):
        publish(make_classifier(**facts, explain=True), store)
    assert not store.root.exists()
    notes: list[str] = []
    version = publish(make_classifier(**facts), store, notes.append)
    assert list(version.read_manifest().graphs) == ["main"]
    assert any("there is no graph explain: " in note and "ceil_mode" in note for note in notes)


@pytest.mark.long
def test_memory_of_a_row_bounds_the_batches_of_gradients(
    make_classifier: Make, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that need too much memory are not tried, and the manifest bounds their rows."""
    notes: list[str] = []
    spec = make_classifier()
    row = make_explain(spec, Original(spec), notes.append)
    assert row.max_rows is None
    assert any("a row takes about 0 MB" in note for note in notes)
    monkeypatch.setattr(gradients, "MOST_BYTES", 4 * 5_000)
    manifest = publish(spec, store, notes.append).read_manifest()
    most = manifest.graphs[EXPLAIN].max_rows
    assert most is not None
    assert 2 < most < 5
    assert [case.rows for case in manifest.graph_parity[EXPLAIN].rungs] == [1, 2, most]
    assert [case.rows for case in manifest.parity.rungs] == [1, 2, 5]
    assert any(f"its batches have up to {most} rows" in note for note in notes)


def test_gradients_that_take_too_much_memory_are_made_where_they_are_asked_for(
    make_classifier: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory is estimated before the gradients run."""
    monkeypatch.setattr(gradients, "UNASKED_BYTES", 5_000)
    with pytest.raises(ExportError, match=r"gradients of a row take about .* GB of memory: set explain=True"):
        make_explain(make_classifier(), Original(make_classifier()))
    asked = make_classifier(explain=True)
    assert make_explain(asked, Original(asked)).outputs == OUTPUTS


def test_published_classifier_explains_itself(make_classifier: Make, classifier: Any, store: Store) -> None:
    """The published graph gives autograd's gradient, and the score falls along the gradient of the loss."""
    version = publish(make_classifier(), store)
    manifest, files = version.read_all()
    assert manifest.graphs[EXPLAIN].file == "explain.onnx"
    assert manifest.graph_parity[EXPLAIN].rungs
    runtime = Runtime(files["explain.onnx"])
    image, label = torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    given = {"image": image.numpy(), "label": label.numpy()}
    got = runtime.run(given)
    assert tuple(got) == OUTPUTS

    here = image.clone().requires_grad_(True)
    scores = classifier(here)[1]
    (expected,) = torch.autograd.grad(scores.gather(1, label[:, None]).sum(), here)
    assert np.allclose(got["gradient"], expected.numpy(), atol=1e-5)

    with torch.no_grad():
        before = classifier(image)[0].gather(1, label[:, None])[:, 0]
        after = classifier(image + 0.05 * torch.from_numpy(np.sign(got["loss_gradient"])))[0].gather(1, label[:, None])[
            :, 0
        ]
    assert (after < before).all()


def test_publishing_without_explanations_is_a_choice(make_classifier: Make, store: Store) -> None:
    """``explain=False`` leaves the graph out."""
    assert list(publish(make_classifier(explain=False), store).read_manifest().graphs) == ["main"]
