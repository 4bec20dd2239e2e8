"""Analyses graphs here, and those that may end the process in another one."""

import contextlib
import threading
from collections.abc import Iterator, Mapping

from model_store.rows import Analysis, AnalystProcess, analyse, is_risky


class Analyst:
    """The other process ends when nobody holds it."""

    def __init__(self) -> None:
        self._process = AnalystProcess()
        self._lock = threading.Lock()
        self._holders = 0

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the other process, once it is started, for a further graph."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if not self._holders:
                    self._process.close()

    def analyse(self, content: bytes, external: Mapping[str, bytes], hint: Mapping[str, int]) -> Analysis:
        """``hint`` has lengths of free axes that are known to run, by name; it may be empty."""
        hints = [hint] if hint else []
        try:
            risky = is_risky(content)
        except Exception:  # noqa: BLE001  # the parser raises several types; the analysis says what is wrong
            risky = False
        ask = self._process.analyse if risky else analyse
        return ask(content, external, hints=hints)


analyst = Analyst()
"""Of this process."""
