"""An ONNX file becomes a version with a task, labels, preprocessing and golden samples."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image as Pillow

from export import ExportError, OnnxSpec, QualityError, SpecError, publish
from model_store import Store
from model_store.manifest import Quality
from model_store.tasks import Classes, Embedding, Image
from service.api.info.metadata import describe_tensor
from service.codecs.pictures.reader import RowFile
from service.models.loading import load_version
from service.settings import Settings
from service.tasks import classify
from sluice import main
from tests.support.driving import Driver, ask, body_of
from tests.support.models.graphs import one_at_a_time
from tests.support.models.text import make_model
from tests.support.pictures.encoding import encode

REPOSITORY = Path(__file__).parents[3]
SETTINGS = Settings(provider="cpu", max_rows=8)
NAMES = {0: "ant", 1: "bee", 2: "cat"}
PICTURE = Image(input="images", channels=3, height=64, width=64, scale=1 / 255)


def network(batch: int | str = "batch", softmax: bool = True) -> bytes:
    """Three classes by the mean of each channel; its metadata as Ultralytics writes them."""
    content = make_model(
        f"float[{batch},3,64,64] images => float[{batch},3] output0",
        "means = ReduceMean<keepdims=0>(images, [2,3]) scores = MatMul(means, weights) "
        f"output0 = {'Softmax<axis=1>' if softmax else 'Identity'}(scores)",
        weights=9 * np.eye(3, dtype=np.float32),
    )
    model = onnx.load_model_from_string(content)
    helper.set_model_props(model, {"names": str(NAMES)})
    made: bytes = model.SerializeToString()
    return made


Make = Callable[..., OnnxSpec]


@pytest.fixture
def describe(tmp_path: Path) -> Callable[..., OnnxSpec]:
    """A classifier in a file of its own."""

    def make(content: bytes, **others: Any) -> OnnxSpec:
        path = tmp_path / "classifier.onnx"
        path.write_bytes(content)
        fields: dict[str, Any] = {"name": "m", "file": path, "task": "classify", "labels": tuple(NAMES.values())}
        return OnnxSpec(**{**fields, "classes": Classes(probabilities="output0"), "image": PICTURE, **others})

    return make


def test_scores_that_are_no_probabilities_are_refused(describe: Make, store: Store) -> None:
    """An imported file is checked as an exported model is."""
    with pytest.raises(SpecError, match=r"'output0', which classes.probabilities names, (is|sums to) .* expected"):
        publish(describe(network(softmax=False)), store)
    assert not store.root.exists()


@pytest.mark.parametrize(
    ("content", "facts", "complaint"),
    [
        (b"no model", {}, "classifier.onnx is no ONNX file"),
        (
            one_at_a_time(),
            {"task": "embed", "classes": None, "image": None, "labels": (), "embedding": Embedding(output="y")},
            "needs inputs and outputs whose axis 0 is that of the rows, but its rows are unknown",
        ),
        (network(), {"labels": ("a", "b")}, "does not fit its description: .* there are 2 labels"),
        (network(), {"file": "absent.onnx"}, "absent.onnx"),
        (
            network(),
            {"samples": {"x": np.zeros((2, 3, 64, 64))}},
            r"samples: expected the inputs \['images'\], got \['x'\]",
        ),
        (
            network(),
            {"samples": {"images": np.zeros((2, 3, 5))}},
            "ONNX Runtime fails on samples of .*give samples that",
        ),
    ],
    ids=["bytes", "no rows", "labels", "no file", "names of samples", "shapes of samples"],
)
def test_what_does_not_fit_is_refused(
    describe: Make, store: Store, content: bytes, facts: dict[str, Any], complaint: str
) -> None:
    """The message says what was expected, and nothing is published."""
    with pytest.raises((ExportError, SpecError), match=complaint):
        publish(describe(content, **facts), store)
    assert not store.root.exists()


def test_quality_below_its_bar_is_not_published(describe: Make, store: Store) -> None:
    """An imported file needs the quality that a PyTorch model needs."""
    quality = Quality(data="held out", rows=10, metrics={"accuracy": 0.8}, bar={"accuracy": 0.9})
    with pytest.raises(QualityError, match=r"accuracy: expected at least 0\.9, got 0\.8"):
        publish(describe(network(), quality=quality), store)


@pytest.mark.parametrize("batch", ["batch", 1], ids=["free", "fixed at 1"])
@pytest.mark.parametrize("softmax", [True, False], ids=["probabilities", "logits"])
def test_published_file_classifies_pictures(describe: Make, store: Store, batch: int | str, softmax: bool) -> None:
    """The version loads, passes its golden samples, shares batches, and labels a picture."""
    classes = Classes(probabilities="output0") if softmax else Classes(logits="output0")
    samples = {"images": np.random.default_rng(0).random((20, 3, 64, 64), np.float32)}
    version = publish(describe(network(batch, softmax), classes=classes, samples=samples), store)
    manifest, files = version.read_all()
    loaded = load_version(version, SETTINGS)
    assert (loaded.golden_error, loaded.rows.verdict, loaded.max_rows) == (0, "proved", 8)
    assert manifest.golden is not None
    assert manifest.golden.rows == 8
    assert {one.tensor for one in manifest.statistics} >= {"images", "output0"}
    model = Driver(manifest, {"main": files["main.onnx"]})
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 2] = 255
    answer = body_of(ask(classify, model, [RowFile(encode(Pillow.fromarray(red)), "the picture")]))
    [prediction] = answer["predictions"]
    assert prediction["label"] == "cat"
    assert prediction["probability"] == pytest.approx(np.exp(9) / (np.exp(9) + 2), abs=1e-4)


@pytest.mark.parametrize(
    "content",
    [
        make_model("float[batch,2] x => float[batch,2] y", "m = ReduceMean<keepdims=1>(x, [0]) y = Sub(x, m)"),
        make_model("float[1,2] x => float[1,2] y", "n = Reshape(x, [2]) m = Add(n, n) y = Reshape(m, [1, 2])"),
    ],
    ids=["mixing", "fixed"],
)
def test_rows_that_are_not_independent_are_runs_of_their_own(describe: Make, store: Store, content: bytes) -> None:
    """A task speaks of rows also where a graph takes only one at a time: the server then runs each by itself."""
    others = {"task": "embed", "classes": None, "image": None, "labels": (), "embedding": Embedding(output="y")}
    loaded = load_version(publish(describe(content, **others), store), SETTINGS)
    assert (loaded.max_rows, loaded.signature.batches, loaded.golden_error) == (1, True, 0)
    assert loaded.signature.check({"x": np.ones((3, 2), np.float32)}).number == 3
    assert describe_tensor(loaded.signature.graph.inputs[0])["shape"] == [-1, 2]


def test_example_of_the_documentation_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and the command of docs/publish-onnx.md work."""
    pytest.importorskip("torch")
    text = (REPOSITORY / "docs" / "publish-onnx.md").read_text()
    example = re.search(r"```python\n# my_file.py\n(.*?)```", text, re.DOTALL)
    command = re.search(r"`sluice (export .*?)`", text)
    assert example is not None
    assert command is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_file.py").write_text(example[1])
    (tmp_path / "classifier.onnx").write_bytes(network())
    assert main(command[1].split()) == 0
    manifest = Store(tmp_path / "models").find("my-classifier").verify()
    assert (manifest.task, manifest.labels) == ("classify", ("ant", "bee", "cat"))


def test_published_file_of_texts_has_golden_samples(describe: Make, store: Store) -> None:
    """Texts are stored with the version, and its load compares them."""
    content = make_model("string[batch,2] x => string[batch,2] y", "y = StringConcat(x, x)")
    samples = {"x": np.array([["a", ""], ["día", "b\nc"]])}
    facts = {"task": "tensors", "classes": None, "image": None, "labels": (), "samples": samples}
    version = publish(describe(content, **facts), store)
    golden = version.read_golden(version.read_manifest())
    assert golden is not None
    assert golden.outputs["y"].tolist() == [["aa", ""], ["díadía", "b\ncb\nc"]]
    loaded = load_version(version, SETTINGS)
    assert (loaded.golden_error, loaded.rows.verdict, loaded.max_rows) == (0, "proved", 8)
