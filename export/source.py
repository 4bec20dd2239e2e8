"""Loads a spec from a user's Python file: ``path/to/file.py:name``."""

import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from export.errors import NotPublished, SpecError
from export.onnx_files.spec import OnnxSpec
from export.spec import ExportSpec


class Misuse(Exception):
    """A command was called in a way that cannot work; the text says what to write instead."""


def load_spec(source: str) -> ExportSpec | OnnxSpec:
    """The ExportSpec or OnnxSpec that ``source`` names, or that the named function returns.

    Raises Misuse if ``source`` names no such thing, and SpecError with the line if the file itself fails.
    """
    found = load_object(
        source,
        lambda found: isinstance(found, ExportSpec | OnnxSpec),
        "an ExportSpec, an OnnxSpec, or a function without arguments that returns one",
    )
    assert isinstance(found, ExportSpec | OnnxSpec)  # noqa: S101  # it was checked
    return found


def load_object(source: str, is_wanted: Callable[[Any], bool], wanted: str) -> Any:
    """The object that ``source`` names, or that the named function returns. ``wanted`` describes it in words.

    Raises Misuse if ``source`` names no such thing, and SpecError with the line if the file itself fails.
    """
    path, separator, name = source.rpartition(":")
    file = Path(path)
    if not separator or not name.isidentifier() or not file.is_file():
        raise Misuse(f"{source!r}: expected an existing Python file and a name in it, such as model.py:spec")
    module = _import_file(file)
    if not hasattr(module, name):
        raise Misuse(f"{file} defines no {name!r}: name {wanted}")
    found = getattr(module, name)
    made = _call(file, found) if callable(found) and not is_wanted(found) else found
    if not is_wanted(made):
        raise Misuse(f"{source}: expected {wanted}, got {type(made).__name__}")
    return made


def _import_file(file: Path) -> ModuleType:
    """Run the file as a module of its own name, with its folder on the path, as ``python file.py`` would."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise Misuse(f"{file}: expected a Python file, whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses and torch look up a class's module there
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except NotPublished:
        raise
    except (Exception, SystemExit) as error:
        raise _blame(file, error) from error
    return module


def _call(file: Path, function: Any) -> Any:
    try:
        return function()
    except NotPublished:
        raise
    except (Exception, SystemExit) as error:
        raise _blame(file, error) from error


def _blame(file: Path, error: BaseException) -> SpecError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else lines[-1] if lines else None
    where = f"{file}, line {line}" if line else str(file)
    return SpecError(f"{where}: {type(error).__name__}: {error}")
