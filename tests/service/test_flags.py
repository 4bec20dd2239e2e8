"""The flags of `sluice serve` and their help; failures first."""

import argparse

import pytest

from service.flags import GROUPS, add_flags, read_flags
from service.settings import Settings


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="sluice serve")
    add_flags(made)
    return made


@pytest.mark.parametrize("words", [("--max-rows",), ("--lazy", "maybe"), ("--nope", "1"), ("--state-key", "s")])
def test_wrong_flag_is_told_in_two_short_lines(
    parser: argparse.ArgumentParser, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A flag without its value, with a wrong one, an unknown one or one with a secret ends with code 2."""
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words)
    assert ended.value.code == 2
    usage, said = capsys.readouterr().err.splitlines()
    assert usage == "usage: sluice serve [--SETTING VALUE ...]"
    assert words[0] in said


def test_every_setting_is_in_one_group() -> None:
    """A new setting needs a group; without one, the help shows it under "others"."""
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(Settings.model_fields)


def test_help_has_every_setting_with_its_default_and_fits_80_columns(
    parser: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The help names every flag, the variable of every secret, and each default that can be written."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = parser.format_help().splitlines()
    assert max(map(len, lines)) < 80
    text = " ".join(" ".join(lines).split())
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')} " in text or f"SLUICE_{name.upper()}" in text
    assert "--max-rows N most rows of a batch [64]" in text
    assert "[the reference models]" in text
    assert [f"{title}:" in lines for title in GROUPS] == [True] * len(GROUPS)


def test_flags_stand_for_variables(parser: argparse.ArgumentParser) -> None:
    """A flag without a value means true where the setting is a switch; a flag that is not given is no variable."""
    args = parser.parse_args(["--max-rows", "8", "--lazy", "--fast-path", "false"])
    given = read_flags(args)
    assert given == {"SLUICE_MAX_ROWS": "8", "SLUICE_LAZY": "true", "SLUICE_FAST_PATH": "false"}
    settings = Settings.from_environ(given)
    assert (settings.max_rows, settings.lazy, settings.fast_path) == (8, True, False)
