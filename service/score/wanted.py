"""The arguments of the user, and what can be prepared before a model is loaded."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_store import ModelVersion, Store
from service.score.engine import Engine, read_settings
from service.score.errors import ScoreError
from service.score.output.state import Job, describe_input, describe_model
from service.score.output.writing import Output, plan_output
from service.score.places import open_place
from service.score.selection import choose_kept
from service.score.sources.opening import open_source
from service.score.sources.source import Source
from service.settings import Settings
from service.settings.remote import bring_copy
from service.settings.store import open_store


@dataclass(frozen=True)
class Wanted:
    """The arguments of the command. ``version`` may be an alias. ``columns`` and ``keep`` are not parsed yet."""

    model: str
    input: str
    output: str
    version: str | None = None
    store: Path | None = None
    task: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    columns: Sequence[str] = ()
    keep: str | None = None
    format: str | None = None
    part_rows: int | None = None
    is_strict: bool = False
    restarts: bool = False
    ray: str | None = None
    actors: int | None = None


@dataclass(frozen=True)
class Prepared:
    """``left_out``: how many files of the input's folder are of other kinds."""

    wanted: Wanted
    settings: Settings
    store: Store
    version: ModelVersion
    source: Source
    output: Output
    left_out: int

    @property
    def part_rows(self) -> int:
        return self.wanted.part_rows or self.source.part_rows

    def describe(self, engine: Engine) -> Job:
        """Everything that the output depends on. Raises StoreError."""
        wanted = self.wanted
        options = {
            "task": engine.task,
            "options": dict(wanted.options),
            "columns": list(wanted.columns),
            "keep": list(choose_kept(self.source, wanted.keep)),
            "format": self.output.format,
            "part_rows": self.part_rows,
            "ray": wanted.ray is not None,
        }
        model = describe_model(self.store, self.version, engine.provider)
        return Job(model, describe_input(self.source.files), options)


def prepare(wanted: Wanted, environ: Mapping[str, str] = os.environ) -> Prepared:
    """Find the version, open the input, and plan the output. Raises ScoreError, SettingsError, StoreError."""
    settings = read_settings(wanted.store, environ)
    if settings.store_url:
        bring_copy(settings.store_url, settings.store)
    store = open_store(settings)
    version = store.find(wanted.model, wanted.version)
    place, target = open_place(wanted.input), open_place(wanted.output)
    output = plan_output(target, wanted.format)
    if f"{output.folder.path}/".startswith(f"{place.path}/") and place.is_local is target.is_local:
        raise ScoreError(
            f"{target.shown}: expected an output outside of the input {place.shown}: choose another folder"
        )
    source, left_out = open_source(place)
    return Prepared(wanted, settings, store, version, source, output, left_out)
