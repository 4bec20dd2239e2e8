"""Analyses graphs here, and those that may end the process in another one."""

import contextlib
import threading
from collections.abc import Hashable, Iterator, Mapping

from model_store.rows import Analysis, AnalystProcess, analyse, is_risky
from model_store.rows.graph.fingerprint import fingerprint

_MOST_KNOWN = 1024
"""Graphs whose analysis is remembered."""


class Analyst:
    """The other process ends when nobody holds it."""

    def __init__(self) -> None:
        self._process = AnalystProcess()
        self._lock = threading.Lock()
        self._holders = 0
        self._known: dict[Hashable, Analysis] = {}

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
        ask = self._process.analyse if risky else analyse
        found = ask(content, external, hints=hints)
        if key is not None:
            with self._lock:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[key] = found
        return found


analyst = Analyst()
"""Of this process."""
