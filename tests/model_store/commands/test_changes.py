"""`sluice models promote`, `rollback`, `alias`, `remove` and `gc`."""

import argparse
import json
import os
from pathlib import Path

import pytest

from model_store import Store
from model_store.commands import cli
from model_store.commands.table import ACTIONS
from model_store.files import aliases
from model_store.files.staging import locked
from tests.support.commands.models import run_models
from tests.support.models.manifests import publish_each

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Versions 1 to 4 of the model ``m``, in the store that the commands use."""
    store = publish_each(tmp_path / "models", b"0", b"1", b"2", b"3")
    monkeypatch.setenv("SLUICE_STORE", str(store.root))
    return store


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("promote", "m", "9"), "no version 9 of 'm': expected one of 1, 2, 3, 4"),
        (("promote", "n"), "no model 'n'"),
        (("rollback", "m", "--to", "beta"), "no alias 'beta' of 'm': there are none"),
        (("alias", "m", "beta"), "no alias 'beta' of 'm'"),
        (("alias", "m", "beta", "--remove"), "no alias 'beta' of 'm'"),
        (("remove", "m", "9"), "no version 9 of 'm'"),
        (("remove", "n", "--all"), "no model 'n'"),
        (("gc", "m", "n"), "no model 'n'"),
    ],
)
def test_what_is_not_there_ends_with_1(store: Store, words: tuple[str, ...], complaint: str, capsys: Capture) -> None:
    """One line on standard error; nothing was changed."""
    before = sorted(store.root.rglob("*"))
    assert run_models(*words) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"sluice models {words[0]}: {complaint}")
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert sorted(store.root.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ("remove", "m"),
        ("remove", "m", "1", "--all"),
        ("alias", "m", "--remove"),
        ("alias", "m", "beta", "1", "--remove"),
        ("alias", "m", "beta", "1", "--force"),
        ("alias", "m", "1st", "1"),
        ("gc", "--keep", "0"),
        ("promote", "../m"),
    ],
)
def test_wrong_arguments_end_with_2(store: Store, words: tuple[str, ...], capsys: Capture) -> None:
    """Whether the parser or the action finds them, and nothing was changed."""
    try:
        assert run_models(*words) == 2
    except SystemExit as ended:
        assert ended.code == 2  # noqa: PT017  # either way of saying so will do
    assert "expected" in capsys.readouterr().err
    assert [version.version for version in store.versions("m")] == [1, 2, 3, 4]
    assert store.aliases("m") == {}


def test_read_only_store_is_told_with_its_folder(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The message has the folder, the reason and what to do, and the code is 1."""

    def refuse(*_: object) -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(aliases, "replace_synced", refuse)
    for words in (("promote", "m"), ("alias", "m", "beta", "1"), ("rollback", "m"), ("remove", "m", "1")):
        assert run_models(*words) == 1
        assert capsys.readouterr().err == (
            f"sluice models {words[0]}: {store.root / 'm'} cannot be changed: Read-only file system: mount it so that "
            "it can be written, or change the store from where it comes\n"
        )


def test_promotion_and_rollback_say_what_answers_now(store: Store, capsys: Capture) -> None:
    """The version before is told, and how to go back."""
    assert [
        run_models("promote", "m", "2"),
        run_models("promote", "m"),
        run_models("promote", "m", "stable"),
        run_models("rollback", "m"),
    ] == [0] * 4
    assert capsys.readouterr().out.splitlines() == [
        "m: stable is now version 2",
        "m: stable is now version 4 (it was 2)",
        "back again: sluice models rollback m",
        "m: stable is version 4 already",
        "m: stable is now version 2 (it was 4)",
    ]
    assert store.aliases("m") == {"stable": 2}


def test_suggested_command_is_for_the_same_store(store: Store, capsys: Capture) -> None:
    """Without the option it would change another store, or find none."""
    run_models("promote", "m", "2")
    run_models("promote", "m", "--store", str(store.root))
    assert f"back again: sluice models rollback m --store {store.root}" in "".join(capsys.readouterr().out.splitlines())


def test_aliases_are_set_listed_and_removed(store: Store, capsys: Capture) -> None:
    """Without a version they are listed."""
    assert run_models("alias", "m") == 0
    assert capsys.readouterr().out == "m has no aliases: sluice models alias m ALIAS VERSION sets one\n"
    assert [run_models("alias", "m", "beta", "3"), run_models("alias", "m", "old", "1"), run_models("alias", "m")] == [
        0
    ] * 3
    assert capsys.readouterr().out.splitlines()[-3:] == ["alias  version", "beta   3", "old    1"]
    assert run_models("alias", "m", "old", "--remove") == 0
    assert capsys.readouterr().out == "m: the alias old is removed (it was version 1)\n"
    assert store.aliases("m") == {"beta": 3}


def test_removal_tells_versions_sizes_and_reasons(
    store: Store, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for each version, as wide as the terminal, and the sum below."""
    monkeypatch.setenv("COLUMNS", "60")
    store.set_alias("m", "an-alias-with-a-rather-long-name-of-its-own", 1)
    assert run_models("gc", "--keep", "1", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["model", "version", "size", "what", "happens"]
    assert [line.split()[1] for line in lines[1:4]] == ["1", "2", "3"]
    assert lines[1].endswith("…")
    assert max(map(len, lines)) <= 60
    assert lines[-1].startswith("2 versions of ")
    assert lines[-1].endswith(" would go; nothing was changed")
    assert run_models("gc", "--keep", "1") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(" removed")
    assert run_models("gc", "--keep", "1") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing to remove"
    assert [version.version for version in store.versions("m")] == [1, 4]


def test_what_killed_publishers_left_is_deleted_and_told(store: Store, capsys: Capture) -> None:
    """A rehearsal leaves it; a version that is being written is not touched."""
    for name in ("dead", "alive"):
        (store.root / "m" / f".publish-{name}").mkdir()
    with locked(store.root / "m" / ".publish-alive"):
        assert run_models("gc", "--dry-run") == 0
        assert (store.root / "m" / ".publish-dead").is_dir()
        capsys.readouterr()
        assert run_models("gc") == 0
    assert "removed what killed publishers left: 1 unfinished version\n" in capsys.readouterr().out
    assert [path.name for path in (store.root / "m").glob(".publish-*")] == [".publish-alive"]


def test_programs_read_the_same_facts(store: Store, capsys: Capture) -> None:
    """With --json each action prints one value, and nothing else."""

    def ask(*words: str) -> object:
        assert run_models(*words, "--json") == 0
        return json.loads(capsys.readouterr().out)

    move = {"name": "m", "alias": "stable", "before": None, "after": 4}
    assert ask("promote", "m") == move
    assert ask("rollback", "m") == move | {"before": 4, "after": 3}
    assert ask("alias", "m") == {"stable": 3}
    assert ask("alias", "m", "stable", "--remove") == move | {"before": 3, "after": None}
    assert run_models("alias", "m", "old", "1") == 0
    capsys.readouterr()
    size = sum(file.stat().st_size for file in (store.root / "m" / "2").iterdir())
    gone = {"name": "m", "version": 2, "size_bytes": size, "named_by": []}
    kept = [{"name": "m", "version": 1, "reason": "the alias old names it"}]
    told = {"dry_run": False, "removed": [gone], "kept": kept, "unfinished": 0}
    assert ask("gc", "--keep", "2") == told
    alias = {"named_by": ["the alias old"], "version": 1}
    assert ask("remove", "m", "1", "--force", "--dry-run") == told | {
        "dry_run": True,
        "removed": [gone | alias],
        "kept": [],
    }


def test_every_action_is_one_line_of_help_and_has_json(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """In a terminal of 80 columns no text of the list is wrapped, and programs can ask any action."""
    monkeypatch.setenv("COLUMNS", "80")
    parser = argparse.ArgumentParser(prog="sluice models")
    cli.models_arguments(parser)
    lines = parser.format_help().splitlines()
    for name, action in ACTIONS.items():
        assert any(line.split() == [name, *action.text.split()] for line in lines), name
        with pytest.raises(SystemExit):
            parser.parse_args([name, "--help"])
        assert "--json" in capsys.readouterr().out, name
