"""Probabilities lie in 0 to 1 and sum to one; logits alone are enough."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from export import ExportSpec, SpecError, publish
from model_store import Store
from model_store.errors import BadManifest
from model_store.files.integrity import describe_bytes
from model_store.golden import GoldenSamples
from model_store.manifest import MANIFEST_FILE
from model_store.tasks import Classes
from service.errors import NotReady
from service.models.loading import load_version
from service.settings import Settings
from service.tasks import classify
from tests.support.driving import Driver, ask, body_of

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("export_once")

LABELS = ("ant", "bee", "cat")
SETTINGS = Settings(provider="cpu", max_rows=8)
X = torch.linspace(-2.0, 2.0, 12).reshape(3, 4)

Make = Callable[..., ExportSpec]


def score(linear: Any, x: Any) -> Any:
    return linear(x)


@pytest.fixture
def make_classifier(make_module: Callable[..., Any]) -> Callable[..., ExportSpec]:
    """A spec whose one output is what ``body`` makes of a linear layer and its input."""

    def make(body: Callable[..., Any], classes: Classes, **others: Any) -> ExportSpec:
        fields: dict[str, Any] = {"name": "bugs", "task": "classify", "labels": LABELS, "explain": False, **others}
        return ExportSpec(module=make_module(body), inputs={"x": X}, outputs=("y",), classes=classes, **fields)

    return make


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (
            lambda linear, x: linear(x),
            r"output 'y', which classes.probabilities names, is -?\d.* expected 0 to 1; if these are sc",
        ),
        (
            lambda linear, x: torch.sigmoid(linear(x)),
            r"sums to .* in row \d of the samples: expected 1, within 0.001: set",
        ),
    ],
    ids=["scores", "each by itself"],
)
def test_scores_that_are_called_probabilities_are_refused(
    make_classifier: Make, store: Store, body: Callable[..., Any], complaint: str
) -> None:
    """The message has the row, what was expected and what to write instead; nothing is published."""
    with pytest.raises(SpecError, match=complaint):
        publish(make_classifier(body, Classes(probabilities="y")), store)
    assert not store.root.exists()


def test_one_sample_is_enough_to_refuse(make_classifier: Make, store: Store) -> None:
    """Every real sample is checked, not only the golden ones."""
    samples = torch.rand(200, 4)
    samples[131, 0] = 50.0

    def odd(linear: Any, x: Any) -> Any:
        return torch.softmax(linear(x), dim=1) * torch.where(x[:, :1] > 10, 1.5, 1.0)

    with pytest.raises(SpecError, match=r"classes.probabilities names, (is|sums to) 1\.\d+ in row 3"):
        publish(make_classifier(odd, Classes(probabilities="y"), samples={"x": samples}), store)


def test_a_name_that_is_no_output_is_not_made_up(make_classifier: Make) -> None:
    """Only the default name of probabilities is added to the graph; another name that is missing is refused."""
    with pytest.raises(SpecError, match=r"classes: expected one of the outputs \('y',\), got 'p'"):
        make_classifier(score, Classes(probabilities="p", logits="y"))


@pytest.mark.long
@pytest.mark.parametrize("multi_label", [False, True], ids=["softmax", "sigmoid"])
def test_logits_alone_are_served_with_their_probabilities(
    make_classifier: Make, store: Store, multi_label: bool
) -> None:
    """The graph gets a probability output, which is compared with PyTorch's and used by ``/classify``."""
    spec = make_classifier(score, Classes(logits="y", multi_label=multi_label), explain=None)
    version = publish(spec, store)
    manifest, files = version.read_all()
    assert [tensor.name for tensor in manifest.graphs["main"].outputs] == ["y", "probabilities"]
    assert load_version(version, SETTINGS).golden_error == 0
    rows = np.array([[0.5, -1.0, 2.0, 0.25], [3.0, 1.0, -2.0, 0.0]], np.float32)
    model = Driver(manifest, {name: files[graph.file] for name, graph in manifest.graphs.items()})
    fields: dict[str, Any] = {"top_k": 3, "explain": "integrated_gradients"}
    answer = body_of(ask(classify, model, rows.tolist(), **fields))
    with torch.no_grad():
        logits = spec.module(torch.from_numpy(rows))  # type: ignore[operator]
    expected = torch.sigmoid(logits) if multi_label else torch.softmax(logits, dim=1)
    for given, prediction in zip(expected, answer["predictions"], strict=True):
        found = {one["index"]: one["probability"] for one in prediction["top"]}
        assert [found[index] for index in range(3)] == pytest.approx(given.tolist(), abs=1e-6)
        assert prediction["label"] == LABELS[int(given.argmax())]
        assert np.shape(prediction["explanation"]["values"]) == (4,)


def test_version_whose_samples_hold_no_probabilities_does_not_serve(make_classifier: Make, store: Store) -> None:
    """Such a version cannot be published; one that was made by hand is unavailable, with the reason."""
    version = publish(make_classifier(score, Classes(logits="y")), store)
    manifest, files = version.read_all()
    wrong = manifest.model_copy(update={"classes": Classes(probabilities="y")})
    with pytest.raises(BadManifest, match=r"'y', which classes.probabilities names, is"):
        store.publish(wrong, files)
    golden = GoldenSamples.from_bytes(files["golden.npz"]).to_bytes()
    (version.folder / "golden.npz").write_bytes(golden)
    said = json.loads(wrong.to_json())
    said["files"]["golden.npz"] = describe_bytes(golden).model_dump()
    (version.folder / MANIFEST_FILE).write_text(json.dumps(said))
    with pytest.raises(NotReady, match=r"golden samples on CPU.*: output 'y', which classes.probabilities names, is"):
        load_version(version, SETTINGS)
