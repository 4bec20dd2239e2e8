"""``sluice check``: what the server would do with any ONNX file, and why."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data

from export.check import check_file, free_batch, write_free_batch
from export.errors import ExportError
from export.runtime import Runtime
from sluice import main
from tests.support.models.graphs import build, double, look_up, mixing, triple_bf16, write_plain

FLOAT = TensorProto.FLOAT
REPOSITORY = Path(__file__).parents[2]
Writer = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def fixed(shape: list[int], reshape_to: list[int]) -> bytes:
    """y = 2 x, reshaped by a constant: the batch of 1 is in the shapes."""
    return build(
        [helper.make_node("Mul", ["x", "two"], ["z"]), helper.make_node("Reshape", ["z", "to"], ["y"])],
        [("x", FLOAT, shape)],
        [("y", FLOAT, [shape[0], *reshape_to[1:]])],
        {"two": np.array(2, np.float32), "to": np.array(reshape_to)},
    )


def summed() -> bytes:
    """y = x + the sum of all of x: right for one row only."""
    return build(
        [helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0), helper.make_node("Add", ["x", "s"], ["y"])],
        [("x", FLOAT, [1, 3])],
        [("y", FLOAT, [1, 3])],
    )


def counted() -> bytes:
    """y = x + the number of rows, of which the analysis does not know whether it matters."""
    return build(
        [
            helper.make_node("Shape", ["x"], ["shape"], start=0, end=1),
            helper.make_node("Cast", ["shape"], ["rows"], to=FLOAT),
            helper.make_node("Add", ["x", "rows"], ["y"]),
        ],
        [("x", FLOAT, [1, 3])],
        [("y", FLOAT, [1, 3])],
    )


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Writes a file, and a configuration beside its version, as a plain repository has it."""

    def write(content: bytes, config: str = "") -> Path:
        root = write_plain(tmp_path, "m", content)
        if config:
            (root / "m" / "config.pbtxt").write_text(config)
        return root / "m" / "1" / "model.onnx"

    return write


def shown(path: Path, capsys: Capture) -> tuple[int, str]:
    """The exit code, and what people read, in one line."""
    code = main(["check", str(path)])
    captured = capsys.readouterr()
    return code, " ".join((captured.out + captured.err).split())


def test_refused_type_is_told_with_its_tensors_and_what_to_do(write: Writer, capsys: Capture) -> None:
    """A list of maps, as classifiers of scikit-learn give it, is refused, with its type and the option of ZipMap."""
    labels = helper.make_node("ZipMap", ["p"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    value = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, []))
    graph = helper.make_graph(
        [labels],
        "zipmap",
        [helper.make_tensor_value_info("p", FLOAT, ["batch", 2])],
        [helper.make_value_info("y", helper.make_sequence_type_proto(value))],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    path = write(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    code, text = shown(path, capsys)
    assert code == 1
    assert "refused: tensor 'y' has the type seq(map(int64,tensor(float)))" in text
    assert "options={'zipmap': False}" in text
    assert main(["check", str(path), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert (record["serves"], record["rows"], record["tensors"][1]["name"]) == ("refused", None, "y")


@pytest.mark.parametrize("content", [b"", b"no model", double()[:-20]])
def test_what_cannot_be_loaded_ends_with_2(write: Writer, capsys: Capture, content: bytes) -> None:
    """What is no ONNX file is a usage error with the words of ONNX Runtime, and so is one that is not there."""
    path = write(content)
    code, text = shown(path, capsys)
    assert code == 2
    assert "model.onnx: ONNX Runtime cannot load the graph: " in text
    assert shown(path.with_name("absent.onnx"), capsys)[0] == 2


def custom() -> bytes:
    """An operator that no server has."""
    model = onnx.load_model_from_string(double())
    model.graph.node[0].domain = "my.operators"
    model.opset_import.append(helper.make_opsetid("my.operators", 1))
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b"", "it is no ONNX file, or not the whole: copy it again"),
        (b"PK\x03\x04 and more", "it looks like a file of PyTorch: `sluice export` publishes its models, from a spec"),
        (custom(), "export the model without custom ones"),
    ],
    ids=["empty", "of PyTorch", "custom operator"],
)
def test_what_cannot_be_loaded_is_told_with_what_to_do(
    write: Writer, capsys: Capture, content: bytes, advice: str
) -> None:
    """After the words of ONNX Runtime."""
    code, text = shown(write(content), capsys)
    assert (code, advice in text) == (2, True)


def test_what_is_no_file_is_told(tmp_path: Path, capsys: Capture) -> None:
    """A folder, a named pipe and a spec are told from an ONNX file; none of them is waited for."""
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "mine.py").write_text("spec = None")
    (tmp_path / "empty").mkdir()
    for name, advice in (
        ("pipe.onnx", "it is a named pipe: expected a file"),
        ("mine.py:spec", "this command is for ONNX files; `sluice export"),
        ("empty", "is empty: expected model.onnx"),
    ):
        code, text = shown(tmp_path / name, capsys)
        assert (code, advice in text) == (2, True), text


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))])
def test_no_bytes_end_in_a_traceback(write: Writer, capsys: Capture, seed: int) -> None:
    """Files with a few bytes changed, and cut ones, end with one of the three codes."""
    whole, path, draw = look_up(), write(b""), np.random.default_rng(seed)
    for _ in range(20):
        content = bytearray(whole[: draw.integers(len(whole)) if draw.random() < 0.3 else None])
        for place in draw.integers(0, max(1, len(content)), min(3, len(content))):
            content[place] = draw.integers(256)
        path.write_bytes(content)
        code, text = shown(path, capsys)
        assert code in (0, 1, 2)
        assert "a fault of this command" not in text


def test_name_that_the_terminal_cannot_show_is_shown_all_the_same(write: Writer) -> None:
    """Where the output is ASCII, a letter beyond it is escaped."""
    content = build([helper.make_node("Relu", ["größe"], ["y"])], [("größe", FLOAT, ["n"])], [("y", FLOAT, ["n"])])
    words = [sys.executable, "sluice.py", "check", str(write(content))]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"gr\xf6\xdfe" in done.stdout


def test_mixing_rows_are_told_with_the_node(write: Writer, capsys: Capture) -> None:
    """Exit code 1, the verdict, and the first node that mixes."""
    code, text = shown(write(mixing()), capsys)
    assert code == 1
    assert "does not batch: each request is a run of its own rows: mixing (ReduceMean 'mean': " in text


def test_proved_rows_are_told_with_axis_bits_and_values(write: Writer, capsys: Capture) -> None:
    """Exit code 0; where the rows lie, which ids a table has, and the bits on the provider that was tried."""
    code, text = shown(write(look_up()), capsys)
    assert code == 0
    assert "batches: rows of several requests share a run, along axis 0" in text
    assert "-4 to 3" in text
    assert "bits: exact on CPUExecutionProvider; the model's card has those of the provider that serves" in text


def test_sizes_at_which_it_ran_are_told(write: Writer, capsys: Capture) -> None:
    """A free axis besides the batch is named with a size that runs."""
    assert "it ran at width=8" in shown(write(double("width")), capsys)[1]


def test_record_for_programs_has_the_same_facts(write: Writer, capsys: Capture) -> None:
    """With --json: what the server does, verdict, reason, bits, and each tensor with the axis of its rows."""
    assert main(["check", str(write(double("width"))), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    facts = ("serves", "batches", "rows", "reason", "bits", "sizes", "refusal", "fixable")
    assert [record[name] for name in facts] == [
        "batches",
        True,
        "proved",
        "its one operator keeps rows apart",
        "exact",
        {"width": 8},
        "",
        False,
    ]
    assert [(t["name"], t["kind"], t["shape"], t["batch_axis"]) for t in record["tensors"]] == [
        ("x", "input", ["batch", "width"], 0),
        ("y", "output", ["batch", "width"], 0),
    ]


def test_graph_of_bf16_is_run_and_proved(write: Writer) -> None:
    """BF16, which NumPy has not, is analysed and run as any other type."""
    found = check_file(write(triple_bf16())).found
    assert (found.serves, found.bits.text) == ("batches", "exact")


@pytest.mark.parametrize(
    ("config", "serves", "note"),
    [
        ("max_batch_size: 4", "batches", ""),
        ("max_batch_size: 0", "whole", "max_batch_size of config.pbtxt is 0, so its requests share no batches"),
        ("max_batch_size: -1", "refused", "config.pbtxt"),
        ('input { name: "z" data_type: TYPE_FP32 dims: 3 }', "refused", "names an input 'z' that the graph has not"),
    ],
)
def test_configuration_beside_the_version_counts(
    write: Writer, capsys: Capture, config: str, serves: str, note: str
) -> None:
    """What Triton's config.pbtxt says is what the server would do, and what is in the way is told."""
    path = write(double(), config)
    assert check_file(path).found.serves == serves
    text = shown(path, capsys)[1]
    assert note in text
    assert ("at most 4 in one" in text) == (serves == "batches")


def test_configuration_counts_for_a_file_in_its_models_folder(tmp_path: Path) -> None:
    """A model without version folders has its configuration beside its file."""
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(double())
    (folder / "config.pbtxt").write_text("max_batch_size: 0")
    assert check_file(folder / "model.onnx").found.serves == "whole"


def test_weights_beside_the_file_are_read(write: Writer, capsys: Capture) -> None:
    """A file with its weights in another one is judged with them; without them it cannot be read."""
    model = onnx.load_model_from_string(double())
    convert_model_to_external_data(model, location="w.bin", size_threshold=0)
    path = write(b"")
    onnx.save_model(model, path)
    assert check_file(path).found.serves == "batches"
    path.with_name("w.bin").unlink()
    code, text = shown(path, capsys)
    assert code == 2
    assert "w.bin is not there" in text


def test_example_of_the_documentation_is_what_the_command_prints(tmp_path: Path, capsys: Capture) -> None:
    """docs/check.md shows the output for a graph that picks from a table of four entries."""
    example = (REPOSITORY / "docs" / "check.md").read_text().partition("```console\n")[2].partition("\n```")[0]
    command, _, output = example.partition("\n")
    content = build(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        [("ids", TensorProto.INT64, ["batch", "length"])],
        [("y", FLOAT, ["batch", "length"])],
        {"table": np.arange(4, dtype=np.float32)},
    )
    path = write_plain(tmp_path, "ranker", content) / command.removeprefix("$ sluice check models/")
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out.strip() == output.strip()


def test_check_needs_no_torch(write: Writer) -> None:
    """Where only the server is installed the command works."""
    code = "import sys; sys.modules['torch'] = None; from sluice import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "check", str(write(double()))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# The copy with a free batch


@pytest.mark.parametrize("to", [[1, 2, 2], [1, 4]])
def test_a_fixed_batch_is_freed_where_the_answers_stay(write: Writer, tmp_path: Path, to: list[int]) -> None:
    """The copy gives each row of a batch what the original gives it alone, and now batches."""
    path, copy = write(fixed([1, 4], to)), tmp_path / "free.onnx"
    assert check_file(path).fixable
    write_free_batch(path, copy)
    verdict = check_file(copy)
    assert (verdict.found.serves, verdict.fixable) == ("batches", False)
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(Runtime(copy.read_bytes()).run({"x": rows})["y"], (2 * rows).reshape(3, *to[1:]))


def test_a_batch_of_bf16_is_freed(write: Writer, tmp_path: Path) -> None:
    """Its rows are proved as those of any other type."""
    kind, copy = TensorProto.BFLOAT16, tmp_path / "free.onnx"
    content = build([helper.make_node("Identity", ["x"], ["y"])], [("x", kind, [1, 3])], [("y", kind, [1, 3])])
    write_free_batch(write(content), copy)
    assert check_file(copy).found.serves == "batches"


@pytest.mark.parametrize("make", [summed, counted])
def test_a_batch_that_is_built_in_deeper_is_not_freed(make: Callable[[], bytes]) -> None:
    """Rows that mix when the axis is free, or change in company, are refused; the advice is to export again."""
    with pytest.raises(ExportError, match="export the model again with a dynamic axis 0"):
        free_batch(make())


def test_a_batch_that_is_not_1_is_not_freed() -> None:
    """A free axis, or one of another size, is not what the option is for."""
    with pytest.raises(ExportError, match="axis 0 of every input and output must be 1"):
        free_batch(double())


def test_copy_stays_beside_weights_in_other_files(write: Writer, tmp_path: Path) -> None:
    """A copy elsewhere would not find them: it is not written, and the folder is named."""
    doubled = [helper.make_node("Mul", ["x", "two"], ["y"])]
    two = {"two": np.array(2, np.float32)}
    model = onnx.load_model_from_string(build(doubled, [("x", FLOAT, [1, 3])], [("y", FLOAT, [1, 3])], two))
    convert_model_to_external_data(model, location="w.bin", size_threshold=0)
    path = write(b"")
    onnx.save_model(model, path)
    with pytest.raises(ExportError, match=r"write the copy beside them, into .*m/1"):
        write_free_batch(path, tmp_path / "free.onnx")
    write_free_batch(path, path.with_name("free.onnx"))
    assert check_file(path.with_name("free.onnx")).found.serves == "batches"


def test_command_writes_the_copy_and_tells_of_it(write: Writer, tmp_path: Path, capsys: Capture) -> None:
    """Exit code 1 without batches and a hint at the option, 0 with it; nothing is written where it does not work."""
    source, copy = write(fixed([1, 4], [1, 2, 2])), tmp_path / "free.onnx"
    code, text = shown(source, capsys)
    assert (code, "try --free-batch" in text) == (1, True)
    assert main(["check", str(source), "--free-batch", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["serves"] == "batches"
    assert onnx.load(copy).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    source.write_bytes(summed())
    assert main(["check", str(source), "--free-batch", str(tmp_path / "none.onnx")]) == 2
    assert not (tmp_path / "none.onnx").exists()
