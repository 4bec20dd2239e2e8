"""Keeps a version alive for callers that have begun something on it: a sequence, or a state of a series.

A version that leaves service stays until its sequences have ended. If callers hold states of it, it stays for a limited
time. Only requests that continue such work still reach it.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from model_store.manifest import Task
from service.codecs.series import STATE
from service.codecs.state import Origin, read_origin
from service.errors import NotReady, ServiceError, StillLoading
from service.models.entry import Model, Served
from service.models.registry import Registry
from service.protocol.infer_request import SequenceStep
from service.sequences.sequences import Sequences
from service.tasks.sequences.forecast import ForecastOptions
from service.transport.request import Request


class Continuations:
    """Used on the event loop only. A version that leaves service stays for at most ``grace_s`` seconds."""

    def __init__(self, registry: Registry, sequences: Sequences, grace_s: float) -> None:
        self._registry = registry
        self._sequences = sequences
        self._grace_s = grace_s
        self._stopping = asyncio.Event()

    async def release(self, model: Served) -> None:
        """Return when the version is no longer needed."""
        if not isinstance(model, Model) or model.is_closed:  # closed to make room: the same version comes back
            return
        if model.has_given_states:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._grace_s):
                    await self._stopping.wait()
            await self._sequences.end(model.signature, 0.0)
        else:
            await self._sequences.end(model.signature, self._grace_s)

    def stop(self) -> None:
        """The server stops: wait for nothing any more."""
        self._stopping.set()
        self._sequences.stop_waiting()

    def find(self, request: Request) -> Model:
        """The version in service, or else one that is leaving: a sequence may continue there.

        Raises UnknownModel, NotReady.
        """
        endpoint = request.endpoint
        try:
            return self._registry.find(endpoint.model, endpoint.version)
        except StillLoading:
            raise
        except NotReady:
            model = self._registry.find_leaving(endpoint.model, endpoint.version)
            if model is None:
                raise
            return model

    def choose(self, model: Model, request: Request, step: SequenceStep | None) -> Model:
        """The version on which the sequence of the request began, unless the caller names another by number.

        ``model`` is what ``find`` returned. Without a sequence the answer is ``model``, or the version in service if
        ``model`` is leaving. Raises NotReady if there is none.
        """
        endpoint = request.endpoint
        if step is not None and not step.starts:
            begun, version = self._sequences.find_owner(model.name, step.id), endpoint.version
            if request.exposure is not None:
                model = self._registry.find(model.name)
                request.exposure.pin(begun or model)
            if isinstance(begun, Model) and (version is None or version == begun.version or not version.isdigit()):
                return begun
        is_leaving = model.is_closed or model in self._registry.leaving
        return self._registry.find(model.name, endpoint.version) if is_leaving else model


def find_for_states(
    registry: Registry, options: ForecastOptions, task: Task, rows: Sequence[Any], key: bytes, request: Request
) -> Model:
    """The model for a request whose rows may continue from states.

    It is the version that made the first state, even if that is leaving service, unless the caller names a version by
    number. Raises UnknownModel, NotReady.
    """
    version = options.wanted_version
    name = options.model or registry.default_of(task)
    try:
        model = registry.find_for_task(task, name, version, request)
    except NotReady:
        leaving = registry.find_leaving(name, version)
        origin = None if leaving is None else _origin_of(rows, key)
        if leaving is None or origin is None or origin[:2] != (leaving.name, leaving.version):
            raise
        return leaving
    if (version is None or not version.isdigit()) and _has_others(registry, model):
        origin = _origin_of(rows, key)
        if origin is not None and origin.model == model.name and origin.version != model.version:
            model = _find_version(registry, model, origin.version)
        if origin is not None and request.exposure is not None:
            request.exposure.pin(model)
    return model


def _origin_of(rows: Sequence[Any], key: bytes) -> Origin | None:
    """Which version made the first state; None if there is no state, or it was not signed with the key."""
    texts = (row[STATE] for row in rows if isinstance(row, dict) and STATE in row)
    return read_origin(key, next(texts, None))


def _has_others(registry: Registry, model: Model) -> bool:
    """Whether other versions of the model could answer."""
    entry = registry.entries.get(model.name)
    versions = () if entry is None else entry.entries.values()
    able = [each for each in versions if each.model is not None or (each.on_demand and each.has_served)]
    return len(able) > 1 or any(each.name == model.name for each in registry.leaving)


def _find_version(registry: Registry, model: Model, version: str) -> Model:
    """This version of the model; ``model`` itself if the version cannot answer.

    The caller then gets an error that the state belongs to another version. Raises StillLoading for a version that was
    unloaded to make room.
    """
    try:
        found = registry.find(model.name, version)
    except StillLoading:
        raise
    except ServiceError:
        return registry.find_leaving(model.name, version) or model
    return found if found.tasks == model.tasks else model
