"""The analysis in a process of its own, for graphs that may end the process that runs them.

Some kernels of ONNX Runtime end their process on an empty axis, and a short input may make one anywhere in a graph. So
such a graph is first run by a child: when that ends, the lengths that it was trying are left out and another child goes
on. The child serves one analysis after the other; each message is a JSON line, followed by the bytes that it announces.
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
"""Children that one file may end."""
_FAR = 4
"""Lengths up to so many times those that ended a child are not tried."""
_PROGRAM = "import sys; from model_store.rows.process import serve; serve(int(sys.argv[1]))"


class AnalystProcess:
    """Analyses files one after the other. ``close`` ends the child; it is started when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._life = -1
        """The end of a pipe that the child waits on: it ends when this process does, whatever it does then."""

    def analyse(
        self, content: bytes, external: Mapping[str, bytes] | None = None, *, hints: Sequence[Lengths] = ()
    ) -> Analysis:
        """As ``analysis.analyse``. Lengths that end a child are not tried again; after some nothing is tried."""
        ended: list[Lengths] = []
        with self._lock:
            while len(ended) < _MOST_ENDED:
                found = self._ask(content, external or {}, hints, ended)
                if isinstance(found, Analysis):
                    return self._find_least(content, external or {}, found, ended)
                ended.append(found)
                self._drop()
        return Analysis("unknown", f"it ends the process that runs it, such as at {dict(ended[-1])}")

    def _find_least(
        self, content: bytes, external: Mapping[str, bytes], found: Analysis, ended: Sequence[Lengths]
    ) -> Analysis:
        """The shortest length that a child survives, where the graph has one free axis and some lengths ended one."""
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
        """The analysis, or the lengths at which the child ended; ``only`` at the lengths of the hints."""
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
        except (OSError, ValueError):  # it ended while it was spoken to
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
    """End this process when the other one has ended: a graph may run for ever, and nobody is left to stop it."""
    os.read(life, 1)
    os._exit(1)


def serve(life: int) -> None:
    """The child: analyse what comes on the standard input until that ends, or until the other end of ``life`` does."""
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
    """Not what is as short as what ended a child, or little longer."""
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
