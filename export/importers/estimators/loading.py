"""Loads a fitted estimator: from a Python file that makes it, or from a file in which it was saved.

A pickle is a program: reading it runs whatever code it names. The same is true of joblib's format. Both are read only
if the person trusts the file (``--trust``), and only here: the server never sees them. A skops file names the types
that it needs; types that skops does not know need ``--trust`` too.
"""

import importlib
import pickle
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from export.errors import ExportError, NotPublished
from export.source import Misuse, load_object
from model_store.errors import first_line

PICKLES = (".pkl", ".pickle", ".joblib")
SKOPS = ".skops"


class Loaded(NamedTuple):
    """``name`` is the default name of the model. ``notes`` are remarks for the person."""

    estimator: Any
    name: str
    notes: tuple[str, ...] = ()


def names_object(path: Path) -> bool:
    """Whether the path is a name in a Python file: ``pipeline.py:model``."""
    file, separator, name = str(path).rpartition(":")
    return bool(separator) and file.endswith(".py") and name.isidentifier()


def is_estimator(found: Any) -> bool:
    return hasattr(found, "predict") and not isinstance(found, type)


def load_estimator(path: Path, is_trusted: bool) -> Loaded:
    """The estimator. Raises ExportError, whose text says what to do."""
    _import("sklearn", "scikit-learn", path)
    if names_object(path):
        loaded = Loaded(_load_named(path), str(path).rpartition(":")[2])
    else:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = _load_skops(path, is_trusted) if path.suffix == SKOPS else _load_pickle(path, is_trusted)
        loaded = Loaded(found, path.stem, tuple(dict.fromkeys(_shorten(one) for one in caught)))
    if not is_estimator(loaded.estimator):
        what = type(loaded.estimator).__name__
        raise ExportError(f"{path}: expected a fitted estimator of scikit-learn with predict, got {what}")
    return loaded


def _shorten(warning: warnings.WarningMessage) -> str:
    text = " ".join(str(warning.message).split())
    return text.partition(" This might lead to")[0]


def _load_named(path: Path) -> Any:
    try:
        return load_object(str(path), is_estimator, "a fitted estimator, or a function that returns one")
    except Misuse as error:
        raise ExportError(str(error)) from None


def _load_pickle(path: Path, is_trusted: bool) -> Any:
    if not is_trusted:
        raise ExportError(
            f"{path}: it is a pickle, and reading a pickle runs the code that is in it: give --trust if you know who "
            "made it. Only this import reads it, never the server"
        )
    try:
        if path.suffix == ".joblib":
            return _import("joblib", "joblib", path).load(path)
        return pickle.loads(path.read_bytes())  # noqa: S301  # the person says that the file is trusted
    except NotPublished:
        raise
    except Exception as error:
        raise ExportError(
            f"{path}: it cannot be read: {type(error).__name__}: {first_line(error)}: use the packages and versions "
            "with which it was saved, and run the import in the folder of its own modules"
        ) from error


def _load_skops(path: Path, is_trusted: bool) -> Any:
    io = _import("skops.io", "skops", path)
    try:
        unknown = io.get_untrusted_types(file=path)
        if unknown and not is_trusted:
            raise ExportError(
                f"{path}: it needs the types {', '.join(unknown)}, whose code would run: give --trust if you know who "
                "made it. Only this import reads it, never the server"
            )
        return io.load(path, trusted=unknown)
    except NotPublished:
        raise
    except Exception as error:
        raise ExportError(f"{path}: it cannot be read: {type(error).__name__}: {first_line(error)}") from error


def _import(module: str, package: str, path: Path) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ExportError(f"{path}: importing it needs {package}: pip install {package}") from None
