"""The graph ``explain``: gradients without torch, equal to those of autograd."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from export import ExportSpec, SpecError, publish
from export.runtime import Runtime
from model_store import Store
from model_store.tasks import Classes

torch = pytest.importorskip("torch")

from export.onnx.gradients import EXPLAIN, OUTPUTS, make_explain  # noqa: E402  # needs torch


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


def test_model_without_one_floating_input_has_no_explain_graph(make_spec: Callable[..., ExportSpec]) -> None:
    """What is no classifier is refused, with the way out."""
    with pytest.raises(SpecError, match="set explain=False"):
        make_explain(make_spec())


def test_published_classifier_explains_itself(
    make_classifier: Callable[..., ExportSpec], classifier: Any, store: Store
) -> None:
    """The published graph gives autograd's gradient, and a perturbation of the asked size that lowers the score."""
    version = publish(make_classifier(), store)
    manifest, files = version.read_all()
    assert manifest.graphs[EXPLAIN].file == "explain.onnx"
    assert manifest.graph_parity[EXPLAIN].rungs
    runtime = Runtime(files["explain.onnx"])
    image, label = torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    given = {
        "image": image.numpy(),
        "label": label.numpy(),
        "epsilon": np.linspace(0.0, 0.2, 5, dtype=np.float32),
    }
    got = runtime.run(given)
    assert tuple(got) == OUTPUTS

    here = image.clone().requires_grad_(True)
    scores = classifier(here)[1]
    (expected,) = torch.autograd.grad(scores.gather(1, label[:, None]).sum(), here)
    assert np.allclose(got["gradient"], expected.numpy(), atol=1e-5)

    sizes = np.abs(got["perturbation"]).reshape(5, -1).max(1)
    assert np.allclose(sizes, given["epsilon"])
    with torch.no_grad():
        before = classifier(image)[0].gather(1, label[:, None])[:, 0]
        after = classifier(image + torch.from_numpy(got["perturbation"]))[0].gather(1, label[:, None])[:, 0]
    assert (after[1:] < before[1:]).all()


def test_publishing_without_explanations_is_a_choice(make_classifier: Callable[..., ExportSpec], store: Store) -> None:
    """``explain=False`` leaves the graph out."""
    assert list(publish(make_classifier(explain=False), store).read_manifest().graphs) == ["main"]
