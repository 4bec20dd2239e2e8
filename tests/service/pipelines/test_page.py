"""docs/pipelines.md: its commands run, and print what it says."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

import sluice
from model_store import DEFAULT_ROOT
from service.api.golden import find_difference
from tests.support.servers import FAST, Serving, settings_for

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = (REPOSITORY / "docs" / "pipelines.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def test_page_shows_the_example() -> None:
    """The pipeline of the page is the file that its commands use."""
    assert blocks("toml")[0] in (REPOSITORY / "examples" / "digits_twice.toml").read_text()


@pytest.mark.long
def test_commands_of_the_page_do_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They check, try and publish; the server then answers the request, with both models of one opinion."""
    copies, *commands = blocks("sh")[0].splitlines()
    assert copies == f"cp -r {DEFAULT_ROOT.relative_to(REPOSITORY)} models"
    for name in ("digits-detector", "digits-classifier"):  # of these models
        shutil.copytree(DEFAULT_ROOT / name, tmp_path / "models" / name)
    for folder in ("examples", "docs"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    monkeypatch.chdir(tmp_path)
    printed = []
    for line in commands:
        assert sluice.main(shlex.split(line)[1:]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == blocks("text")[0]
    tried = json.loads(printed[1])["predictions"]
    assert "digits-twice version 1 is in models" in printed[2]
    with Serving(settings_for(tmp_path / "models", max_rows=8), FAST) as server, server.client() as client:
        picture = (REPOSITORY / "docs" / "digits.png").read_bytes()
        answer = client.post("/pipeline?model=digits-twice", content=picture).json()
        [found] = answer["predictions"]
        assert len(found["labels"]) == 7
        assert found["labels"] == found["second"]
        shown = json.loads(blocks("json")[0])
        first = {name: values[:1] for name, values in found.items()}
        assert find_difference(first, shown["predictions"][0], 1.0, 0.0, "predictions") == ""
        assert [list(row) for row in tried] == [list(found)]
