"""Shows the progress of a run on standard error."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

_SHOWN_EVERY_S = 0.5
_LOGGED_EVERY_S = 10.0
"""If standard error is not a terminal. Then each message is a line of its own."""


class Progress:
    """``rows`` and ``fraction`` are what an earlier run of the same command has done."""

    def __init__(
        self, rows: int, fraction: float, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._is_terminal = self._stream.isatty()
        self._began = self._told = clock()
        self._rows_before, self._fraction_before = rows, fraction
        self._width = 0

    def tell(self, rows: int, errors: int, fraction: float, is_last: bool = False) -> None:
        """Show that ``rows`` rows have answers, which are ``fraction`` of the input."""
        now = self._clock()
        if now - self._told < (_SHOWN_EVERY_S if self._is_terminal else _LOGGED_EVERY_S) and not is_last:
            return
        self._told = now
        took_s = max(now - self._began, 1e-9)
        text = f"sluice score: {rows:,} rows, {(rows - self._rows_before) / took_s:,.0f} rows/s"
        gained = fraction - self._fraction_before
        if not is_last and gained > 0:
            text += f", {fraction:.0%}, {_show_time(took_s * (1 - fraction) / gained)} left"
        if errors:
            text += f", {errors:,} with an error"
        if self._is_terminal:
            self._stream.write("\r" + text.ljust(self._width) + ("\n" if is_last else ""))
            self._width = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


def _show_time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
