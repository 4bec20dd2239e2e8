"""Analyses graphs in this process, or in another one if the analysis may crash."""

import contextlib
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence

from model_store.rows import Analysis, AnalystProcess, analyse, is_risky
from model_store.rows.graph.fingerprint import fingerprint

_MOST_KNOWN = 1024
"""Graphs whose analysis is cached."""


class Analyst:
    """Analyses graphs, one process per running risky analysis. The processes end when nobody holds them."""

    def __init__(self) -> None:
        self._idle: list[AnalystProcess] = []
        self._lock = threading.Lock()
        self._holders = 0
        self._known: dict[Hashable, Analysis] = {}

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep started processes alive for further graphs while the block runs."""
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
        """Analyse a graph. ``hint`` has lengths of free axes that are known to run, by name; it may be empty.

        Graphs that differ only in their weights are analysed once.
        """
        hints = [hint] if hint else []
        try:
            digest, risky = fingerprint(content), is_risky(content)
        except Exception:  # noqa: BLE001  # the parser raises several types; the analysis reports the fault
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
"""The analyst of this process."""
