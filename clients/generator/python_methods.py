"""The methods of the two Python clients: one for each task, and for each other form of its answer."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from clients.generator.python_types import HEAD, options_of, own_options, wrap
from clients.generator.schemas import Task, read_tasks


class _Style(NamedTuple):
    """How a client without or with asyncio is written."""

    name: str
    about: str
    define: str
    await_: str
    stream: str


_SYNC = _Style("SyncTasks", "The task routes as methods.", "def", "", "Stream")
_ASYNC = _Style("AsyncTasks", "The task routes as methods to be awaited.", "async def", "await ", "AsyncStream")
_INPUTS = "one row or a list of rows, as ``Rows`` says"


def write_methods(document: Mapping[str, Any]) -> dict[str, str]:
    """The files by name."""
    return {
        f"{name}_tasks.py": _write(style, read_tasks(document)) for name, style in (("sync", _SYNC), ("async", _ASYNC))
    }


def _write(style: _Style, tasks: list[Task]) -> str:
    answers = sorted({name for task in tasks for name in (task.answer, task.events) if name})
    options = sorted(options_of(task) for task in tasks)
    head = [
        HEAD.format(about=style.about),
        "from __future__ import annotations  # so that `help` shows the names of the types",
        "",
        "from abc import ABC, abstractmethod",
        "from typing import Any, TypeVar, Unpack",
        "",
        *_import("api.answers", answers),
        *_import("api.options", options),
        *_import("calls", ["Call", "StreamCall", "call_for_events", "call_for_picture", "call_for_sound", "call_task"]),
        "from sluice_client.files import Picture, Sound",
        f"from sluice_client.streams import {style.stream}",
        "from sluice_client.wire.rows import Rows",
        "",
        'A = TypeVar("A")',
        'E = TypeVar("E")',
        "",
        "",
        f"class {style.name}(ABC):",
        f'    """{style.about}"""',
        "",
        "    @abstractmethod",
        f"    {style.define} _ask(self, call: Call[A]) -> A:",
        '        """Send a call, and read its answer."""',
        "",
        "    @abstractmethod",
        f"    def _open(self, call: StreamCall[E, A]) -> {style.stream}[E, A]:",
        '        """The stream of a call, which is sent when its first event is asked for."""',
    ]
    return "\n".join([*head, *(line for task in tasks for line in _methods(style, task)), ""])


def _import(module: str, names: list[str]) -> list[str]:
    return [f"from sluice_client.{module} import (", *(f"    {name}," for name in names), ")"]


def _methods(style: _Style, task: Task) -> Iterator[str]:
    options, inputs = options_of(task), "inputs" if task.takes_rows else "None"
    rows = ", inputs: Rows" if task.takes_rows else ""
    signature = f"(self{rows}, **options: Unpack[{options}])"
    given = f'"{task.name}", {inputs}, options, {options}'
    yield ""
    yield f"    {style.define} {task.name}{signature} -> {task.answer}:"
    yield f'        """{task.summary}.'
    yield ""
    if task.takes_rows:
        yield f"        inputs: {_INPUTS}"
    for field in own_options(task.options):
        yield from wrap(f"{field.name}: {field.description}".replace('"', "'"), " " * 8, " " * 12)
    yield '        """'
    yield f"        return {style.await_}self._ask(call_task({given}, {task.answer}))"
    for suffix, about, kind in (("picture", task.picture, "Picture"), ("sound", task.sound, "Sound")):
        if about:
            yield ""
            yield f"    {style.define} {task.name}_as_{suffix}{signature} -> {kind}:"
            yield f'        """{about[0].upper()}{about[1:]}, as one file. It takes what ``{task.name}`` takes."""'
            yield f"        return {style.await_}self._ask(call_for_{suffix}({given}))"
    if task.events:
        yield ""
        yield f"    def {task.name}_as_stream{signature} -> {style.stream}[{task.events}, {task.answer}]:"
        yield f'        """An event for each step, then the answer. It takes what ``{task.name}`` takes."""'
        yield f"        return self._open(call_for_events({given}, {task.events}, {task.answer}))"
