"""The table at the end of `sluice train` and `sluice export`."""

import io
from pathlib import Path

from rich.console import Console

from export.summary import Outcome, as_record, print_table
from model_store import Manifest, ModelVersion
from model_store.graph import Graph, Tensor
from model_store.manifest import Parity, ParityCase, Provenance, Quality


def make_version(name, number, metrics=None, bar=None, precision=None):
    tensor = Tensor(name="x", datatype="FP32", shape=("batch", 4), batch_axis=0)
    graph = Graph(file="main.onnx", inputs=(tensor,), outputs=(tensor.model_copy(update={"name": "y"}),))
    case = ParityCase(rows=2, seed=0, inputs="random", max_abs_error=2e-6, max_rel_error=1e-6)
    manifest = Manifest(
        name=name,
        task="tensors",
        graphs={"main": graph},
        parity=Parity(atol=1e-5, rtol=1e-5, rungs=(case,)),
        quality=Quality(data="held out", rows=9, metrics=metrics, bar=bar or {}) if metrics else None,
        provenance=Provenance(created="now", parameters={"precision": precision} if precision else {}),
    )
    return ModelVersion(name, number, Path("/models") / name / str(number)), manifest


def show(*outcomes):
    """The lines of the table without its head, single spaced, and the text below it; in 80 columns."""
    console = Console(width=80, file=io.StringIO())
    print_table(console, outcomes)
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    table = [line for line in lines if not set(line) <= {"─"}]
    end = next(n for n, line in enumerate(table) if " published" in line or line.startswith("in /"))
    return table[1:end], "\n".join(table[end:])


def test_failed_models_are_named_with_what_they_lacked():
    """A model below its bar shows the metric and a cross; one that failed otherwise has a line too."""
    missed = Quality(data="held out", rows=9, metrics={"accuracy": 0.9801}, bar={"accuracy": 0.99})
    lines, text = show(
        Outcome("weak", error="below the bar", missed=missed, seconds=61.4),
        Outcome("broken", error="cannot be exported", seconds=3),
        Outcome("fine", (make_version("fine", 1, {"accuracy": 0.99}, {"accuracy": 0.99}),), seconds=9),
    )
    assert lines == [
        "weak refused accuracy 0.9801 ≥ 0.9900 ✗ 61 s",
        "broken refused - - - ✗ 3 s",
        "fine 1 accuracy 0.9900 ≥ 0.9900 ✓ 9 s",
    ]
    assert "1 of 3 published; failed: weak, broken" in text
    assert "in /models" in text


def test_metric_with_a_bar_that_was_not_measured_is_a_cross():
    """A missing figure counts as missed."""
    missed = Quality(data="held out", rows=9, metrics={"f1": 1.0}, bar={"accuracy": 0.99})
    lines, _ = show(Outcome("odd", error="below the bar", missed=missed))
    assert lines == ["odd refused accuracy - ≥ 0.9900 ✗ 0 s"]


def test_each_metric_with_a_bar_has_a_line_and_the_model_is_named_once():
    """Metrics without a bar are only in the record; where none has a bar, all are shown, without a mark."""
    lines, text = show(
        Outcome(
            "digits-classifier",
            (
                make_version(
                    "digits-classifier",
                    2,
                    {"psnr": 21.0, "gain": 9.0, "least_class_agreement": 0.9},
                    {"psnr": 20, "least_class_agreement": 0.88},
                ),
            ),
        ),
        Outcome("b", (make_version("b", 1, {"loss": 0.25}),)),
        Outcome("c", (make_version("c", 1),)),
    )
    assert lines == [
        "digits-classifier 2 psnr 21.0000 ≥ 20.0000 ✓ 0 s",
        "least_class_agreement 0.9000 ≥ 0.8800 ✓",
        "b 1 loss 0.2500 - 0 s",
        "c 1 - - - 0 s",
    ]
    assert "3 of 3 published" in text


def test_second_version_has_the_figure_of_the_first_in_a_column():
    """The table has the column only where there is a second version; the record always has both figures."""
    first = make_version("a", 1, {"accuracy": 0.995}, {"accuracy": 0.99})
    second = make_version("a", 2, {"accuracy": 0.991, "accuracy_fp32": 0.995}, {"accuracy": 0.99}, "int8")
    lines, _ = show(Outcome("a", (first, second)))
    assert lines == ["a 1 accuracy 0.9950 ≥ 0.9900 ✓ 0 s", "2 int8 accuracy 0.9910 0.9950 ≥ 0.9900 ✓"]
    record = as_record([Outcome("a", (first, second))])
    assert [entry["precision"] for entry in record["published"]] == [None, "int8"]
    assert record["published"][1]["quality"] == {"accuracy": 0.991, "accuracy_fp32": 0.995}
