"""The benchmark of the engine, tried on the CPU."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks.gpu import Point, Sweep, main, name_of, put_figures, write_markdown
from benchmarks.load import Load
from service.engine.onnx.providers import CPU, NAMES
from service.errors import ModelFailure, NotReady
from tests.support.models import graphs


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return graphs.write_plain(tmp_path, "double", graphs.double()) / "double" / "1" / "model.onnx"


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_machine_without_a_gpu_skips_and_says_why(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing measured, nothing written, no failure: a machine without a GPU is no broken one."""
    monkeypatch.setattr(gpu, "find_lacking_gpu", lambda available: "there is no NVIDIA GPU")
    assert run(file, "--output", tmp_path / "gpu.md") == 0
    assert capsys.readouterr().out.startswith("skipped: there is no NVIDIA GPU.")
    assert not (tmp_path / "gpu.md").exists()


def test_trial_on_the_cpu_measures_and_writes_no_file(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same program runs on the CPU; its figures are shown, and never become those of a GPU."""
    page = tmp_path / "gpu.md"
    page.write_text("# Page\n")
    assert run("--provider", "cpu", "--batches", "1,4", "--seconds", "0.001", "--output", page, file) == 0
    shown = capsys.readouterr().out
    assert "### double/1 on CPUExecutionProvider" in shown
    assert "| batch | bare, ms | bare, rows/s | bound : bare |" in shown
    assert "- engine, bare:" in shown
    assert "- engine, bound:" in shown
    assert page.read_text() == "# Page\n"


@pytest.mark.parametrize("content", [graphs.one_at_a_time(), graphs.look_up(), graphs.add(), graphs.double("width")])
def test_graphs_of_every_kind_are_measured(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a batch axis, with indices, with several inputs, with an open axis."""
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert run("--provider", "cpu", "--batches", "2", "--seconds", "0.001", path) == 0
    assert "### m on CPUExecutionProvider" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"not onnx"])
def test_file_that_cannot_be_measured_is_a_failure(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing or broken file ends with 1 and one line."""
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    assert run("--provider", "cpu", path) == 1
    assert capsys.readouterr().err.startswith("sluice bench --gpu: ")


@pytest.mark.parametrize("words", [["--batches", "0"], ["--batches", "a"], ["--seconds", "0"], ["--seconds", "x"], []])
def test_wrong_words_are_a_usage_error(words: list[str]) -> None:
    """A size or length that cannot be meant, or no file at all, is reported before anything is measured."""
    with pytest.raises(SystemExit, match="2"):
        main([*words, "m.onnx"] if words else [])


SWEEP = Sweep(
    "net",
    NAMES["cuda"],
    (Point(1, {"bare": 2e-3, "bound": 1e-3}), Point(4, {"bare": 4e-3, "bound": 4e-3})),
    {"bare": 500.0, "bound": 900.0},
)


def test_share_is_of_the_best_bare_batch() -> None:
    """The engine is held against what ONNX Runtime does at its best batch size, not against a slow one."""
    assert SWEEP.best.rows == 4
    assert SWEEP.share("bound") == 0.9


def test_tables_say_what_was_measured() -> None:
    """Times, rates and ratios of medians, with the machine above them."""
    text = write_markdown([SWEEP], ["- machine: a GPU"])
    assert text.startswith("- machine: a GPU\n\n### net on CUDAExecutionProvider\n")
    assert "| 1 | 2.000 | 500 | 2.00x |" in text
    assert "| 4 | 4.000 | 1,000 | 1.00x |" in text
    assert "- engine, bound: 900 rows/s with requests of one row, 0.90 of the best bare batch (4 rows)" in text


def test_page_keeps_what_people_wrote() -> None:
    """Only what lies between the marks is replaced; a page without marks gets them at its end."""
    page = put_figures("# Title\n\nText.\n", "first")
    assert page.startswith("# Title\n\nText.\n\n<!--")
    again = put_figures(page + "\nMore text.\n", "second")
    assert "first" not in again
    assert again.count("second") == again.count(gpu.BEGIN) == again.count(gpu.END) == 1
    assert again.startswith("# Title\n\nText.\n")
    assert again.endswith("\nMore text.\n")


def test_figures_of_a_gpu_are_written_to_the_page(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a GPU the page gets the tables, and a folder for it is made."""
    monkeypatch.setattr(gpu, "find_lacking_gpu", lambda available: "")
    monkeypatch.setattr(gpu, "measure", lambda *args: SWEEP)
    page = tmp_path / "docs" / "gpu.md"
    assert run(file, "--output", page, "--commit", "abc") == 0
    assert "### net on CUDAExecutionProvider" in page.read_text()
    assert "commit abc" in page.read_text()


def test_engine_that_fails_is_not_a_figure() -> None:
    """A caller that gets an error ends the round with it, rather than being counted as answered."""

    class Failing:
        def submit(self, rows: object, done: object) -> None:
            asyncio.get_running_loop().call_soon(done, ModelFailure("broken"))  # type: ignore[arg-type]

    async def drive() -> float:
        load = Load(Failing(), None, 60.0)  # type: ignore[arg-type]
        return await load.run(3)

    with pytest.raises(NotReady, match="the engine failed on the benchmark's own rows"):
        asyncio.run(drive())


def test_files_are_called_as_people_know_them() -> None:
    """A version in a store by model and number, any other file by its own name."""
    assert name_of(Path("models/digits/3/main.onnx")) == "digits/3"
    assert name_of(Path("networks/resnet50-fp16.onnx")) == "resnet50-fp16"


def test_calls_take_turns_and_run_at_least_once_a_round() -> None:
    """Every mode is measured in every round, so that a slow moment of the machine falls on all of them."""
    seen: list[str] = []
    times = gpu.time_alternately({m: lambda m=m: seen.append(m) for m in ("a", "b")}, 0.0)  # type: ignore[misc]
    assert seen == ["a", "b"] * (1 + gpu.ROUNDS)
    assert times.keys() == {"a", "b"}
    assert all(np.isfinite(t) and t >= 0 for t in times.values())


def test_cpu_has_no_graphs() -> None:
    """CUDA graphs are a mode only where they were really captured."""
    modes = gpu.open_modes(graphs.double(), "cpu", 4, tf32=False)
    assert list(modes) == ["bare", "bound"]
    assert all(session.provider == CPU for session in modes.values())
