"""The command as a whole; failures first."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sluice

ROOT = Path(__file__).parents[1]


def test_completion_without_its_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without shtab the command ends with code 2 and the line that installs it."""
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert sluice.main(["completion", "bash"]) == 2
    assert capsys.readouterr().err == (
        "sluice completion: shtab is not installed: pip install 'sluice-serving[completion]'\n"
    )


@pytest.mark.parametrize("words", [(), ("completion",), ("completion", "cmd.exe"), ("fly",)])
def test_wrong_usage_ends_with_2(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """No command, an unknown one, and an unknown shell are told in one line after the usage."""
    with pytest.raises(SystemExit) as ended:
        sluice.main(list(words))
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("sluice")


def test_help_imports_no_package(capsys: pytest.CaptureFixture[str]) -> None:
    """`sluice --help` answers before a package of ours, or a large library, is imported."""
    program = (
        "import sys, sluice\n"
        "try:\n    sluice.main(['--help'])\n"
        "finally:\n    print(sorted({'numpy', 'pydantic', 'rich', 'service', 'model_store'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


ASK_BASH = """
source /dev/stdin
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
$(complete -p sluice | sed 's/.*-F \\([^ ]*\\).*/\\1/')
echo "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("mod",), "models"),
        (("models", "pro"), "promote"),
        (("serve", "--max-ru"), "--max-run-bytes"),
        (("serve", "--provider", ""), "auto tensorrt cuda cpu"),
        (("completion", ""), "bash zsh fish"),
    ],
)
def test_bash_completes_commands_flags_and_values(
    words: tuple[str, ...], offered: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script for bash offers what begins with what is typed."""
    pytest.importorskip("shtab")
    bash = shutil.which("bash") or pytest.skip("needs bash")
    assert sluice.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    done = subprocess.run(
        [bash, "-c", ASK_BASH, "bash", "sluice", *words], input=script, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_for_other_shells_name_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The scripts for zsh and fish have all commands."""
    pytest.importorskip("shtab")
    assert sluice.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert [name for name in sluice.COMMANDS if name not in script] == []


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """`sluice --version` says what a report of a fault needs."""
    with pytest.raises(SystemExit) as ended:
        sluice.main(["--version"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (ended.value.code, capsys.readouterr().out) == (0, f"sluice {project['version']}\n")


def test_every_package_says_that_it_is_typed() -> None:
    """Without the marker a type checker takes what a user imports for untyped."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]
    assert [name for name in packages if not (ROOT / name / "py.typed").is_file()] == []
