"""Finds what names a version: aliases, a canary or shadow, steps of pipelines. Such a version is not removed."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from model_store.errors import StoreError
from model_store.rollout import read_rollout
from model_store.store import ModelVersion, Store, read_number


@dataclass(frozen=True, slots=True)
class PipelineUse:
    """A step of a pipeline. ``version`` is the number or alias in the step; None: the version that serves."""

    pipeline: str
    """Name and version of the pipeline, for people."""
    version: str | None


@dataclass(frozen=True, slots=True)
class Uses:
    """What names the versions of one model."""

    versions: Mapping[int, list[str]] = field(default_factory=dict)
    """By number, what names the version, such as ``the alias stable``."""
    pipelines: tuple[PipelineUse, ...] = ()
    """The steps of other models that run this one."""


def find_uses(store: Store, name: str, pipelines: Mapping[str, list[PipelineUse]]) -> Uses:
    """What names the versions of a model. ``pipelines``: as from ``find_pipelines``.

    Raises IntegrityError if the aliases or the rollout cannot be read: then nothing may be removed.
    """
    found: defaultdict[int, list[str]] = defaultdict(list)
    aliases = store.aliases(name)
    for alias, number in aliases.items():
        found[number].append(f"the alias {alias}")
    rollout = read_rollout(store.folder(name))
    for role, trial in (("canary", rollout.canary), ("shadow", rollout.shadow)):
        if trial is not None:
            found[trial.version].append(f"its {role}")
    steps = tuple(pipelines.get(name, ()))
    for step in steps:
        wanted = None if step.version is None else read_number(step.version)
        if wanted:
            found[wanted].append(f"the pipeline {step.pipeline}")
    return Uses(dict(found), steps)


def find_pipelines(store: Store) -> dict[str, list[PipelineUse]]:
    """The steps of all readable pipelines of the store, by the model that they run."""
    found: defaultdict[str, list[PipelineUse]] = defaultdict(list)
    for name, contents in store.list_all().items():
        for version in store.versions_of(name, contents):
            for model, wanted in _read_steps(version):
                found[model].append(PipelineUse(f"{name} {version.version}", wanted))
    return dict(found)


def _read_steps(version: ModelVersion) -> set[tuple[str, str | None]]:
    try:
        if version.is_plain:
            return set()
        pipeline = version.read_manifest().pipeline
    except (StoreError, OSError):  # it cannot serve, so it needs no model
        return set()
    return {(step.model, step.version) for step in pipeline.steps.values() if step.model} if pipeline else set()
