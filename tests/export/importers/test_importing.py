"""`sluice import` reads, plans, changes, proves and publishes; what it publishes loads and answers."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image as Pillow

from model_store import Store
from service.models.loading import LoadedVersion, load_version
from service.settings import Settings
from tests.export.importers.publishing import run_import
from tests.support.models.text import make_model

SETTINGS = Settings(provider="cpu", max_rows=8)
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
CLASSIFIER = (
    "float[{batch},3,8,8] x => float[{batch},3] y",
    "m = ReduceMean<keepdims=0>(x, [2, 3]) y = MatMul(m, weights)",
)
SAID = ["--labels", "red,green,blue", "--scale", "1/255", "--order", "RGB", "--resize", "stretch"]


def write_classifier(folder: Path, batch: int | str = "batch") -> Path:
    """Three colours by the mean of each channel."""
    path = folder / "colours.onnx"
    signature = CLASSIFIER[0].format(batch=batch)
    path.write_bytes(make_model(signature, CLASSIFIER[1], weights=9 * np.eye(3, dtype=np.float32)))
    return path


def write_pictures(folder: Path, each: int = 2) -> Path:
    """A sub-folder for each colour, with pictures in it."""
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(each):
            picture = Pillow.new("RGB", (10 + number, 12), tuple(level * (9 - number) // 9 for level in colour))
            picture.save(folder / name / f"{number}.png")
    return folder


def load(store: Path, name: str) -> LoadedVersion:
    return load_version(Store(store).find(name), SETTINGS)


@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_classifier_is_imported(tmp_path: Path, batch: int | str) -> None:
    """A file with scores becomes a version that classifies pictures, also where its batch is fixed."""
    more = ["--free-sizes", "--size", "8"] if batch == 4 else []
    code = run_import(
        write_classifier(tmp_path, batch), *SAID, *more, "--store", tmp_path / "store", "--description", "Colours"
    )
    loaded = load(tmp_path / "store", "colours")
    assert code == 0
    assert (loaded.rows.verdict, loaded.max_rows, loaded.golden_error) == ("proved", 8, 0)
    manifest = loaded.manifest
    assert (manifest.task, manifest.labels, manifest.description) == ("classify", tuple(COLOURS), "Colours")
    assert manifest.parity is not None
    assert len(manifest.parity.rungs) == 8
    assert manifest.golden is not None
    assert manifest.golden.rows == 8
    assert manifest.image is not None
    assert manifest.image.height == 8


def test_levels_in_other_layouts_are_imported(tmp_path: Path) -> None:
    """A graph that takes UINT8 [batch, height, width, 3] needs neither a scale nor another layout."""
    path = tmp_path / "levels.onnx"
    signature = "uint8[batch,8,8,3] x => float[batch,3] y"
    path.write_bytes(make_model(signature, "f = Cast<to=1>(x) m = ReduceMean<keepdims=0>(f, [1, 2]) y = Mul(m, 0.03)"))
    labels = ["--labels", "red,green,blue", "--activation", "softmax"]
    assert (
        run_import(path, *labels, "--order", "RGB", "--resize", "fit", "--padding", 114, "--store", tmp_path / "store")
        == 0
    )
    image = load(tmp_path / "store", "levels").manifest.image
    assert image is not None
    assert (image.layout, image.scale, image.offset, image.padding) == ("NHWC", 1, 0, 114)


def test_samples_and_evaluation_are_stored(tmp_path: Path) -> None:
    """Pictures give golden samples and statistics, and labelled ones the quality."""
    pictures = write_pictures(tmp_path / "pictures")
    given = ["--samples", pictures, "--evaluate", pictures, "--bar", "accuracy=1"]
    assert run_import(write_classifier(tmp_path), *SAID, *given, "--store", tmp_path / "store") == 0
    manifest = load(tmp_path / "store", "colours").manifest
    assert manifest.quality is not None
    assert (manifest.quality.rows, dict(manifest.quality.bar)) == (6, {"accuracy": 1.0})
    assert manifest.quality.metrics["accuracy"] == 1
    assert 0.9 < manifest.quality.metrics["calibration"] <= 1
    assert {one.tensor for one in manifest.statistics} == {"x", "y", "probabilities"}


@pytest.mark.parametrize(("metric", "threshold"), [("cosine", (0.5, 0.99)), ("euclidean", (0, 0.9))])
def test_vectors_are_judged_by_pairs(tmp_path: Path, metric: str, threshold: tuple[float, float]) -> None:
    """Pictures of one colour are closer than those of two, and a threshold tells them apart."""
    given = ["--evaluate", write_pictures(tmp_path / "p", 3), "--bar", "auroc=1", "--store", tmp_path / "store"]
    path = write_classifier(tmp_path)
    assert run_import(path, "--task", "embed", "--metric", metric, *SAID[2:], *given) == 0
    quality = load(tmp_path / "store", "colours").manifest.quality
    assert quality is not None
    assert (quality.metrics["auroc"], quality.metrics["balanced_accuracy"]) == (1, 1)
    assert threshold[0] - 0.01 < quality.metrics["best_threshold"] < threshold[1]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--bar", "accuracy=0.5"], "--bar: expected --evaluate too"),
        (["--bar", "speed=1", "--evaluate", "pictures"], "--bar speed: expected one of accuracy, calibration"),
        (["--evaluate", "absent"], "expected a folder with a sub-folder for each label"),
        (["--evaluate", "others"], "the model does not have 1 of the labels, such as 'pink': expected names like red"),
        (["--samples", "empty"], "expected pictures .* the folder has none"),
        (["--samples", "samples.npz"], "'z' is no input: expected x"),
        (["--evaluate", "wrong"], "below the bar: accuracy: expected at least 1"),
    ],
    ids=["no rows", "metric", "absent", "labels", "empty", "names", "bar"],
)
def test_samples_that_do_not_fit_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    given: list[str],
    complaint: str,
) -> None:
    """The error says what was expected, and nothing is published."""
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "pictures")
    write_pictures(tmp_path / "others")
    (tmp_path / "others" / "red").rename(tmp_path / "others" / "pink")
    write_pictures(tmp_path / "wrong")
    for old, new in (("red", "x"), ("blue", "red"), ("x", "blue")):
        (tmp_path / "wrong" / old).rename(tmp_path / "wrong" / new)
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "samples.npz", z=np.zeros((2, 3, 8, 8)))
    bar = ["--bar", "accuracy=1"] if "wrong" in given else []
    assert run_import(write_classifier(tmp_path), *SAID, *given, *bar, "--store", "store") == 1
    error = capfd.readouterr().err
    assert re.search(complaint, error.replace("\n", " ")), error
    assert not (tmp_path / "store").exists()


def test_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints every fact with its origin, and the changes of the graph."""
    arguments = [write_classifier(tmp_path, 1), *SAID, "--store", tmp_path / "store", "--dry-run"]
    assert run_import(*arguments) == 0
    shown = capsys.readouterr().out
    for part in (
        "3: red, green, blue",
        "--labels",
        "guess",
        "softmax of 'y'",
        "axis 0 is fixed at 1",
        "'x' FP32 [1, 3",
    ):
        assert part in shown
    assert run_import(*arguments, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert {"fact": "picture.order", "value": "RGB", "origin": "--order", "guess": False} in record["facts"]
    assert len(record["changes"]) == 2
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_notes_of_a_plan_are_reported_once(tmp_path: Path, capfd: pytest.CaptureFixture[str], more: list[str]) -> None:
    """They are a part of the printed plan; with --json they come with the progress."""
    for version in ("1", "2"):
        (tmp_path / "m" / version).mkdir(parents=True)
        write_classifier(tmp_path).rename(tmp_path / "m" / version / "model.onnx")
    assert run_import(tmp_path / "m", *SAID, *more, "--store", tmp_path / "store") == 0
    assert capfd.readouterr().err.count("version 2 of 2 is imported") == 1


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (
            ["--labels", "a,b,c", "--task", "regress", "--bar", "accuracy=0.9", "--evaluate", "x"],
            "--evaluate: expected",
        ),
        (["--labels", "a,b,c", "--task", "regress", "--bar", "accuracy=0.9"], "--bar: expected the task classify"),
        (["--bar", "top5_accuracy=1", "--evaluate", "x"], "expected one of accuracy, calibration for 3 labels"),
        (["--samples", "none"], "--samples: expected a folder"),
        (["--evaluate", "none"], "--evaluate: expected a folder"),
    ],
)
def test_dry_run_checks_the_bar_and_that_rows_are_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], given: list[str], complaint: str
) -> None:
    """A bar that the task or the number of labels cannot have, and a path to nothing, are refused without a run."""
    assert run_import(write_classifier(tmp_path), *SAID, *given, "--dry-run") == 1
    assert complaint in " ".join(capfd.readouterr().err.split())


def test_file_beside_the_model_says_what_it_does_not(tmp_path: Path) -> None:
    """A model.toml has the same facts as the options, which win over it."""
    path = write_classifier(tmp_path)
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    (tmp_path / "model.toml").write_text(
        'name = "by-file"\nlabels = "names.txt"\nlicence = "MIT"\n'
        '[picture]\nscale = "1/255"\nmean = [0.5, 0.5, 0.5]\norder = "BGR"\nresize = "crop"\n'
    )
    assert run_import(path, "--order", "RGB", "--store", tmp_path / "store") == 0
    manifest = load(tmp_path / "store", "by-file").manifest
    assert manifest.image is not None
    assert (manifest.image.order, manifest.image.resize, manifest.image.offset) == ("RGB", "crop", -0.5)
    assert (manifest.labels, manifest.licence) == (tuple(COLOURS), "MIT")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("lables = ['a']", "model.toml: lables: unknown field"),
        ("[picture]\nscale = 'x'", "picture.scale: expected a number, or a fraction such as 1/255, got 'x'"),
        ("task = ", "model.toml: Invalid value"),
    ],
)
def test_file_beside_the_model_is_checked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, complaint: str
) -> None:
    """An unknown field, a wrong value and broken TOML are errors that name the place."""
    (tmp_path / "model.toml").write_text(text)
    assert run_import(write_classifier(tmp_path), "--store", tmp_path / "store") == 1
    assert complaint in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--mean", "a"], "--mean: expected a number"),
        (["--size", "3x"], "--size: expected a side such as 224"),
        (["--size", "0"], "--size: expected sides of at least 1 pixel (got '0')"),
        (["--std", "0.1,0.2"], "--std: expected one number, or three, one for each channel, got 2"),
        (["--name", "a b"], "--name: expected letters, digits"),
        (["--bar", "x"], "--bar x: expected METRIC=VALUE"),
        (["--task", "see"], "--task: expected 'classify'"),
    ],
)
def test_options_are_checked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], given: list[str], complaint: str
) -> None:
    """A wrong value is wrong usage, and the message names the option."""
    assert run_import(tmp_path / "x.onnx", *given) == 2
    assert complaint in capfd.readouterr().err


def test_what_is_no_source_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The error lists what can be imported."""
    assert run_import(tmp_path / "absent") == 1
    assert "there is no such file or folder: expected one of: a Hugging Face folder" in capfd.readouterr().err
    (tmp_path / "readme.txt").touch()
    assert run_import(tmp_path) == 1
    assert "the folder holds readme.txt" in capfd.readouterr().err


def test_weights_in_other_files_are_imported(tmp_path: Path) -> None:
    """They are read from beside the file, and published with it."""
    path = write_classifier(tmp_path)
    model = onnx.load(path)
    onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=60)  # not the axes
    assert run_import(path, *SAID, "--store", tmp_path / "store") == 0
    assert "weights.bin" in load(tmp_path / "store", "colours").manifest.files


def test_graph_with_suppression_inside_serves_row_by_row(tmp_path: Path) -> None:
    """As many boxes as it finds for one picture become a fixed number, and each picture is a run of its own."""
    path = tmp_path / "detector.onnx"
    path.write_bytes(
        make_model(
            "float[1,3,8,8] x => float[n,4] boxes, float[n] scores",
            """
            flat = Reshape(x, [1, -1, 4])
            low = Slice(flat, [0], [2], [2]) width = Slice(flat, [2], [4], [2]) high = Add(low, width)
            b = Concat<axis=2>(low, high)
            all = Sigmoid(flat) s = ReduceMax<keepdims=1>(all, [2]) t = Transpose<perm=[0,2,1]>(s)
            found = NonMaxSuppression(b, t, most, limit, limit)
            at = Slice(found, [2], [3], [1]) places = Reshape(at, [-1])
            rows = Reshape(b, [-1, 4]) boxes = Gather(rows, places)
            one = Reshape(s, [-1]) scores = Gather(one, places)
            """,
            most=np.array([100]),
            limit=np.array([0.5], np.float32),
        )
    )
    said = ["--task", "detect", "--labels", "thing", *SAID[2:], "--box-format", "ltrb", "--box-units", "pixels"]
    more = ["--activation", "none", "--overlap", "none", "--max-detections", "20"]
    assert run_import(path, *said, *more, "--store", tmp_path / "store") == 0
    loaded = load(tmp_path / "store", "detector")
    assert (loaded.max_rows, loaded.signature.batches) == (1, True)
    assert [output.shape for output in loaded.signature.graph.outputs] == [(1, 20, 4), (1, 20)]
    assert loaded.manifest.detection is not None
    assert loaded.manifest.detection.overlap is None


def test_declared_size_of_pictures_becomes_free(tmp_path: Path) -> None:
    """A detector that was exported for one size takes others, and its boxes follow the size of the picture."""
    path = tmp_path / "detector.onnx"
    path.write_bytes(
        make_model(
            "float[1,3,8,8] x => float[1,48,4] boxes, float[1,48,1] scores",
            """
            flat = Reshape(x, [1, -1, 4]) boxes = Sigmoid(flat)
            best = ReduceMax<keepdims=1>(flat, [2]) scores = Sigmoid(best)
            """,
        )
    )
    said = ["--task", "detect", "--labels", "thing", *SAID[2:], "--box-format", "cxcywh", "--box-units", "fractions"]
    free = ["--free-sizes", "--longest", "64", "--multiple", "4", "--store", tmp_path / "store"]
    assert run_import(path, *said, *free) == 0
    loaded = load(tmp_path / "store", "detector")
    assert (loaded.rows.verdict, loaded.max_rows) == ("proved", 8)
    outputs = loaded.session.run({"x": np.zeros((2, 3, 20, 12), np.float32)})
    names = [output.name for output in loaded.signature.graph.outputs]
    np.testing.assert_allclose(outputs[names.index("corners")][1, 0], [3, 5, 9, 15])


@pytest.mark.parametrize(
    ("labels", "background", "complaint"),
    [
        ("a,b,c", "none", ""),
        ("a,b", "last", ""),
        ("a,b", "none", "has 3 scores for each box, as a run shows, but there are 2 labels"),
        ("a,b,c", "last", "has 3 scores for each box, as a run shows, but there are 3 labels"),
    ],
)
def test_number_of_scores_that_the_graph_leaves_open_is_checked_by_a_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], labels: str, background: str, complaint: str
) -> None:
    """A name such as Clipscores_dim_2 is no number of labels: what a run gives must be as many as there are."""
    path = tmp_path / "detector.onnx"
    signature = "float[batch,3,8,8] x => float[batch,n,4] boxes, float[batch,n,Clipscores_dim_2] scores"
    body = """
    f = Reshape(x, [0, -1, 4]) boxes = Relu(f) places = NonZero(ones) shape = Shape(places) end = Slice(shape, [1], [2])
    part = Slice(f, [0], end, [2]) scores = Sigmoid(part)
    """
    path.write_bytes(make_model(signature, body, ones=np.ones(3, np.float32)))
    form = ["--box-format", "ltrb", "--box-units", "pixels", "--activation", "none", "--background", background]
    code = run_import(path, "--task", "detect", "--labels", labels, *SAID[2:], *form, "--store", tmp_path / "store")
    assert code == bool(complaint)
    if complaint:
        assert complaint in re.sub(r"\s+", " ", capfd.readouterr().err)
    else:
        assert load(tmp_path / "store", "detector").manifest.labels == tuple(labels.split(","))
