"""Exports a kind, serves it over HTTP, and compares its answers with those of the PyTorch module."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import httpx
import numpy as np

from export import ExportSpec, publish
from export.errors import NotPublished
from model_store import Store
from tests.support.inferring import Refused, infer
from tests.support.kinds.case import MAY_BE_OUT_OF_RANGE, Kind
from tests.support.kinds.compare import Differs, measure
from tests.support.kinds.original import build, call, example
from tests.support.kinds.plain import Answers, find_exporter
from tests.support.kinds.values import Check, axes_of, make_checks
from tests.support.servers import Serving, settings_for

_BAD_REQUEST = 400


@dataclass
class Outcome:
    """What became of a kind."""

    kind: Kind
    refusal: str | None = None
    """Why it was not published. None: it was."""
    crash: str | None = None
    """Any other error of the export."""
    wrong: list[str] = field(default_factory=list)
    """Answers that differ from PyTorch's, and answers where PyTorch raises an error."""
    failed: list[str] = field(default_factory=list)
    """Errors of the server where PyTorch answers, except for values and sizes that the version does not take."""
    declined: list[str] = field(default_factory=list)
    """Checks that were answered with 400 because the version does not take such sizes or values."""
    answered: int = 0
    worst: float = 0.0
    answers: Answers = field(default_factory=list)
    """The checks that PyTorch answers, with its answers."""

    @property
    def published(self) -> bool:
        return self.refusal is None and self.crash is None

    @cached_property
    def plain(self) -> str | None:
        """The first of PyTorch's own exporters whose graph is right."""
        return find_exporter(self.kind, self.answers)

    def as_row(self) -> str:
        """A line of a table: the model, its outcome, and which of PyTorch's exporters is right."""
        if self.published:
            counts = {"wrong": self.wrong, "failed": self.failed, "declined": self.declined}
            found = ", ".join(f"{len(checks)} {name}" for name, checks in counts.items() if checks)
            state = f"published, worst {self.worst:.1e}{found and ', ' + found}"
        else:
            state = f"refused: {self.refusal or self.crash}"
        return f"{self.kind.name:24} plain: {self.plain or 'wrong':12} {state}"


def make_spec(kind: Kind) -> ExportSpec:
    fields = {"module": build(kind), "inputs": example(kind), "outputs": kind.outputs, "dynamic": axes_of(kind)}
    return ExportSpec(name=kind.name, task="tensors", **fields, **kind.spec)


def try_kind(kind: Kind) -> Outcome:
    """Publish it, and ask the server and PyTorch the same."""
    answers = _ask_pytorch(kind)
    outcome = Outcome(kind, answers=[(check, answer) for check, answer in answers if answer is not None])
    with tempfile.TemporaryDirectory(prefix="kinds-") as folder:
        store = Store(Path(folder))
        try:
            publish(make_spec(kind), store)
        except NotPublished as error:
            outcome.refusal = str(error)
        except Exception as error:  # noqa: BLE001  # a finding, which is shown like any other
            outcome.crash = f"{type(error).__name__}: {error}"
        if outcome.published:
            with Serving(settings_for(store.root)) as server, server.client() as client:
                for check, expected in answers:
                    _compare(outcome, client, check, expected)
    return outcome


def _ask_pytorch(kind: Kind) -> list[tuple[Check, Mapping[str, np.ndarray] | None]]:
    """Every check with PyTorch's answer; None where the module raises."""
    module = build(kind, called=True)
    answers: list[tuple[Check, Mapping[str, np.ndarray] | None]] = []
    for check in make_checks(kind):
        try:
            answers.append((check, call(kind, module, check.inputs)))
        except Exception:  # noqa: BLE001  # whatever it raises, there is no answer
            answers.append((check, None))
    return answers


def _compare(outcome: Outcome, client: httpx.Client, check: Check, expected: Mapping[str, np.ndarray] | None) -> None:
    try:
        got = infer(client, outcome.kind.name, check.inputs)
    except Refused as refused:
        _judge_refusal(outcome, check, refused, expected is not None)
        return
    if expected is None:
        outcome.wrong.append(f"{check}: answered, where PyTorch raises an error")
        return
    outcome.answered += 1
    try:
        outcome.worst = max(outcome.worst, measure(outcome.kind, expected, got))
    except Differs as error:
        outcome.wrong.append(f"{check}: {error}")


def _judge_refusal(outcome: Outcome, check: Check, refused: Refused, answered: bool) -> None:
    allowed = not answered or check.changed in MAY_BE_OUT_OF_RANGE or _is_of_bounds(refused)
    kept = outcome.declined if refused.status == _BAD_REQUEST and allowed else outcome.failed
    kept.append(f"{check}: {refused}")


def _is_of_bounds(refused: Refused) -> bool:
    """Whether it was refused because the version does not take this size."""
    return "expected a size" in refused.args[0]
