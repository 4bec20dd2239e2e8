"""Reads the text form of a configuration into a message, with errors that people can use."""

import difflib
import re
from collections.abc import Iterator
from typing import Any

from google.protobuf import text_format

from model_store.errors import BadConfig
from model_store.triton.schema import ModelConfig, field_names, value_names

_MAX_SHOWN = 160
_PLACE = re.compile(r"\A\d+:\d+ : ('.*': )?", re.DOTALL)
_NO_FIELD = re.compile(r'Message type "inference\.([\w.]+)" has no field named "(.*)"\.')
_NO_VALUE = re.compile(r'Enum type "inference\.([\w.]+)" has no value named (.*)\.', re.DOTALL)


class _Fault(Exception):
    """The text cannot be read. Lines and columns count from 1. ``line`` None, ``column`` 0 or None: not known."""

    def __init__(self, said: str, lines: "_Lines", line: int | None, column: int | None) -> None:
        self.line = line or lines.last
        place = f"line {self.line}, column {column}" if column else f"line {self.line}"
        shown = lines.show(self.line, column or 0)
        super().__init__(f"{place}: {said}{f' (there: {shown!r})' if shown else ''}")


class _Lines:
    """Lines that remember which was read last, because some errors of the parser do not name theirs."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self.last = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.last += 1
            yield line

    def show(self, number: int, column: int) -> str:
        """A line, or the part of a long line around the column."""
        line = self._lines[number - 1].strip()
        return line if len(line) <= _MAX_SHOWN else line[max(0, column - _MAX_SHOWN // 2) :][:_MAX_SHOWN]


def parse(text: str | bytes, where: str) -> tuple[Any, str]:
    """The message of a text, and a complaint about its first unknown field, "" if there is none.

    Raises BadConfig, which names ``where``, the line and the fault.
    """
    text = _decode(text, where)
    try:
        return _read(text), ""
    except _Fault as error:
        strict = error
    try:
        return _read(text, allow_unknown=True), str(strict)
    except _Fault as error:
        # An unknown field that cannot be skipped: the first error, which names it, says more.
        raise BadConfig(f"{where}: {strict if strict.line == error.line else error}") from None


def _decode(text: str | bytes, where: str) -> str:
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise BadConfig(f"{where}: line {line}: expected UTF-8, got the byte {text[error.start]:#04x}") from None


def _read(text: str, *, allow_unknown: bool = False) -> Any:
    """Raises _Fault."""
    lines = _Lines(text)
    try:
        return text_format.ParseLines(lines, ModelConfig(), allow_unknown_field=allow_unknown)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        raise _Fault(_explain(str(error)), lines, line, column) from None
    except RecursionError:
        raise _Fault("messages are nested too deep", lines, None, None) from None
    except ValueError as error:  # a number that does not fit its field, or an invalid character
        raise _Fault(_explain(str(error)), lines, None, None) from None


def _explain(said: str) -> str:
    """The text of the parser's error without the place, and with the names that are possible."""
    said = _PLACE.sub("", said).encode("utf-8", "backslashreplace").decode()
    if found := _NO_FIELD.fullmatch(said):
        message, name = found[1], found[2][:_MAX_SHOWN]
        close = difflib.get_close_matches(name, field_names(message), 1)
        return f"{message} has no field {name!r}{f': did you mean {close[0]!r}?' if close else ''}"
    if found := _NO_VALUE.fullmatch(said):
        return f"{found[2][:_MAX_SHOWN]!r} is none of {', '.join(value_names(found[1]))}"
    return said[:1].lower() + said[1:_MAX_SHOWN].rstrip(".")
