"""The scripts of ``examples/client`` run, print what a person understands, and write the files that they name."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store import DEFAULT_ROOT
from tests.support.commands.scripts import load_module
from tests.support.servers import FAST, Serving, settings_for

REPOSITORY = Path(__file__).resolve().parents[3]
FOLDER = REPOSITORY / "examples" / "client"
EXPECTED = {
    "classify_picture": r"7 +\d+\.\d%  █+[\s\S]*How much each part counts for 7 \(occlusion\)[\s\S]*@",
    "detect_boxes": r"4 digits in a picture of 320 x 240 pixels:(\n  [0684]  score 0\.\d\d .*){4}",
    "find_anomalies": r"a seven +normal [\s\S]*a scratched seven +ANOMALY [\s\S]*noise +ANOMALY",
    "forecast_csv": r"of 2009-12: 23.21 °C[\s\S]*(\n  \w{3}  2\d\.\d\d °C  \d\d\.\d\d to \d\d\.\d\d +─+){6}",
    "generate_gallery": r"The same seed gives the same bytes: True\n.*seeds \[1, 2\]\): between-0.png to between-5.png",
    "list_models": r"digits-classifier \(classify, version 1\)\n    Reads a handwritten digit.*\n.*accuracy 0\.99",
    "many_requests": r"100 requests in .* a second\n[\s\S]*Tries: 100;",
    "predict_table": r"(\n +\d+\.\d   age \d+, body mass index \d+\.\d){4}",
    "run_pipeline": r"Step 'cut' has ended[\s\S]*The board says 0684\.",
    "similar_texts": r"'trois heures et demie' is most like 'vendredi 13 mars 2026'",
    "stream_diffusion": r"After step 9 of 12[\s\S]*The digit \['3'\] of seed 4:\n[\s\S]*@@",
    "stream_text": r"Friday, March 13, 2026\n[\s\S]*\r  Freitag, 13. März 2026  \(probability 0\.9",
    "tensors_numpy": r"probabilities  FP32 \[-1, 10\]\n[\s\S]*gives the same bits: True",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with Serving(settings_for(DEFAULT_ROOT, max_rows=8), FAST) as serving:
        yield serving


def test_every_script_has_its_expectation() -> None:
    """No script is left out, none is longer than a screen, and each says how it is run."""
    scripts = {file.stem: file.read_text() for file in FOLDER.glob("*.py")}
    assert set(scripts) == set(EXPECTED)
    for name, text in scripts.items():
        assert len(text.splitlines()) < 60
        assert f"python examples/client/{name}.py [URL]" in text.partition("\n")[0]


@pytest.mark.parametrize("name", EXPECTED)
def test_script_prints_what_a_person_understands(
    server: Serving, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output is as expected, and the pictures that it names are there."""
    monkeypatch.chdir(tmp_path)
    load_module(FOLDER / f"{name}.py").main(server.url)
    printed = capsys.readouterr().out
    assert re.search(EXPECTED[name], printed), printed
    for file in re.findall(r"\S+\.png", printed):
        assert (tmp_path / file).read_bytes().startswith(b"\x89PNG")


def test_script_runs_by_itself(server: Serving) -> None:
    """The line at its top works: with the client on the path, and the address of the server."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "clients" / "python")}
    command = [sys.executable, "examples/client/predict_table.py", server.url]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=environment, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr
    assert "body mass index" in done.stdout
