"""What the commands print while they run, and the result of `sluice check`."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.status import Status

if TYPE_CHECKING:
    from export.check import Verdict
NOTE = "note"


class Steps:
    """A spinner for the current step, and a line with its duration for each finished stage.

    A step is ``stage: detail``; steps of one stage share a line. A ``note: text`` gets a line of its own.
    """

    def __init__(self, console: Console, status: Status, title: str) -> None:
        self._console, self._status, self._title = console, status, title
        self._stage: str | None = None
        self._started_s = 0.0

    def __call__(self, step: str) -> None:
        stage, _, detail = step.partition(":")
        if stage == NOTE:
            self._console.print(f"[yellow]![/] {escape(self._title)}:{escape(detail)}", highlight=False, soft_wrap=True)
            return
        if stage != self._stage:
            self.end("[green]✓[/]")
            self._stage, self._started_s = stage, time.monotonic()
        self._status.update(f"{escape(self._title)}: {escape(step)}")

    def end(self, mark: str) -> None:
        if self._stage is not None:
            took_s = time.monotonic() - self._started_s
            self._console.print(f"{mark} {escape(self._title)}: {escape(self._stage)} [dim]{took_s:.1f} s[/]")
        self._stage = None


@contextmanager
def show_progress(console: Console, title: str) -> Iterator[Steps]:
    """Show the steps of one model on ``console``. The mark of the last stage says whether the block raised."""
    with console.status(escape(title)) as status:
        steps = Steps(console, status, title)
        try:
            yield steps
        except BaseException:
            steps.end("[red]✗[/]")
            raise
        steps.end("[green]✓[/]")


def print_error(console: Console, text: str) -> None:
    console.print(f"[red]error:[/] {escape(text)}", highlight=False, soft_wrap=True)


def print_verdict(console: Console, verdict: "Verdict", as_json: bool) -> None:
    """Print the result of ``sluice check``."""
    from model_store.graphs.report import as_record, print_inspection

    if as_json:
        console.print_json(json.dumps({**as_record(verdict.found), "fixable": verdict.fixable}))
        return
    print_inspection(console, verdict.found)
    if verdict.fixable:
        console.print("every axis 0 is 1: try --free-batch OUT.onnx", highlight=False, soft_wrap=True)
