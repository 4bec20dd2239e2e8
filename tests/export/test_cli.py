import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from export import cli
from model_store import DEFAULT_ROOT, Store

pytestmark = pytest.mark.usefixtures("export_once")

SPEC = """
import torch
from export import ExportSpec

def build():
    torch.manual_seed(0)
    return torch.nn.Linear(4, 3)

{extra}
spec = ExportSpec(
    name="mine", task="tensors", module=build, inputs={{"x": torch.linspace(-1, 1, 12).reshape(3, 4)}}, outputs=("y",)
)
def make():
    return spec
number = 3
def fail():
    raise RuntimeError("no data here")
"""


def run(command, *words):
    parser = argparse.ArgumentParser()
    declare, execute = {"train": (cli.train_arguments, cli.train), "export": (cli.export_arguments, cli.export_model)}[
        command
    ]
    declare(parser)
    return execute(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def source(tmp_path) -> Path:
    pytest.importorskip("torch")
    path = tmp_path / "mine.py"
    path.write_text(SPEC.format(extra=""))
    return path


def test_unknown_model_is_a_usage_error_that_says_what_there_is(tmp_path, capsys):
    """``sluice train nope`` ends with 2, names the models that exist, and makes no store."""
    assert run("train", "nope", "--store", tmp_path / "s") == 2
    assert "no reference model 'nope': there are date-translator, diabetes-regressor" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("words", [[], ["digits-classifier", "--all"]], ids=["none", "both"])
def test_train_wants_names_or_all(words, capsys):
    """Neither names nor --all, or both, is a usage error."""
    assert run("train", *words) == 2
    assert "expected names of models or --all" in capsys.readouterr().err


def test_missing_torch_names_the_extra_to_install(tmp_path):
    """Where torch cannot be imported the command ends with 2 and the line that installs it."""
    code = (
        "import sys, argparse; sys.modules['torch'] = None; from export import cli; "
        f"sys.exit(cli.train(argparse.Namespace(names=['digits-classifier'], all=False, seed=0, json=False, "
        f"store={str(tmp_path)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'sluice-serving[cpu,export]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("absent", "defines no 'absent'"), ("number", "got int"), ("not-a-name", "expected an existing Python file")],
)
def test_source_that_names_no_spec_is_a_usage_error(source, capsys, name, complaint):
    """A name that is missing, or is no spec, ends with 2, and the message says what was expected."""
    assert run("export", f"{source}:{name}") == 2
    assert complaint in capsys.readouterr().err


def test_file_that_does_not_exist_is_a_usage_error(tmp_path, capsys):
    """The message shows the form of the argument."""
    pytest.importorskip("torch")
    assert run("export", f"{tmp_path}/absent.py:spec") == 2
    assert "such as model.py:spec" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "name", "complaint"),
    [
        ("1 / 0", "spec", "mine.py, line 9: ZeroDivisionError"),
        ("", "fail", "RuntimeError: no data here"),
        ("ExportSpec(name='', task='tensors', module=build, inputs={}, outputs=())", "spec", "name ''"),
        ("x = = 1", "spec", "line 9: SyntaxError"),
    ],
    ids=["raises", "function raises", "bad spec", "syntax"],
)
def test_file_that_fails_is_reported_with_its_line(source, tmp_path, capsys, extra, name, complaint):
    """An error in the caller's file ends with 1 and its line, and nothing is published."""
    source.write_text(SPEC.format(extra=extra))
    assert run("export", f"{source}:{name}", "--store", tmp_path / "s", "--json") == 1
    streams = capsys.readouterr()
    assert complaint in streams.err
    assert complaint in json.loads(streams.out)["failed"][0]["error"]
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("name", ["spec", "make"])
def test_export_publishes_the_spec_of_a_file(source, tmp_path, capsys, name):
    """A spec, or a function that returns one, is published, and --json shows the result."""
    assert run("export", f"{source}:{name}", "--store", tmp_path / "s", "--json") == 0
    (published,) = json.loads(capsys.readouterr().out)["published"]
    assert (published["name"], published["version"]) == ("mine", 1)
    assert published["files"] == {f: d.sha256 for f, d in Store(tmp_path / "s").find("mine").verify().files.items()}


def test_export_shows_steps_and_a_table(source, tmp_path, capsys):
    """Each stage is shown on standard error, and the version on standard output."""
    assert run("export", f"{source}:spec", "--store", tmp_path / "s") == 0
    streams = capsys.readouterr()
    assert "✓ mine: parity with PyTorch" in streams.err
    assert "mine" in streams.out


SAMPLES = """
draw = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
def measure(predict):
    y = predict({"x": draw.numpy()})["y"]
    with torch.no_grad():
        error = float(abs(y - build()(draw).numpy()).max())
    return Quality(data="made up", rows=64, metrics={"closeness": 1 - error}, bar={"closeness": LEAST})
"""


@pytest.fixture
def measured(source):
    """The same model with samples, and a quality that only full precision takes to LEAST, if that is high."""

    def write(least):
        text = SPEC.format(extra=SAMPLES.replace("LEAST", str(least)))
        text = text.replace("import torch\n", "import torch\nfrom model_store.manifest import Quality\n", 1)
        source.write_text(text.replace('outputs=("y",)', 'outputs=("y",), samples={"x": draw}, quality=measure'))
        return f"{source}:spec"

    return write


@pytest.mark.long
def test_precision_makes_a_second_version_with_both_figures_side_by_side(measured, tmp_path, capsys):
    """Two versions are published; the table shows the metrics of both."""
    assert run("export", measured(0.5), "--store", tmp_path / "s", "--precision", "int8") == 0
    out = capsys.readouterr().out
    first, second = (line.split() for line in out.splitlines() if "closeness" in line)
    assert first[:-2] == ["mine", "1", "closeness", "1.0000", "≥", "0.5000", "✓"]
    assert second[:3] == ["2", "int8", "closeness"]
    assert second[4:] == ["1.0000", "≥", "0.5000", "✓"]
    assert 0.5 < float(second[3]) < 1.0
    assert "1 of 1 published" in out
    assert len(Store(tmp_path / "s").versions("mine")) == 2


def test_precision_below_the_bar_leaves_the_first_version_and_ends_with_1(measured, tmp_path, capsys):
    """The first version stays; the table and the record show the second's figure and the bar it missed."""
    source = measured(0.99999)
    assert run("export", source, "--store", tmp_path / "s", "--precision", "int8") == 1
    streams = capsys.readouterr()
    assert "mine was not published again, after version 1: mine: below the bar" in streams.err
    assert "0 of 1 published; failed: mine" in streams.out
    (line,) = [line for line in streams.out.splitlines() if "refused" in line]
    assert "closeness" in line
    assert "✗" in line
    assert run("export", source, "--store", tmp_path / "s", "--precision", "int8", "--json") == 1
    record = json.loads(capsys.readouterr().out)
    assert [entry["version"] for entry in record["published"]] == [2]
    assert record["failed"][0]["quality"]["closeness"] < 0.99999 == record["failed"][0]["bar"]["closeness"]


def test_refused_model_ends_with_1_and_the_failed_stage(source, tmp_path, capsys):
    """The stage that refused the model has a cross."""
    text = "class Mixed(torch.nn.Module):\n    def forward(self, x):\n        return x - x.mean(0, keepdim=True)\n"
    source.write_text(SPEC.format(extra=text).replace("torch.nn.Linear(4, 3)", "Mixed()"))
    assert run("export", f"{source}:spec", "--store", tmp_path / "s") == 1
    error = capsys.readouterr().err
    assert "✗ mine: rows alone and in batches" in error
    assert "mine was not published: mine: rows influence each other" in error


def test_store_is_found_in_the_argument_then_the_environment_then_the_project(tmp_path):
    """--store wins over SLUICE_STORE, which wins over the reference models; an empty variable counts as unset."""
    assert cli.find_root(tmp_path, {"SLUICE_STORE": "/elsewhere"}) == tmp_path
    assert cli.find_root(None, {"SLUICE_STORE": str(tmp_path)}) == tmp_path
    assert cli.find_root(None, {"SLUICE_STORE": ""}) == DEFAULT_ROOT
    assert cli.find_root(None, {}) == DEFAULT_ROOT


def test_file_that_ends_the_program_is_reported_like_one_that_fails(source, tmp_path, capsys):
    """A call of ``sys.exit`` in the caller's file is reported with its line."""
    source.write_text("import sys\nsys.exit('usage: mine.py')\n")
    assert run("export", f"{source}:spec", "--store", tmp_path / "s") == 1
    assert "mine.py, line 2: SystemExit: usage: mine.py" in " ".join(capsys.readouterr().err.split())
