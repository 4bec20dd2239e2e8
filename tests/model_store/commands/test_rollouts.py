"""`sluice models canary` and `shadow`, and what promotion makes of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from model_store import Store
from model_store.rollout import Rollout, read_rollout, write_rollout
from tests.support.commands.models import run_models
from tests.support.models.manifests import describe, publish_each

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Versions 1 to 3 of the model ``m``, of which 1 is stable, in the store that the commands use."""
    store = publish_each(tmp_path / "models", b"0", b"1", b"2")
    store.set_alias("m", "stable", 1)
    monkeypatch.setenv("SLUICE_STORE", str(store.root))
    return store


def rollout(store: Store) -> Rollout:
    return read_rollout(store.root / "m")


def go_back(store: Store) -> None:
    """What a server writes."""
    found = rollout(store)
    assert found.canary is not None
    returned = found.canary.model_copy(update={"returned": "errors: too many"})
    write_rollout(store.root / "m", found.model_copy(update={"canary": returned}))


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("canary", "m", "9"), 1, "no version 9 of 'm'"),
        (("canary", "m", "stable"), 1, "version 1 of 'm' is stable: it answers all requests already"),
        (("shadow", "m", "1"), 1, "version 1 of 'm' is stable"),
        (("canary", "m", "--end"), 1, "'m' has no canary"),
        (("canary", "m", "2", "--end"), 2, "--end: expected no version"),
        (("canary", "m", "2", "--percent", "100"), 2, "percent: expected less than or equal to 99 (got 100.0)"),
        (("canary", "m", "2", "--percent", "0"), 2, "percent: expected greater than 0"),
        (("canary", "m", "2", "--header", "x y"), 2, "header: expected a text that matches"),
        (("canary", "m", "2", "--confidence", "1"), 2, "confidence: expected less than 1"),
    ],
)
def test_what_cannot_be_is_refused(
    store: Store, words: tuple[str, ...], code: int, complaint: str, capsys: Capture
) -> None:
    """One line on standard error, and no file is written."""
    assert run_models(*words) == code
    captured = capsys.readouterr()
    assert captured.err.startswith(f"sluice models {words[0]}: {complaint}"), captured.err
    assert captured.err.count("\n") == 1
    assert not (store.root / "m" / "rollout.json").exists()


def test_version_is_canary_or_shadow(store: Store, capsys: Capture) -> None:
    """Not both; and a model with one version has nothing to compare."""
    assert run_models("canary", "m", "2") == 0
    assert run_models("shadow", "m", "2") == 1
    assert run_models("shadow", "m", "3") == 0
    assert run_models("canary", "m", "3") == 1
    store.publish(describe(name="alone"), {"main.onnx": b"0"})
    assert run_models("canary", "alone", "1") == 1
    assert "no other version than 1" in capsys.readouterr().err


def test_canary_is_written_as_it_was_asked_for(store: Store, capsys: Capture) -> None:
    """The name of the header in lower case; what is not asked for is not written."""
    assert (
        run_models("canary", "m", "2", "--percent", "7.5", "--header", "X-User", "--max-errors", "0.002", "--json") == 0
    )
    told = json.loads(capsys.readouterr().out)["canary"]
    assert (told["version"], told["percent"], told["header"]) == (2, 7.5, "x-user")
    written: dict[str, Any] = json.loads((store.root / "m" / "rollout.json").read_text())
    assert written.pop("schema_version") == 1
    assert written["canary"].pop("begun") == told["begun"]
    assert written == {"canary": {"version": 2, "percent": 7.5, "header": "x-user", "limits": {"errors": 0.002}}}
    assert run_models("canary", "m") == 0
    assert capsys.readouterr().out == "m: version 2 answers 7.5 % of the requests, by the header x-user\n"


def test_more_percent_keep_what_is_known(store: Store) -> None:
    """It is the same trial. Other limits, another version, or the same after a return, are a new one."""
    run_models("canary", "m", "2")
    first = rollout(store).canary
    run_models("canary", "m", "2", "--percent", "50")
    second = rollout(store).canary
    assert first is not None
    assert second == first.model_copy(update={"percent": 50.0})
    go_back(store)
    run_models("canary", "m", "2", "--percent", "50")
    third = rollout(store).canary
    assert third is not None
    assert (third.begun > first.begun, third.returned) == (True, "")


def test_promotion_is_of_the_canary_and_ends_its_trial(store: Store) -> None:
    """Without a number it is not the newest version, which nobody has tried. The shadow of another version stays."""
    run_models("canary", "m", "2")
    run_models("shadow", "m", "3")
    assert run_models("promote", "m") == 0
    assert store.aliases("m") == {"stable": 2}
    found = rollout(store)
    assert (found.canary, found.versions) == (None, {3})
    assert run_models("promote", "m", "3") == 0
    assert not (store.root / "m" / "rollout.json").exists()


def test_returned_canary_is_promoted_by_its_number_only(store: Store, capsys: Capture) -> None:
    """Whoever says just "promote" may not know that it went back."""
    run_models("canary", "m", "3")
    go_back(store)
    assert run_models("promote", "m") == 1
    assert "version 3, went back: errors: too many. Name the version" in capsys.readouterr().err
    assert run_models("canary", "m") == 0
    assert capsys.readouterr().out == "m: version 3 went back to the stable version: errors: too many\n"
    assert run_models("promote", "m", "3") == 0
    assert store.aliases("m") == {"stable": 3}


@pytest.mark.parametrize("content", ["{", "[]", '{"canary": {"version": 2}}', '{"schema_version": 2}'])
def test_damaged_file_is_named(store: Store, content: str, capsys: Capture) -> None:
    """It is neither taken for an empty one nor replaced."""
    path = store.root / "m" / "rollout.json"
    path.write_text(content)
    assert run_models("canary", "m", "2") == 1
    assert "m/rollout.json: " in capsys.readouterr().err
    assert path.read_text() == content
