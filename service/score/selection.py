"""Selects the columns of the input that make a row of the model."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from model_store.graph import MAIN
from model_store.pipelines.order import fields_of_rows
from service.codecs.series import VALUES, SeriesReader
from service.models.entry import Served
from service.models.pipeline import Pipeline
from service.score.errors import ScoreError
from service.score.sources.source import Source

Form = Literal["value", "list", "object"]
_USUAL = ("image", "picture", "sound", "audio", "text", "values", "row", "bytes", "path")
_SHOWN = 20


@dataclass(frozen=True)
class Selection:
    """``columns``: name of a value in the model -> the column that has it.

    ``form`` of a row: the value of the only column, a list of the values, or an object with the model's names.
    """

    form: Form
    columns: Mapping[str, str]


def select_columns(model: Served, task: str, source: Source, given: Sequence[str]) -> Selection:
    """``given``: COLUMN or NAME=COLUMN, from --columns. Raises ScoreError."""
    names = source.names
    pairs = {name: column for name, _, column in (text.partition("=") for text in given if "=" in text)}
    plain = [text for text in given if "=" not in text]
    if pairs and plain:
        raise ScoreError(
            f"--columns {','.join(given)}: expected only COLUMN, or only NAME=COLUMN, got both: name all of them"
        )
    _check_there(source, [*plain, *pairs.values()])
    if source.is_files:
        return Selection("value", {names[0]: names[0]})
    table = model.manifest.table
    if table is not None and task != "tensors":
        wanted: Sequence[str] = [column.name for column in table.columns]
        if plain:
            if len(plain) != len(wanted):
                raise ScoreError(
                    f"--columns: expected a column for each of {', '.join(wanted)}, got {len(plain)}: name them as "
                    "NAME=COLUMN"
                )
            return Selection("list", dict(zip(wanted, plain, strict=True)))
        optional = {column.name for column in table.columns if column.missing}
        found = _match(model, wanted, optional, pairs, source)
        return Selection("list" if len(found) == len(wanted) else "object", found)
    if len(plain) == 1:
        return Selection("value", {plain[0]: plain[0]})
    if plain:
        return Selection("list", {name: name for name in plain})
    wanted, optional = _fields_of(model, task)
    if wanted:
        return Selection("object", _match(model, wanted, optional, pairs, source))
    if pairs:
        return Selection("object", pairs)
    return Selection("value", {(only := _choose_one(model, source)): only})


def _fields_of(model: Served, task: str) -> tuple[Sequence[str], set[str]]:
    """The fields of a row that is an object, and which of them may be absent; none if a row is a single value."""
    if isinstance(model, Pipeline):
        facts = model.manifest.pipeline
        return (tuple(fields_of_rows(facts)) if facts is not None else ()), set()
    if task == "tensors":
        inputs = model.signature.public_inputs
        return tuple(inputs), {name for name, tensor in inputs.items() if tensor.optional}
    manifest = model.manifest
    if manifest.forecast is not None and task == "predict_sequence":
        further = [tensor.name for tensor in SeriesReader(model.context, b"").further]
        return ((VALUES, *further), set()) if further else ((), set())
    single = manifest.tokens or manifest.text or manifest.writing or manifest.sound or manifest.loop
    graph = manifest.graphs[MAIN]
    if single is not None or len(graph.inputs) == 1:
        return (), set()
    return tuple(tensor.name for tensor in graph.inputs), set()


def _match(
    model: Served, wanted: Sequence[str], optional: set[str], pairs: Mapping[str, str], source: Source
) -> Mapping[str, str]:
    """A column for each field. Raises ScoreError, which names the fields without one."""
    if unknown := [name for name in pairs if name not in wanted]:
        raise ScoreError(
            f"--columns {unknown[0]}={pairs[unknown[0]]}: expected names of model {model.name!r}: {_show(wanted)}"
        )
    found = {name: pairs.get(name, name) for name in wanted if name in pairs or name in source.names}
    if absent := [name for name in wanted if name not in found and name not in optional]:
        near = difflib.get_close_matches(absent[0], source.names, 1, cutoff=0.5)
        example = f"{absent[0]}={near[0] if near else 'COLUMN'}"
        raise ScoreError(
            f"{source.place.shown}: expected the columns {_show(wanted)}, as model {model.name!r} has them; there is "
            f"no {_show(absent)}, but {_show(source.names)}: rename them, or give --columns {example}"
        )
    return found


def _choose_one(model: Served, source: Source) -> str:
    """The column that is the row: the only one, or one with the name of an input or with a usual name."""
    names = source.names
    if len(names) == 1:
        return names[0]
    own = [] if isinstance(model, Pipeline) else list(model.signature.public_inputs)
    found = [name for name in (*own, *_USUAL) if name in names]
    if not found:
        raise ScoreError(
            f"{source.place.shown}: expected a column that model {model.name!r} takes as a row, got {_show(names)}: "
            "say which by --columns COLUMN, or several by --columns A,B,C"
        )
    return found[0]


def _check_there(source: Source, columns: Sequence[str]) -> None:
    if absent := [column for column in columns if column not in source.names]:
        raise ScoreError(
            f"--columns: expected columns of {source.place.shown}: {_show(source.names)}, got {absent[0]!r}"
        )


def choose_kept(source: Source, keep: str | None) -> Sequence[str]:
    """The columns to copy to the output: by default the paths of files, and none of a table. Raises ScoreError."""
    if keep is None:
        return source.names if source.is_files else ()
    if keep in ("all", "none"):
        return source.names if keep == "all" else ()
    kept = [name.strip() for name in keep.split(",") if name.strip()]
    if absent := [name for name in kept if name not in source.names]:
        raise ScoreError(f"--keep: expected all, none, or columns of {_show(source.names)}, got {absent[0]!r}")
    return list(dict.fromkeys(kept))


def _show(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
