"""`sluice pipeline`: what it explains, and what it lets into a store."""

import json
from pathlib import Path

import pytest

import sluice
from model_store import Store
from tests.support.pipelines.models import BLUE, RED, halves, to_png, write_store

FILE = """
name = "colours"
description = "The colours of the halves of a picture"

[steps.find]
model = "finder"
task = "detect"
input = "request"

[steps.halves]
do = "crop"
picture = "request"
boxes = "find.detections"

[steps.paint]
model = "painter"
task = "classify"
each = "halves"

[outputs]
colours = "paint[].label"
"""
GOLDEN = '[[golden]]\nrequest = "a.png"\nanswer = "a.json"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "colours.toml"
    path.write_text(FILE)
    (tmp_path / "a.png").write_bytes(to_png(halves(RED, BLUE)))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_store(tmp_path / "store", "sums")
    return tmp_path / "store"


def test_check_explains_and_draws(file: Path, store: Path, capsys: pytest.CaptureFixture[str]):
    """It says what each step does and what a row is; with a store, also whether the models fit."""
    assert sluice.main(["pipeline", "check", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "3  paint    classify by painter  for each of halves" in shown
    assert "a row of a request is one value" in shown
    assert "the models were not checked" in shown
    assert sluice.main(["pipeline", "check", str(file), "--store", str(store)]) == 0
    assert "its models are in" in capsys.readouterr().out
    assert sluice.main(["pipeline", "check", str(file), "--mermaid"]) == 0
    assert capsys.readouterr().out.startswith("flowchart LR\n")


def test_file_of_endless_brackets_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """It ends in a line that says why, not in a traceback."""
    path = tmp_path / "deep.toml"
    path.write_text("name = " + "[" * 5000)
    assert sluice.main(["pipeline", "check", str(path)]) != 0
    assert "expected TOML with fewer values inside of each other" in capsys.readouterr().err


def test_store_without_models_is_told(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A wrong folder is not taken for one wrong name."""
    assert sluice.main(["pipeline", "check", str(file), "--store", str(tmp_path / "nowhere")]) != 0
    assert f"there are no models in {tmp_path / 'nowhere'}" in capsys.readouterr().err


def test_check_tells_every_model_that_does_not_fit(file: Path, store: Path, capsys: pytest.CaptureFixture[str]):
    """A step each, and the command fails."""
    file.write_text(FILE.replace('"painter"', '"panter"').replace('"finder"', '"matcher"'))
    assert sluice.main(["pipeline", "check", str(file), "--store", str(store)]) == 1
    complaints = capsys.readouterr().err.splitlines()
    assert len(complaints) == 2
    assert complaints[1].endswith("did you mean 'painter'?")


def test_tried_answer_becomes_a_golden_one(file: Path, store: Path, capsys: pytest.CaptureFixture[str]):
    """What ``try`` prints can be the answer of a golden request; publish sends that first, and refuses another."""
    assert sluice.main(["pipeline", "try", str(file), str(file.parent / "a.png"), "--store", str(store)]) == 0
    answer = capsys.readouterr().out
    assert json.loads(answer)["predictions"] == [{"colours": ["red", "blue"]}]
    (file.parent / "a.json").write_text(answer)
    file.write_text(FILE + GOLDEN)
    assert sluice.main(["pipeline", "publish", str(file), "--store", str(store)]) == 0
    assert "colours version 1 is in" in capsys.readouterr().out
    published = Store(store).find("colours")
    assert published.verify().provenance is not None
    (file.parent / "a.json").write_text(answer.replace("blue", "green"))
    assert sluice.main(["pipeline", "publish", str(file), "--store", str(store)]) == 1
    assert "predictions[0].colours[1] is 'blue', expected 'green'" in capsys.readouterr().err
    assert len(Store(store).versions("colours")) == 1


def test_pipeline_below_its_bar_is_not_published(file: Path, store: Path, capsys: pytest.CaptureFixture[str]):
    """A metric with a bar must reach it."""
    quality = '[quality]\ndata = "pages"\nrows = 9\nmetrics = { accuracy = 0.8 }\nbar = { accuracy = 0.9 }\n'
    file.write_text(FILE + quality)
    assert sluice.main(["pipeline", "publish", str(file), "--store", str(store)]) == 1
    assert "quality: accuracy: expected at least 0.9, got 0.8" in capsys.readouterr().err
    assert "colours" not in Store(store).names()


def test_tried_request_that_is_refused_is_told(file: Path, store: Path, capsys: pytest.CaptureFixture[str]):
    """The error of the route goes to standard error, and the command fails."""
    request = file.parent / "bad.json"
    request.write_text('{"inputs": [3]}')
    assert sluice.main(["pipeline", "try", str(file), str(request), "--store", str(store)]) == 1
    assert "step find: inputs[0]" in capsys.readouterr().err


def test_published_pipeline_is_shown_with_its_drawing(file: Path, store: Path, capsys: pytest.CaptureFixture[str]):
    """`sluice models show` draws the steps."""
    assert sluice.main(["pipeline", "publish", str(file), "--store", str(store)]) == 0
    assert sluice.main(["models", "show", "colours", "--store", str(store)]) == 0
    assert "3  paint    classify by painter  for each of halves" in capsys.readouterr().out
