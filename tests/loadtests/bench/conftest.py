"""`sluice bench` without a private network."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import sluice
from loadtests.bench import command
from loadtests.bench.network import NoPrivateNetwork


@contextmanager
def refuse_network() -> Iterator[None]:
    raise NoPrivateNetwork("not in a test")
    yield


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    """Runs the command, which is to end with a code; what it writes as JSON. Its files are in ``tmp_path``."""
    monkeypatch.setattr(command, "find_lacking", lambda: "")
    monkeypatch.setattr(command, "can_draw", lambda: False)
    monkeypatch.setattr(command, "private_network", refuse_network)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(command.tempfile, "tempdir", None)

    def run(code: int, *words: str) -> dict[str, Any]:
        assert sluice.main(["bench", "--quick", "--json", "--output", str(tmp_path / "out"), *words]) == code
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    return run
