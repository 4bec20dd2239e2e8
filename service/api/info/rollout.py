"""What the server says of a model's canary and shadow: what is on trial, and what was noted of it by all workers."""

from collections.abc import Mapping
from typing import Any

from service.metrics.meters import Metrics
from service.models.entry import ModelEntry
from service.models.rollout.active import ActiveRollout
from service.models.rollout.copies import Outcome
from service.models.rollout.rollouts import count_requests


def describe_rollout(metrics: Metrics, name: str, model_entry: ModelEntry) -> dict[str, Any]:
    """May be called in a thread: it reads the numbers of all workers."""
    rollout = model_entry.rollout
    serving = model_entry.serving
    told: dict[str, Any] = {"name": name, "stable": None if serving is None else serving.version}
    told |= {"canary": None, "shadow": None}
    if not isinstance(rollout, ActiveRollout):
        return told
    found = rollout.describe()
    compared = metrics.sums()["sluice_compared"]
    canary, shadow = rollout.facts.canary, rollout.facts.shadow
    if canary is not None:
        noted = count_requests(metrics, name, canary.trial)
        del noted["returned"], noted["compared"], noted["differ"]
        told["canary"] = {
            **found["canary"],
            "header": canary.header,
            "begun": canary.begun,
            "limits": canary.limits.model_dump(),
            **noted,
            "compared": _count(compared, name, canary.version),
        }
    if shadow is not None:
        told["shadow"] = {
            **found["shadow"],
            "begun": shadow.begun,
            "compared": _count(compared, name, shadow.version),
        }
    return told


def _count(compared: Mapping[Any, Any], name: str, version: int) -> dict[str, int]:
    """Answers by what came of their comparison, since the server started."""
    return {outcome.value: int(sum(compared.get((name, str(version), outcome.value), (0.0,)))) for outcome in Outcome}
