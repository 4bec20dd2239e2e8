"""What a ``config.pbtxt`` changes of a plain model, and what it leaves to the graph."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from model_store import Store
from model_store.errors import BadConfig
from service.errors import InvalidInput
from service.models.loading import LoadedVersion, load_version
from service.settings import Settings
from tests.support.models import graphs, triton_sequences
from tests.support.models.triton_models import model_of, tensor_text, write_model

FIRST = 'input { name: "x" }'
LAST = 'output { name: "y" }'


def load(root: Path, config: str | None, content: bytes, **files: str) -> LoadedVersion:
    write_model(root, "model", config, content, **files)
    return load_version(Store(root).find("model"), Settings(store=root, provider="cpu"))


def shapes_of(loaded: LoadedVersion) -> tuple[tuple[int | str, ...], ...]:
    """Of the first input and the first output."""
    return loaded.signature.graph.inputs[0].shape, loaded.signature.graph.outputs[0].shape


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ('input { name: "z" dims: [ 3 ] }', r"names an input 'z' that the graph does not have: expected one of x"),
        ('max_batch_size: 4 output { name: "x" dims: [ 3 ] }', "names an output 'x' that the graph does not have"),
        (f'{FIRST} output {{ name: "y" dims: [ -1, 4 ] }}', r"'y': expected dims that fit the graph's .*got \[-1, 4\]"),
        ('max_batch_size: 4 input { name: "x" dims: [ -1, 3 ] }', "after the batch of max_batch_size, got"),
        ('input { name: "x" data_type: TYPE_INT8 }', "input 'x': expected data_type FP32 like the graph's, got INT8"),
        ('backend: "python"', "backend 'python'"),
        ('output { name: "y" label_filename: "l.txt" }', "names the labels 'l.txt', which are not in the model"),
    ],
)
def test_configuration_that_does_not_fit_the_graph_is_refused(tmp_path: Path, config: str, text: str) -> None:
    """The model is not ready, and the reason has the tensor or field, what was expected and what came."""
    with pytest.raises(BadConfig, match=text):
        load(tmp_path, config, graphs.double())


@pytest.mark.parametrize(
    ("config", "batches"),
    [
        ("", True),
        (FIRST, True),
        (FIRST + LAST, False),
        ('max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 }', True),
        ('input { name: "x" dims: [ 3 ] }', True),
        ('output { name: "y" data_type: TYPE_FP32 dims: [ -1, 3 ] }', True),
        ('input { name: "x" dims: [ 1, 3 ] }', False),
        ('max_batch_size: 0 input { name: "x" data_type: TYPE_FP32 dims: [ -1, 3 ] }', False),
    ],
)
def test_what_is_left_out_is_as_in_the_graph(tmp_path: Path, config: str, batches: bool) -> None:
    """Names, types and sizes that are left out are the graph's; so is the batch, unless both sides are given."""
    loaded = load(tmp_path, config, graphs.double())
    assert loaded.signature.batches is batches
    assert [len(shape) for shape in shapes_of(loaded)] == [2, 2]
    rows = 4 if batches else 1
    [y] = loaded.session.run(loaded.signature.check({"x": np.ones((rows, 3), np.float32)}).inputs)
    assert y.tolist() == [[2.0, 2.0, 2.0]] * rows
    assert loaded.max_rows == (4 if "max_batch_size: 4" in config else 64 if batches else 1)


def test_shapes_and_labels_are_those_that_callers_see(tmp_path: Path) -> None:
    """Callers' shapes have the graph's elements in their order; each line of labels names a class of its output."""
    config = (
        'max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: [ 3, 1 ] reshape { shape: [ 3 ] } } '
        'output { name: "y" data_type: TYPE_FP32 dims: [ 1, 3 ] reshape { shape: [ 3 ] } label_filename: "l.txt" }'
    )
    loaded = load(tmp_path, config, graphs.double(), l__txt="cat\nnewt\nox\n")
    assert loaded.manifest.output_labels == {"y": ("cat", "newt", "ox")}
    rows = loaded.signature.check({"x": np.arange(6, dtype=np.float32).reshape(2, 3, 1)})
    assert (loaded.max_rows, rows.number) == (4, 2)
    assert loaded.session.run(rows.inputs)[0].tolist() == [[[0, 2, 4]], [[6, 8, 10]]]
    with pytest.raises(InvalidInput, match="expected shape"):  # the graph's own
        loaded.signature.check({"x": np.ones((2, 3), np.float32)})


def test_rows_that_are_numbers_are_seen_with_an_axis(tmp_path: Path) -> None:
    """A graph's [batch] is [batch, 1] for callers of a configured model that batches, as dims are never empty."""
    loaded = load(tmp_path, "max_batch_size: 8", graphs.scalars())
    assert shapes_of(loaded) == (("batch", 1), ("batch", 1))
    assert loaded.session.run({"x": np.ones((3, 1), np.float32)})[0].shape == (3, 1)
    with pytest.raises(InvalidInput, match=r"expected at most 8 rows, the max_batch_size .*, got 9"):
        loaded.signature.check({"x": np.ones((9, 1), np.float32)})


def test_batch_that_lies_elsewhere_is_not_shared(tmp_path: Path) -> None:
    """Where callers put their rows on another axis than the graph does, each request is a run of its own."""
    content = model_of(
        [helper.make_node("ReduceSum", ["x", "first"], ["y"], keepdims=0)],
        [("x", "FP32", ["time", "batch", 3])],
        [("y", "FP32", ["batch", 3])],
        {"first": np.array([0])},
    )
    assert load(tmp_path / "plain", None, content).signature.axes == {"x": 1}
    loaded = load(tmp_path / "triton", "max_batch_size: 8\n" + tensor_text("input", "x", "FP32", (-1, 3)), content)
    assert not loaded.signature.batches
    assert loaded.session.run({"x": np.ones((2, 5, 3), np.float32)})[0].tolist() == [[2.0] * 3] * 5


def test_rows_that_mix_are_limited_by_the_configuration_too(tmp_path: Path) -> None:
    """A model that is never batched takes as many rows of one request as max_batch_size says, equal in all inputs."""
    nodes = [helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=1), helper.make_node("Add", ["mean", "z"], ["y"])]
    content = model_of(nodes, [("x", "FP32", [None, 2]), ("z", "FP32", [None, 2])], [("y", "FP32", [None, 2])])
    loaded = load(tmp_path, "max_batch_size: 2", content)
    assert (loaded.signature.batches, loaded.rows.verdict) == (False, "mixing")
    two = np.ones((2, 2), np.float32)
    assert loaded.signature.check({"x": two, "z": two}).number == 1
    with pytest.raises(InvalidInput, match="expected as many rows in each, got x 2, z 1"):
        loaded.signature.check({"x": two, "z": two[:1]})
    with pytest.raises(InvalidInput, match="at most 2 rows"):
        loaded.signature.check({"x": two.repeat(2, 0), "z": two.repeat(2, 0)})


def shifted_table() -> bytes:
    """y = table[x - 100] of 10, 11, 12, 13: no value that anybody would make up for x is one that it takes."""
    nodes = [helper.make_node("Sub", ["x", "hundred"], ["at"]), helper.make_node("Gather", ["table", "at"], ["y"])]
    constants = {"hundred": np.array(100), "table": np.array([10, 11, 12, 13], np.float32)}
    return model_of(nodes, [("x", "INT64", ["batch", 2])], [("y", "FP32", ["batch", 2])], constants)


def of_width(width: int) -> bytes:
    """y [batch, 2] = x [batch, free] times a matrix, which takes this width only."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    weights = {"w": np.ones((width, 2), np.float32)}
    return model_of([node], [("x", "FP32", ["batch", "width"])], [("y", "FP32", ["batch", 2])], weights)


def warmup(inner: str, batch_size: int = 1, count: int = 1) -> str:
    inputs = f'inputs {{ key: "x" value {{ {inner} }} }}'
    return f'model_warmup [ {{ name: "sample" batch_size: {batch_size} count: {count} {inputs} }} ]'


def test_warm_up_runs_what_nobody_could_make_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A model that only runs on the samples of its configuration serves tested; a count of a billion is cut short."""
    untested = load(tmp_path / "plain", None, shifted_table())
    assert "serves untested" in caplog.text
    assert untested.cost.predict(1) == 0.0
    caplog.clear()
    numbers = np.array([100, 103, 7, 7], "<i8").tobytes()  # what follows the first two is passed over
    folder = tmp_path / "triton/model/warmup"
    folder.mkdir(parents=True)
    (folder / "numbers").write_bytes(numbers)
    config = "max_batch_size: 4\n" + warmup('data_type: TYPE_INT64 dims: [ 2 ] input_data_file: "numbers"', 2, 10**9)
    loaded = load(tmp_path / "triton", config, shifted_table())
    assert loaded.cost.predict(1) > 0
    assert "untested" not in caplog.text


@pytest.mark.long
def test_shapes_of_a_warm_up_are_those_that_the_graph_is_analysed_at(tmp_path: Path) -> None:
    """A size that a graph needs and does not declare is found in the samples, so its rows are proved independent."""
    assert load(tmp_path / "plain", None, of_width(37)).rows.verdict == "unknown"
    config = "max_batch_size: 4\n" + warmup("data_type: TYPE_FP32 dims: [ 37 ] random_data: true")
    loaded = load(tmp_path / "triton", config, of_width(37))
    assert (loaded.rows.verdict, loaded.signature.batches) == ("proved", True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("INT8 dims: [ 3 ] zero_data: true", "'x': expected FP32, got INT8"),
        ("FP32 dims: [ 4 ] zero_data: true", "'x': expected dims that fit ['batch', 3], got [4]"),
        ("FP32 dims: [ 3, 3, 3 ] zero_data: true", "expected dims that fit ['batch', 3], got [3, 3, 3]"),
        ('FP32 dims: [ 3 ] input_data_file: "none"', "names warmup/none, which is not in the folder"),
        (
            'FP32 dims: [ 3 ] zero_data: true } } inputs { key: "z" value { data_type: TYPE_FP32 zero_data: true',
            "names the inputs z: expected those of the graph",
        ),
    ],
)
def test_warm_up_that_is_unfit_is_out(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, reason: str) -> None:
    """The log says why, and the model serves as if there were none."""
    loaded = load(tmp_path, "max_batch_size: 4\n" + warmup(f"data_type: TYPE_{text}"), graphs.double())
    assert loaded.signature.batches
    assert "model_warmup 'sample' is left out: " in caplog.text
    assert reason in caplog.text


def test_warm_up_that_fails_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Inputs on which the graph fails are named in the log, and the model serves."""
    config = "max_batch_size: 4\n" + warmup("data_type: TYPE_INT64 dims: [ 1 ] random_data: true")
    assert load(tmp_path / "table", config, graphs.look_up()).signature.batches
    assert "model_warmup" not in caplog.text  # random numbers for a table are places in it
    config = config.replace("[ 1 ]", "[ 2 ]")
    load(tmp_path / "shifted", config, shifted_table())
    assert "model_warmup 'sample' of its configuration: the graph fails" in caplog.text


def test_warm_up_of_sequences_has_what_the_server_fills_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Samples name what callers send; states begin as they do, and controls tell of a request."""
    for max_rows in (4, 0):
        name = triton_sequences.write_accumulator(tmp_path, "INT32", max_rows, name=f"model_{max_rows}")
        config = tmp_path / name / "config.pbtxt"
        config.write_text(config.read_text() + warmup("data_type: TYPE_INT32 dims: [ 1 ] random_data: true", 4))
        loaded = load_version(Store(tmp_path).find(name), Settings(store=tmp_path, provider="cpu"))
        assert loaded.sequence_rules is not None
    assert "model_warmup" not in caplog.text
