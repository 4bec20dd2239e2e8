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
from tests.support.models.graphs import double, look_up, mixing, write_plain
from tests.support.models.text import make_model, parse

FLOAT = TensorProto.FLOAT
REPOSITORY = Path(__file__).parents[2]
Writer = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def fixed(shape: list[int], reshape_to: list[int]) -> bytes:
    """y = 2 x, reshaped by a constant: the batch of 1 is in the shapes."""
    signature = f"float{shape} x => float{[shape[0], *reshape_to[1:]]} y"
    return make_model(signature, f"z = Mul(x, 2.0) y = Reshape(z, {reshape_to})")


def summed() -> bytes:
    """y = x + the sum of all of x: right for one row only."""
    return make_model("float[1,3] x => float[1,3] y", "s = ReduceSum<keepdims=0>(x) y = Add(x, s)")


def counted() -> bytes:
    """y = x + the number of rows, of which the analysis does not know whether it matters."""
    body = "shape = Shape<start=0, end=1>(x) rows = Cast<to=1>(shape) y = Add(x, rows)"
    return make_model("float[1,3] x => float[1,3] y", body)


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


def test_refused_type_is_reported_with_its_tensors_and_what_to_do(write: Writer, capsys: Capture) -> None:
    """A list of maps, as scikit-learn's classifiers give it, is refused with its type and the option of ZipMap."""
    node = "y = ai.onnx.ml.ZipMap<classlabels_int64s=[0, 1]>(p)"
    signature = "float[batch,2] p => seq(map(int64,float)) y"
    path = write(parse(signature, node, {}, {"": 20, "ai.onnx.ml": 3}).SerializeToString())
    code, text = shown(path, capsys)
    assert code == 1
    assert "refused: tensor 'y' has the type seq(map(int64,tensor(float)))" in text
    assert "options={'zipmap': False}" in text
    assert main(["check", str(path), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert (record["serves"], record["rows"], record["tensors"][1]["name"]) == ("refused", None, "y")


@pytest.mark.parametrize("content", [b"", b"no model", double()[:-20]])
def test_what_cannot_be_loaded_ends_with_2(write: Writer, capsys: Capture, content: bytes) -> None:
    """A file that is no ONNX file, or is not there, is a usage error with ONNX Runtime's words."""
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
        (b"", "it is empty: copy it again"),
        (b"PK\x03\x04 and more", "it looks like a file of PyTorch: `sluice export` publishes its models, from a spec"),
        (custom(), "export the model without custom ones"),
    ],
    ids=["empty", "of PyTorch", "custom operator"],
)
def test_what_cannot_be_loaded_is_reported_with_what_to_do(
    write: Writer, capsys: Capture, content: bytes, advice: str
) -> None:
    """The advice follows ONNX Runtime's words."""
    code, text = shown(write(content), capsys)
    assert (code, advice in text) == (2, True)


def test_what_is_no_file_is_reported(tmp_path: Path, capsys: Capture) -> None:
    """A folder, a named pipe and a spec are recognised, and the command does not wait for them."""
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
    """Cut files and files with changed bytes end with exit code 0, 1 or 2."""
    whole, path, draw = look_up(), write(b""), np.random.default_rng(seed)
    for _ in range(20):
        content = bytearray(whole[: draw.integers(len(whole)) if draw.random() < 0.3 else None])
        for place in draw.integers(0, max(1, len(content)), min(3, len(content))):
            content[place] = draw.integers(256)
        path.write_bytes(content)
        code, text = shown(path, capsys)
        assert code in (0, 1, 2)
        assert "the check itself failed" not in text


def test_name_that_the_terminal_cannot_show_is_shown_all_the_same(write: Writer) -> None:
    """Letters beyond ASCII are escaped where the output is ASCII."""
    model = onnx.load_from_string(double())
    model.graph.input[0].name = model.graph.node[0].input[0] = "größe"
    words = [sys.executable, "sluice.py", "check", str(write(model.SerializeToString()))]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"gr\xf6\xdfe" in done.stdout


def test_mixing_rows_are_reported_with_the_node(write: Writer, capsys: Capture) -> None:
    """The command ends with 1 and names the first node that mixes."""
    code, text = shown(write(mixing()), capsys)
    assert code == 1
    assert "does not batch: each request is a run of its own rows: mixing (ReduceMean 'mean': " in text


def test_proved_rows_are_reported_with_axis_bits_and_values(write: Writer, capsys: Capture) -> None:
    """The command ends with 0 and shows the batch axis, the range of ids and the bits."""
    code, text = shown(write(look_up()), capsys)
    assert code == 0
    assert "batches: rows of several requests share a run, along axis 0" in text
    assert "-4 to 3" in text
    assert "bits: exact on CPUExecutionProvider; the model's card shows those of the provider that serves" in text


def test_sizes_at_which_it_ran_are_reported(write: Writer, capsys: Capture) -> None:
    """A free axis besides the batch is shown with a size that runs."""
    assert "it ran at width=8" in shown(write(double("width")), capsys)[1]


def test_record_for_programs_has_the_same_facts(write: Writer, capsys: Capture) -> None:
    """--json gives what the server does, verdict, reason, bits, and the batch axis of each tensor."""
    assert main(["check", str(write(double("width"))), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    facts = ("serves", "batches", "rows", "reason", "bits", "sizes", "refusal", "fixable")
    assert [record[name] for name in facts] == [
        "batches",
        True,
        "proved",
        "its only operator keeps rows apart",
        "exact",
        {"width": 8},
        "",
        False,
    ]
    assert [(t["name"], t["kind"], t["shape"], t["batch_axis"]) for t in record["tensors"]] == [
        ("x", "input", ["batch", "width"], 0),
        ("y", "output", ["batch", "width"], 0),
    ]


@pytest.mark.parametrize(
    ("config", "serves", "note"),
    [
        ("max_batch_size: 4", "batches", ""),
        ("max_batch_size: 0", "whole", "max_batch_size of config.pbtxt is 0, so requests share no batches"),
        ("max_batch_size: -1", "refused", "config.pbtxt"),
        (
            'input { name: "z" data_type: TYPE_FP32 dims: 3 }',
            "refused",
            "names an input 'z' that the graph does not have",
        ),
    ],
)
def test_configuration_beside_the_version_counts(
    write: Writer, capsys: Capture, config: str, serves: str, note: str
) -> None:
    """The command follows Triton's config.pbtxt as the server does, and says what is wrong with it."""
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


def test_example_of_the_documentation_is_what_the_command_prints(tmp_path: Path, capsys: Capture) -> None:
    """docs/check.md shows the output for a graph that picks from a table of four entries."""
    example = (REPOSITORY / "docs" / "check.md").read_text().partition("```console\n")[2].partition("\n```")[0]
    command, _, output = example.partition("\n")
    content = make_model("int64[batch,length] ids => float[batch,length] y", "y = Gather([0.0,1.0,2.0,3.0], ids)")
    path = write_plain(tmp_path, "ranker", content) / command.removeprefix("$ sluice check models/")
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out.strip() == output.strip()


def test_check_needs_no_torch(write: Writer) -> None:
    """The command works where only the server is installed."""
    code = "import sys; sys.modules['torch'] = None; from sluice import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "check", str(write(double()))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# The copy with a free batch


@pytest.mark.parametrize("to", [[1, 2, 2], [1, 4]])
def test_a_fixed_batch_is_freed_where_the_answers_stay(write: Writer, tmp_path: Path, to: list[int]) -> None:
    """The copy batches, and gives each row what the original gives it alone."""
    path, copy = write(fixed([1, 4], to)), tmp_path / "free.onnx"
    assert check_file(path).fixable
    write_free_batch(path, copy)
    verdict = check_file(copy)
    assert (verdict.found.serves, verdict.fixable) == ("batches", False)
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(Runtime(copy.read_bytes()).run({"x": rows})["y"], (2 * rows).reshape(3, *to[1:]))


def test_a_batch_of_bf16_is_freed(write: Writer, tmp_path: Path) -> None:
    """BF16 rows are proved like rows of other types."""
    copy = tmp_path / "free.onnx"
    write_free_batch(write(make_model("bfloat16[1,3] x => bfloat16[1,3] y", "y = Identity(x)")), copy)
    assert check_file(copy).found.serves == "batches"


@pytest.mark.parametrize("make", [summed, counted])
def test_a_batch_that_is_built_in_deeper_is_not_freed(make: Callable[[], bytes]) -> None:
    """Rows that mix when the axis is free are refused, and the advice is to export again."""
    with pytest.raises(ExportError, match="export the model again with a dynamic axis 0"):
        free_batch(make())


def test_a_batch_that_is_not_1_is_not_freed() -> None:
    """The option is for a batch axis of 1 only."""
    with pytest.raises(ExportError, match="expected axis 0 of every input and output to be 1"):
        free_batch(double())


def test_copy_stays_beside_weights_in_other_files(write: Writer, tmp_path: Path) -> None:
    """A copy elsewhere would not find its weights, so it is refused, and the message names the folder."""
    model = onnx.load_model_from_string(make_model("float[1,3] x => float[1,3] y", "y = Mul(x, 2.0)"))
    convert_model_to_external_data(model, location="w.bin", size_threshold=0)
    path = write(b"")
    onnx.save_model(model, path)
    with pytest.raises(ExportError, match=r"write the copy beside them, in .*m/1"):
        write_free_batch(path, tmp_path / "free.onnx")
    write_free_batch(path, path.with_name("free.onnx"))
    assert check_file(path.with_name("free.onnx")).found.serves == "batches"


def test_command_writes_the_copy_and_tells_of_it(write: Writer, tmp_path: Path, capsys: Capture) -> None:
    """Without the option the command ends with 1 and a hint; with it a copy is written, where that is right."""
    source, copy = write(fixed([1, 4], [1, 2, 2])), tmp_path / "free.onnx"
    code, text = shown(source, capsys)
    assert (code, "try --free-batch" in text) == (1, True)
    assert main(["check", str(source), "--free-batch", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["serves"] == "batches"
    assert onnx.load(copy).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    source.write_bytes(summed())
    assert main(["check", str(source), "--free-batch", str(tmp_path / "none.onnx")]) == 2
    assert not (tmp_path / "none.onnx").exists()
