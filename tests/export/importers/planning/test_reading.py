"""Models that read are imported: their symbols, the height of a line, and what must be said."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from model_store import Store
from model_store.texts.symbols import find_symbols
from tests.export.importers.publishing import run_import
from tests.support.models.text import make_model

SAID = ["--task", "predict_sequence", "--scale", "1/100", "--multiple", "4"]


def write_reader(folder: Path, characters: str | None = None, softmax: bool = True, symbols: int = 3) -> Path:
    """A step for each column of a line of four pixels: the nearer its level to a symbol's, the higher the score."""
    content = make_model(
        f"float[batch,1,4,width] x => float[batch,width,{symbols}] y",
        f"""
        line = ReduceMean<keepdims=0>(x, axes) level = Unsqueeze(line, last) far = Sub(level, places) size = Abs(far)
        scaled = Mul(size, strength) y = {"Softmax(scaled)" if softmax else "Add(scaled, strength)"}
        """,
        axes=np.array([1, 2]),
        last=np.array([2]),
        places=np.arange(symbols, dtype=np.float32),
        strength=np.float32(-20),
    )
    model = onnx.load_model_from_string(content)
    if characters is not None:
        model.metadata_props.add(key="character", value=characters)
    path = folder / "reader.onnx"
    onnx.save(model, path)
    return path


def test_reader_is_imported_with_a_file_of_symbols(tmp_path: Path) -> None:
    """The symbols are a file of the version, the height is the graph's, and the width is free."""
    (tmp_path / "symbols.txt").write_text("\na\nb\n")
    more = ["--symbols", tmp_path / "symbols.txt", "--narrowest", "8"]
    assert run_import(write_reader(tmp_path), *SAID, *more, "--store", tmp_path / "store") == 0
    manifest, files = Store(tmp_path / "store").find("reader").read_all()
    assert manifest.reading is not None
    assert manifest.image is not None
    assert find_symbols(manifest, files) == ("", "a", "b")
    assert (manifest.reading.scores, manifest.reading.blank) == ("probabilities", 0)
    assert (manifest.image.height, manifest.image.width, manifest.image.narrowest) == (4, None, 8)
    assert (manifest.image.multiple, manifest.image.resize) == (4, "fit")


@pytest.mark.parametrize(("size", "symbols"), [(3, ("", "é", "b")), (4, ("", "é", "b", " "))])
def test_reader_of_paddleocr_says_all_itself(tmp_path: Path, size: int, symbols: tuple[str, ...]) -> None:
    """Its metadata has the symbols without the blank, and without the space where there is one."""
    path = write_reader(tmp_path, "é\nb", symbols=size)
    assert run_import(path, "--store", tmp_path / "store") == 0
    manifest, files = Store(tmp_path / "store").find("reader").read_all()
    assert find_symbols(manifest, files) == symbols
    assert manifest.task == "predict_sequence"


def test_scores_of_any_size_are_logits(tmp_path: Path) -> None:
    """They are no probabilities, so the server makes them."""
    (tmp_path / "symbols.txt").write_text("\na\nb\n")
    more = ["--symbols", tmp_path / "symbols.txt", "--store", tmp_path / "store"]
    assert run_import(write_reader(tmp_path, softmax=False), *SAID, *more) == 0
    manifest, _ = Store(tmp_path / "store").find("reader").read_all()
    assert manifest.reading is not None
    assert manifest.reading.scores == "logits"


WRONG: dict[str, tuple[list[str], str]] = {
    "no symbols": ([], "the symbols of its scores, in their order: give --symbols FILE"),
    "too few": (["--symbols", "two.txt"], "has 3 symbols, but there are 2 (--symbols): expected a line for each"),
    "no such file": (["--symbols", "none.txt"], "--symbols: "),
    "a blank beyond": (["--symbols", "three.txt", "--blank", "3"], "--blank: expected less than 3, got 3"),
    "another height": (["--symbols", "three.txt", "--height", "8"], "expected a graph that takes this height"),
    "a height and a size": (["--symbols", "three.txt", "--height", "4", "--size", "4x8"], "expected no size beside it"),
    "another activation": (["--symbols", "three.txt", "--activation", "sigmoid"], "expected none, or softmax"),
    "another output": (["--symbols", "three.txt", "--output", "z"], "there is no output 'z'"),
}


@pytest.mark.parametrize(("options", "complaint"), WRONG.values(), ids=WRONG)
def test_fact_that_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    """The text names the option, what was expected and what came, and nothing is published."""
    (tmp_path / "two.txt").write_text("\na\n")
    (tmp_path / "three.txt").write_text("\na\nb\n")
    options = [str(tmp_path / option) if option.endswith(".txt") else option for option in options]
    assert run_import(write_reader(tmp_path), *SAID, *options, "--store", tmp_path / "store") == 1
    said = capsys.readouterr()
    assert complaint in " ".join((said.out + said.err).split())
    assert not (tmp_path / "store" / "reader").exists()


def test_symbols_of_another_task_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A classifier has no use for them."""
    assert (
        run_import(write_reader(tmp_path), "--task", "classify", "--symbols", "x", "--store", tmp_path / "store") == 1
    )
    assert "the task classify has no use for it" in " ".join(capsys.readouterr().err.split())
