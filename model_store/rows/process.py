"""The analysis in another process, for graphs that may crash.

Some ONNX Runtime kernels crash on an empty axis, which a short input may cause anywhere in a graph. So a child runs
such a graph first. If it crashes, the lengths that it tried are left out and a new child goes on. A child serves one
analysis after the other. A message is a JSON line, followed by the bytes that it announces.
"""

import dataclasses
import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from model_store.cancellation import LoadCancelled, current
from model_store.errors import first_line
from model_store.rows.analysis import LONGEST_REASON, Analysis, analyse
from model_store.rows.graph.samples import Lengths

_MOST_ENDED = 6
"""Most children that one file may crash."""
_FAR = 4
"""Lengths up to so many times those that crashed a child are not tried."""
_PROGRAM = "import sys; from model_store.rows.process import serve; serve(int(sys.argv[1]))"


class AnalystProcess:
    """Analyses files one after the other. The child is started on demand; ``close`` ends it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._life = -1
        """The end of a pipe. The child waits on the other end and exits when this process does, however it ends."""

    def analyse(
        self, content: bytes, external: Mapping[str, bytes] | None = None, *, hints: Sequence[Lengths] = ()
    ) -> Analysis:
        """As ``analysis.analyse``. Lengths that crash a child are not tried again; after several crashes it gives
        up."""
        ended: list[Lengths] = []
        with self._lock:
            while len(ended) < _MOST_ENDED:
                found = self._ask(content, external or {}, hints, ended)
                if isinstance(found, Analysis):
                    return self._find_least(content, external or {}, found, ended)
                ended.append(found)
                self._drop()
        return Analysis("unknown", f"it crashes the process that runs it, for example at {dict(ended[-1])}")

    def _find_least(
        self, content: bytes, external: Mapping[str, bytes], found: Analysis, ended: Sequence[Lengths]
    ) -> Analysis:
        """The shortest length that a child survives, if the graph has one free axis and some lengths crashed a
        child."""
        if not ended or found.sizes is None or len(found.sizes) != 1:
            return found
        [(name, survives)] = found.sizes.items()
        fatal = max((lengths[name] for lengths in ended if lengths[name] < survives), default=None)
        while fatal is not None and survives - fatal > 1:
            middle = (fatal + survives) // 2
            if isinstance(self._ask(content, external, [{name: middle}], (), only=True), Analysis):
                survives = middle
            else:
                fatal = middle
                self._drop()
        return found if fatal is None else dataclasses.replace(found, least={name: survives})

    def _ask(
        self,
        content: bytes,
        external: Mapping[str, bytes],
        hints: Sequence[Lengths],
        ended: Sequence[Lengths],
        only: bool = False,
    ) -> Analysis | Lengths:
        """The analysis, or the lengths at which the child crashed. ``only``: at the lengths of the hints."""
        child = self._start()
        try:
            with current().stopping(child.kill):
                return self._talk(child, content, external, hints, ended, only)
        except LoadCancelled:
            self._drop()
            raise

    @staticmethod
    def _talk(
        child: subprocess.Popen[bytes],
        content: bytes,
        external: Mapping[str, bytes],
        hints: Sequence[Lengths],
        ended: Sequence[Lengths],
        only: bool,
    ) -> Analysis | Lengths:
        assert child.stdin is not None  # noqa: S101  # both are pipes
        assert child.stdout is not None  # noqa: S101
        trying: Lengths = {}
        try:
            files = {"": content, **external}
            head = {
                "files": [[name, len(data)] for name, data in files.items()],
                "hints": [dict(hint) for hint in hints],
                "ended": [dict(lengths) for lengths in ended],
                "only": only,
            }
            child.stdin.write(json.dumps(head).encode() + b"\n")
            for data in files.values():
                child.stdin.write(data)
            child.stdin.flush()
            for line in child.stdout:
                message = json.loads(line)
                if "found" in message:
                    return Analysis.from_json(message["found"])
                trying = message["trying"]
        except (OSError, ValueError):  # it ended during the exchange
            pass
        return trying

    def _start(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            waits, self._life = os.pipe()
            self._child = subprocess.Popen(  # noqa: S603  # our own interpreter and program
                [sys.executable, "-c", _PROGRAM, str(waits)],
                pass_fds=[waits],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
            os.close(waits)
        return self._child

    def _drop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()
            os.close(self._life)

    def close(self) -> None:
        with self._lock:
            self._drop()


def _end_with(life: int) -> None:
    """End this process when the other one has ended: a graph may run forever, and nobody else would stop it."""
    os.read(life, 1)
    os._exit(1)


def serve(life: int) -> None:
    """The child's main function: analyse what arrives on standard input until it ends, or the other end of ``life``
    does."""
    threading.Thread(target=_end_with, args=(life,), daemon=True).start()
    source, answers = sys.stdin.buffer, sys.stdout.buffer
    while head := source.readline():
        message = json.loads(head)
        files = {name: _read(source, size) for name, size in message["files"]}
        may = functools.partial(_may_try, message, answers)
        try:
            found = analyse(files.pop(""), files, hints=message["hints"], allow=may)
        except MemoryError as error:
            found = Analysis("unknown", f"it could not be analysed: {first_line(error)[:LONGEST_REASON]}")
        _tell(answers, {"found": found.to_json()})


def _may_try(message: Mapping[str, Any], answers: BinaryIO, lengths: Lengths) -> bool:
    """Whether lengths may be tried: not if they are as short as some that crashed a child, or little longer."""
    if message["only"] and dict(lengths) not in message["hints"]:
        return False
    for ended in message["ended"]:
        if all(size <= _FAR * ended.get(name, 0) for name, size in lengths.items()):
            return False
    _tell(answers, {"trying": dict(lengths)})
    return True


def _read(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise EOFError("the input ended within a file")
    return data


def _tell(answers: BinaryIO, message: Mapping[str, object]) -> None:
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()
