"""Analyses graphs here, and those that may end the process in another one."""

import contextlib
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence

from model_store.rows import Analysis, AnalystProcess, analyse, is_risky
from model_store.rows.graph.fingerprint import fingerprint

_MOST_KNOWN = 1024
"""Graphs whose analysis is remembered."""


class Analyst:
    """The other processes end when nobody holds it. No graph waits for the analysis of another, which may be long."""

    def __init__(self) -> None:
        self._idle: list[AnalystProcess] = []
        self._lock = threading.Lock()
        self._holders = 0
        self._known: dict[Hashable, Analysis] = {}

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the other processes, once they are started, for further graphs."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                ended = [] if self._holders else self._idle
                if not self._holders:
                    self._idle = []
            for process in ended:
                process.close()

    def analyse(self, content: bytes, external: Mapping[str, bytes], hint: Mapping[str, int]) -> Analysis:
        """``hint`` has lengths of free axes that are known to run, by name; it may be empty.

        Graphs that differ in their weights only are analysed once.
        """
        hints = [hint] if hint else []
        try:
            digest, risky = fingerprint(content), is_risky(content)
        except Exception:  # noqa: BLE001  # the parser raises several types; the analysis says what is wrong
            return analyse(content, external, hints=hints)
        key = None if digest is None or external else (digest, *sorted(hint.items()))
        with self._lock:
            known = None if key is None else self._known.get(key)
        if known is not None:
            return known
        found = (self._analyse_apart if risky else analyse)(content, external, hints=hints)
        if key is not None:
            with self._lock:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[key] = found
        return found

    def _analyse_apart(
        self, content: bytes, external: Mapping[str, bytes], *, hints: Sequence[Mapping[str, int]]
    ) -> Analysis:
        with self._lock:
            process = self._idle.pop() if self._idle else AnalystProcess()
        try:
            return process.analyse(content, external, hints=hints)
        finally:
            with self._lock:
                self._idle.append(process)
                held = self._holders > 0
            if not held:
                process.close()


analyst = Analyst()
"""Of this process."""
