"""The model cards at /models: what people want to know about a model, and what a page needs to send it requests."""

from typing import Any

from model_store.manifest import Manifest
from service.api.info.metadata import describe_pipeline, describe_tensor
from service.api.steps import check_ready
from service.errors import ServiceError
from service.models.entry import Model, ModelEntry, State
from service.models.pipeline import Pipeline
from service.models.registry import Registry

_DETAILS = (
    *("classes", "image", "table", "tokens", "sound", "detection", "segmentation", "embedding", "regression"),
    *("loop", "forecast", "text", "tags", "writing", "reading", "reconstruction", "generation"),
)
"""Fields of a manifest that describe inputs and answers."""


def describe_card(registry: Registry, name: str, model_entry: ModelEntry) -> dict[str, Any]:
    """The card of a model in the store, whether it serves or not."""
    serving, waits = model_entry.serving, registry.waits_for_demand(model_entry)
    rests = waits and model_entry.card
    card: dict[str, Any] = {
        "name": name,
        "ready": bool(serving or rests),
        "serving": serving.version if serving else str(model_entry.evicted_default) if rests else None,
        "aliases": model_entry.aliases,
        "versions": _versions(model_entry),
    }
    reason = model_entry.reason or "; ".join(each.reason for each in model_entry.unusable if not each.version)
    if reason:
        card["reason"] = reason
    if model_entry.rollout is not None:
        card["rollout"] = model_entry.rollout.describe()
    warnings = [*model_entry.warnings, *filter(None, [registry.store_fault, registry.tell_remote(name)])]
    if warnings:
        card["warnings"] = warnings
    if waits:
        return card | {"on_demand": True, **model_entry.card}
    if serving is None:
        return card
    if isinstance(serving, Pipeline):
        return card | _card_of_pipeline(registry, serving)
    return card | describe_facts(serving)


def describe_facts(serving: Model) -> dict[str, Any]:
    """The part of a card about the version in service."""
    manifest, loaded, signature = serving.manifest, serving.loaded, serving.signature
    return {
        **_describe_purpose(manifest),
        "details": _details(manifest),
        "graphs": sorted(manifest.graphs),
        "labels": manifest.labels,
        "inputs": [describe_tensor(t) for t in signature.public_inputs.values()],
        "outputs": [describe_tensor(t) for t in signature.public_outputs.values()],
        "parity": manifest.parity.model_dump() if manifest.parity else None,
        "provider": loaded.session.provider,
        "device": loaded.session.device,
        "golden_error": loaded.golden_error,
        "batching": {
            "batches": signature.batches,
            "max_rows": loaded.max_rows,
            "max_wait_s": serving.dispatcher.queue.max_wait_s,
            "rows": loaded.rows.verdict,
            "reason": loaded.rows.reason,
            "bits": loaded.bits,
            "least_rows": loaded.least_rows,
            "threads_alone": loaded.all_cores.threads if loaded.all_cores else None,
        },
    }


def _describe_purpose(manifest: Manifest) -> dict[str, Any]:
    """What a model or a pipeline is for, and how good it is."""
    return {
        "task": manifest.task,
        "tasks": sorted(manifest.tasks),
        "description": manifest.description,
        "quality": manifest.quality.model_dump() if manifest.quality else None,
        "licence": manifest.licence,
    }


def _details(manifest: Manifest) -> dict[str, Any]:
    """What the manifest says about inputs and answers, such as the size of pictures or the columns of a table."""
    found = {name: getattr(manifest, name) for name in _DETAILS}
    return {name: facts.model_dump(mode="json") for name, facts in found.items() if facts is not None}


def _card_of_pipeline(registry: Registry, pipeline: Pipeline) -> dict[str, Any]:
    """What the pipeline does, and why it is not ready if it is not."""
    facts = {**_describe_purpose(pipeline.manifest), "pipeline": describe_pipeline(pipeline)}
    try:
        check_ready(registry, pipeline)
    except ServiceError as error:
        facts |= {"ready": False, "reason": str(error)}
    return facts


def _versions(model_entry: ModelEntry) -> list[dict[str, Any]]:
    """First the versions that were loaded, or failed to load; then those that cannot be loaded."""
    cards = []
    for number, entry in sorted(model_entry.entries.items()):
        cards.append({"version": str(number), "state": entry.state})
        if entry.reason:
            cards[-1]["reason"] = entry.reason
    for each in model_entry.unusable:
        if each.version and not any(card["version"] == each.version for card in cards):
            cards.append({"version": each.version, "state": State.UNAVAILABLE, "reason": each.reason})
    return cards
