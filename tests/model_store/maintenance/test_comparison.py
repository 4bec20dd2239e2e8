"""`sluice models diff`: what differs between two versions, and that nothing else is told."""

import json

import numpy as np
import pytest

from model_store import GoldenSamples, IntegrityError, Store
from model_store.graph import Graph, Tensor
from model_store.graphs.sessions import CpuSession
from model_store.maintenance.answers import Answers, OutputDifference
from model_store.maintenance.comparison import Change, Comparison, compare
from model_store.manifest import Golden, Quality
from model_store.tasks import Classes
from tests.support.commands.models import run_models
from tests.support.models.graphs import double, write_plain
from tests.support.models.manifests import describe
from tests.support.models.text import make_model

Capture = pytest.CaptureFixture[str]
EYE = np.eye(3, dtype=np.float32)
INPUTS = np.array([[3, 1, 0], [0, 2, 1]], np.float32)


def classifier(weights: np.ndarray = EYE, then: str = "p = Softmax(y)") -> bytes:
    """Scores ``y`` and probabilities ``p`` of three classes for rows of three numbers."""
    signature = "float[n,3] x => float[n,3] y, float[n,3] p"
    return make_model(signature, f"y = MatMul(x, w) {then}", w=weights.astype(np.float32))


def publish(store: Store, content: bytes, inputs: np.ndarray = INPUTS, **fields: object) -> None:
    """A version of ``m`` that classifies, with golden samples of these inputs."""
    x = Tensor(name="x", datatype="FP32", shape=("n", 3), batch_axis=0)
    y, p = (x.model_copy(update={"name": name}) for name in "yp")
    outputs = dict(zip("yp", CpuSession(content).run({"x": inputs}), strict=True))
    facts = {
        "graphs": {"main": Graph(file="main.onnx", inputs=(x,), outputs=(y, p))},
        "task": "classify",
        "labels": ("a", "b", "c"),
        "classes": Classes(probabilities="p", logits="y"),
        "golden": Golden(rows=len(inputs), atol=1e-4, rtol=1e-4),
    }
    golden = GoldenSamples({"x": inputs}, outputs).to_bytes()
    store.publish(describe(**(facts | fields)), {"main.onnx": content, "golden.npz": golden})


def compare_both(store: Store) -> Comparison:
    return compare(*store.versions("m"))


def test_damaged_version_is_told(store: Store) -> None:
    """Whatever is compared was published so."""
    publish(store, classifier())
    publish(store, classifier(2 * EYE))
    (store.root / "m" / "2" / "main.onnx").write_bytes(classifier(3 * EYE))
    with pytest.raises(IntegrityError, match=r"main\.onnx is not the file that was published"):
        compare_both(store)


def test_same_content_has_no_differences(store: Store) -> None:
    """All parts are empty but for the metrics, which are equal, and the answers, which differ by nothing."""
    quality = Quality(data="held out", rows=9, metrics={"accuracy": 0.5})
    for _ in range(2):
        publish(store, classifier(), quality=quality)
    found = compare_both(store)
    assert (found.fields, found.tensors, found.files, found.operators) == ((), (), (), ())
    assert found.quality == (Change("accuracy", 0.5, 0.5),)
    same = (OutputDifference("y", 0.0, 0.0, 0, 6, 0), OutputDifference("p", 0.0, 0.0, 0, 6, 0))
    assert found.answers == (Answers("main", "stored", 2, same),)


def test_stored_answers_to_the_same_inputs_are_compared(store: Store) -> None:
    """The largest difference, its part of the largest answer, and the rows that get another label."""
    swapped = np.array([[0.5, 0, 0], [0, 1, 3], [0, 0, 1]])  # y: [1.5, 1, 3] and [0, 2, 7]
    publish(store, classifier())
    publish(store, classifier(swapped))
    (answers,) = compare_both(store).answers
    y, p = answers.outputs
    assert answers.source == "stored"
    assert y == OutputDifference("y", 6.0, 2.0, 3, 6, 2)
    assert p.labels == 2


def test_other_inputs_are_run_through_the_second_version(store: Store) -> None:
    """Its answers are compared with those that the first one stores, so that retraining can be judged."""
    publish(store, classifier())
    publish(store, classifier(1.5 * EYE), inputs=INPUTS + 1)
    (answers,) = compare_both(store).answers
    assert answers.source == "run"
    assert answers.outputs[0] == OutputDifference("y", 1.5, 0.5, 4, 6, 0)


def publish_plain(store: Store, nodes: str, takes: str = "x", width: int = 3) -> None:
    """A version of ``m`` with one input of three numbers a row and one output, without a task."""
    content = make_model(f"float[n,3] {takes} => float[n,{width}] y", nodes, w=np.ones((3, 4), np.float32))
    x = Tensor(name=takes, datatype="FP32", shape=("n", 3), batch_axis=0)
    y = x.model_copy(update={"name": "y", "shape": ("n", width)})
    outputs = dict(zip("y", CpuSession(content).run({takes: INPUTS - 1}), strict=True))
    golden = GoldenSamples({takes: INPUTS - 1}, outputs).to_bytes()
    graphs = {"main": Graph(file="main.onnx", inputs=(x,), outputs=(y,))}
    manifest = describe(graphs=graphs, golden=Golden(rows=2, atol=1e-4, rtol=1e-4))
    store.publish(manifest, {"main.onnx": content, "golden.npz": golden})


def test_answers_that_cannot_be_compared_say_why(store: Store) -> None:
    """Inputs of another name, outputs of another shape, and none at all."""
    publish_plain(store, "y = Neg(x)")
    publish_plain(store, "y = Neg(z)", takes="z")
    publish_plain(store, "y = MatMul(x, w)", width=4)
    store.publish(describe(), {"main.onnx": double(1)})
    one, *others = store.versions("m")
    renamed, reshaped, no_golden = (compare(one, other).answers[0] for other in others)
    assert (renamed.note, renamed.outputs) == ("the inputs are others: x, now z", ())
    assert reshaped.outputs == (OutputDifference("y", None, None, 6, 6),)
    assert no_golden.note.startswith("it does not run on the inputs of the other version: ")
    assert compare(others[-1], one).answers == ()


@pytest.mark.parametrize(("first", "largest", "elements"), [("Sqrt", 0.0, 0), ("Abs", None, 3)])
def test_number_that_is_not_finite_equals_itself_only(
    store: Store, first: str, largest: float | None, elements: int
) -> None:
    """NaN beside NaN is no difference; beside a number it has no size, which JSON could not hold."""
    publish_plain(store, f"y = {first}(x)")
    publish_plain(store, "y = Sqrt(x)")
    (answers,) = compare_both(store).answers
    (output,) = answers.outputs
    assert (output.largest, output.elements) == (largest, elements)


def test_every_part_that_differs_is_told(store: Store) -> None:
    """Fields by their path, tensors, metrics, sizes of files, and operators with their numbers."""
    old = Quality(data="held out", rows=9, metrics={"accuracy": 0.5, "loss": 2.0})
    new = Quality(data="held out", rows=9, metrics={"accuracy": 0.75, "ece": 0.1})
    publish(store, classifier(), quality=old, licence="MIT", batching={"max_rows": 8})
    publish(store, classifier(EYE, "h = Relu(y) p = Softmax(h)"), quality=new, labels=("a", "b", "d"))
    found = compare_both(store)
    assert found.fields == (
        Change("labels", ["a", "b", "c"], ["a", "b", "d"]),
        Change("batching.max_rows", 8, None),
        Change("licence", "MIT", None),
    )
    assert found.quality == (Change("accuracy", 0.5, 0.75), Change("loss", 2.0, None), Change("ece", None, 0.1))
    assert [change.what for change in found.files] == ["main.onnx"]
    assert found.operators == (Change("main: Relu", 0, 1),)
    assert found.tensors == ()


def test_tensors_are_told_by_kind_datatype_and_shape(store: Store) -> None:
    """One that is new, one that is gone, one of another shape."""
    x = Tensor(name="x", datatype="FP32", shape=("n", 3), batch_axis=0)
    ids = Tensor(name="ids", datatype="INT64", shape=("n", 1), batch_axis=0, least=0, largest=9, optional=True)
    for inputs, outputs in (((x,), (x.model_copy(update={"name": "y"}),)), ((ids,), ())):
        wider = x.model_copy(update={"name": "y", "shape": (1, "n", 4), "batch_axis": 1})
        graph = Graph(file="main.onnx", inputs=inputs, outputs=outputs or (wider,))
        store.publish(describe(graphs={"main": graph}), {"main.onnx": classifier()})
    assert compare_both(store).tensors == (
        Change("main.x", "input FP32 [n, 3]", None),
        Change("main.y", "output FP32 [n, 3]", "output FP32 [1, n, 4] batch on axis 1"),
        Change("main.ids", None, "input INT64 [n, 1] 0 to 9 optional"),
    )


def test_plain_versions_are_compared_by_what_is_found_in_them(store: Store) -> None:
    """A version without a manifest has operators, tensors and sizes too."""
    write_plain(store.root, "m", double(3))
    write_plain(store.root, "m", make_model("float[batch,4] x => float[batch,4] y", "y = Neg(x)"), version=2)
    found = compare_both(store)
    assert {change.what for change in found.operators} == {"main: Mul", "main: Neg"}
    assert [change.what for change in found.tensors] == ["main.x", "main.y"]
    assert found.answers == ()


def test_lines_fit_the_terminal_and_name_the_versions(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """By default the newest is compared with stable, else with the one before; a single one with none."""
    monkeypatch.setenv("COLUMNS", "80")
    at = ("--store", str(store.root))
    publish(store, classifier(), description="word " * 40)
    assert run_models("diff", "m", *at) == 1
    assert "'m' has only version 1: there is nothing to compare it with" in capsys.readouterr().err
    publish(store, classifier(EYE, "h = Relu(y) p = Softmax(h)"), inputs=INPUTS + 1)
    publish(store, classifier(2 * EYE), quality=Quality(data="held out", rows=9, metrics={"accuracy": 0.5}))
    assert run_models("diff", "m", *at) == 0
    assert capsys.readouterr().out.startswith("m: version 2 and version 3\n")
    store.set_alias("m", "stable", 1)
    for words in ((), ("stable",), ("1", "3")):
        assert run_models("diff", "m", *words, *at) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "m: version 1 and version 3"
        assert max(map(len, lines)) <= 80
        assert lines[-1] == "equal: tensors, operators"
        assert "(both versions store the same inputs)" in lines
    assert run_models("diff", "m", "1", "2", *at) == 0
    assert "(version 2 has run on the stored inputs of version 1, on the CPU)" in capsys.readouterr().out
    assert run_models("diff", "m", "1", "2", "--json", *at) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["operators"] == [{"what": "main: Relu", "before": 0, "after": 1}]
    assert told["answers"][0]["source"] == "run"
