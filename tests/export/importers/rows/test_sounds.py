"""`sluice import` of models that take samples of sounds."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.errors import ExportError, MissingFacts, SpecError
from export.importers.importing import plan_import, publish_import
from model_store import Manifest, Store
from service.models.loading import load_version
from service.settings import Settings
from sluice import main
from tests.export.importers.publishing import as_options
from tests.support.models.text import make_model
from tests.support.sounds.encoding import encode, sine

RATE = 1000
CLASSIFIER = make_model(
    "float[batch,100] x => float[batch,2] y",
    "s = Mul(x, x) m = ReduceMax<keepdims=1>(s, [1]) loud = Sub(m, [0.2]) y = MatMul(loud, w)",
    w=np.array([[20.0, -20.0]], np.float32),
)
EMBEDDER = make_model(
    "float[batch,n] x => float[batch,2] y",
    """
    s = Mul(x, x) a = ReduceMax<keepdims=1>(s, [1]) b = ReduceMean<keepdims=1>(s, [1]) y = Concat<axis=1>(a, b)
""",
)
LENGTHS = make_model(
    "float[batch,n] x, int64[batch] count => float[batch,2] y",
    "f = Cast<to=1>(count) c = Unsqueeze(f, [1]) m = ReduceMax<keepdims=1>(x, [1]) y = Concat<axis=1>(m, c)",
)


def write_sounds(folder: Path) -> Path:
    """Two loud and two quiet ones."""
    for label, peak in (("loud", 0.9), ("quiet", 0.01)):
        (folder / label).mkdir(parents=True)
        for number, kind in enumerate(("wav", "flac")):
            content = encode(sine(0.25, 2 * RATE, 50, peak), 2 * RATE, kind)
            (folder / label / f"{number}.{kind}").write_bytes(content)
    return folder


def publish(folder: Path, content: bytes, *given: object) -> Manifest:
    path = folder / "m.onnx"
    path.write_bytes(content)
    assert main(["import", str(path), "--store", str(folder / "store"), *map(str, given)]) == 0
    return load_version(Store(folder / "store").find("m"), Settings(provider="cpu", max_rows=8)).manifest


def plan(folder: Path, content: bytes, **said: Any) -> None:
    path = folder / "m.onnx"
    path.write_bytes(content)
    plan_import(path, as_options({name.replace("__", "."): value for name, value in said.items()}))


@pytest.mark.parametrize(
    ("content", "said", "complaint"),
    [
        (CLASSIFIER, {"task": "embed", "rows": "sounds"}, "the rate of the samples of 'x', in Hz"),
        (CLASSIFIER, {"task": "embed", "sound__rate": 8, "sound__window": 50}, "sound.window: expected 100"),
        (EMBEDDER, {"task": "embed", "sound__rate": 8, "sound__overlap": 3}, "sound.overlap: expected a window"),
        (EMBEDDER, {"task": "embed", "sound__rate": 8, "rows": "numbers"}, "facts about sounds are given"),
        (EMBEDDER, {"task": "tensors", "sound__rate": 8}, "the task tensors has no use for it"),
        (EMBEDDER, {"task": "embed", "sound__rate": 8, "sound__input": "z"}, "--sound-input z: expected floats"),
        (EMBEDDER, {"task": "embed", "sound__rate": 8, "sound__length": "z"}, "--length-input z: expected an input"),
        (EMBEDDER, {"task": "embed", "sound__rate": 8, "picture__order": "RGB"}, "the model's rows are sounds"),
        (LENGTHS, {"task": "embed", "sound__rate": 8}, "which input takes the samples"),
        (
            make_model("float[batch,2,n] x => float[batch,2,n] y", "y = Identity(x)"),
            {"task": "embed", "sound__rate": 8},
            "expected floats [batch, samples] for sounds",
        ),
    ],
)
def test_facts_that_do_not_fit_are_refused(tmp_path: Path, content: bytes, said: Any, complaint: str) -> None:
    """The error names the option to give or to leave out."""
    with pytest.raises((SpecError, MissingFacts), match=re.escape(complaint)):
        plan(tmp_path, content, **said)


def test_classifier_of_windows_is_imported(tmp_path: Path) -> None:
    """The window is that of the graph. Without samples, golden ones are noise."""
    manifest = publish(tmp_path, CLASSIFIER, "--labels", "loud,quiet", "--rate", RATE, "--window-overlap", 50)
    assert manifest.sound is not None
    assert (manifest.sound.rate, manifest.sound.window, manifest.sound.overlap) == (RATE, 100, 50)
    assert manifest.golden is not None
    assert (manifest.golden.rows, manifest.statistics) == (8, ())


def test_sounds_of_a_folder_are_samples_and_evaluation(tmp_path: Path) -> None:
    """Their windows are rows of samples; the quality is that of whole sounds."""
    sounds = write_sounds(tmp_path / "sounds")
    given = ("--labels", "loud,quiet", "--rate", RATE, "--samples", sounds, "--evaluate", sounds, "--bar", "accuracy=1")
    manifest = publish(tmp_path, CLASSIFIER, *given)
    assert manifest.quality is not None
    assert (manifest.quality.rows, manifest.quality.metrics["accuracy"]) == (4, 1.0)
    by_name = {one.tensor: one for one in manifest.statistics}
    assert by_name["x"].rows == 4 * 3
    assert by_name["x"].maximum == pytest.approx(0.9, abs=0.02)


def test_vectors_of_sounds_of_any_length_are_imported(tmp_path: Path) -> None:
    """Level and limits of the sounds may come from a model.toml."""
    facts = "[sound]\nrate = 1000\nleast = 5\nmultiple = 10\nlongest_s = 30.0\nlevel_dbfs = -30.0\n"
    (tmp_path / "model.toml").write_text(f'task = "embed"\n{facts}')
    sounds = write_sounds(tmp_path / "sounds")
    manifest = publish(tmp_path, EMBEDDER, "--samples", sounds, "--evaluate", sounds, "--no-normalise")
    assert manifest.sound is not None
    assert manifest.sound.model_dump(exclude={"input", "graph", "length", "window"}) == {
        "rate": 1000,
        "overlap": 0,
        "multiple": 10,
        "least": 5,
        "longest_s": 30.0,
        "level_dbfs": -30.0,
    }
    assert manifest.quality is not None
    assert manifest.quality.rows == 4


def test_axis_of_one_channel_goes(tmp_path: Path) -> None:
    """A graph that takes [batch, 1, samples] is changed, and proved against the file."""
    channel = make_model(
        "float[batch,1,n] x => float[batch,2] y",
        """
        s = Mul(x, x) a = ReduceMax<keepdims=0>(s, [2]) b = ReduceMean<keepdims=0>(s, [2]) y = Concat<axis=1>(a, b)
        """,
    )
    sounds = write_sounds(tmp_path / "sounds")
    manifest = publish(tmp_path, channel, "--task", "embed", "--rate", RATE, "--samples", sounds, "--no-normalise")
    assert manifest.sound is not None
    assert manifest.sound.window is None
    assert len(manifest.graphs["main"].inputs[0].shape) == 2
    assert manifest.parity is not None
    assert max(case.max_abs_error for case in manifest.parity.rungs) == 0


def test_graph_that_takes_lengths_is_imported(tmp_path: Path) -> None:
    """The lengths of golden samples are those of the rows."""
    given = ("--task", "embed", "--rate", RATE, "--length-input", "count", "--sound-input", "x", "--no-normalise")
    manifest = publish(tmp_path, LENGTHS, *given)
    assert manifest.sound is not None
    assert manifest.sound.length == "count"
    golden = Store(tmp_path / "store").find("m").read_golden(manifest)
    assert golden is not None
    assert golden.inputs["count"].tolist() == [RATE] * 8


def test_damaged_sound_is_named(tmp_path: Path) -> None:
    """And a folder without sounds."""
    (tmp_path / "sounds").mkdir()
    path = tmp_path / "m.onnx"
    path.write_bytes(EMBEDDER)
    said = as_options({"task": "embed", "sound.rate": RATE, "samples": str(tmp_path / "sounds")})
    found, its_plan = plan_import(path, said)
    with pytest.raises(SpecError, match=r"expected sounds \(\.wav, .*\), the folder has none"):
        next(publish_import(path, found, its_plan, Store(tmp_path / "store")))
    (tmp_path / "sounds" / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(ExportError, match=r"a\.wav: expected a WAV, FLAC, OGG or MP3 sound"):
        next(publish_import(path, found, its_plan, Store(tmp_path / "store")))
