"""The state of a model's canary and shadow, with the counts of all workers."""

from collections.abc import Mapping
from typing import Any

from service.metrics.meters import Metrics
from service.models.entry import ModelEntry
from service.models.rollout.active import ActiveRollout
from service.models.rollout.copies import Outcome
from service.models.rollout.rollouts import count_requests


def describe_rollout(metrics: Metrics, name: str, model_entry: ModelEntry) -> dict[str, Any]:
    """Slow, because it reads the counts of all workers; it may be called in a thread."""
    rollout = model_entry.rollout
    serving = model_entry.serving
    state: dict[str, Any] = {"name": name, "stable": None if serving is None else serving.version}
    state |= {"canary": None, "shadow": None}
    if not isinstance(rollout, ActiveRollout):
        return state
    found = rollout.describe()
    compared = metrics.sums()["sluice_compared"]
    canary, shadow = rollout.facts.canary, rollout.facts.shadow
    if canary is not None:
        counts = count_requests(metrics, name, canary.trial)
        del counts["returned"], counts["compared"], counts["differ"]
        state["canary"] = {
            **found["canary"],
            "header": canary.header,
            "begun": canary.begun,
            "limits": canary.limits.model_dump(),
            **counts,
            "compared": _count(compared, name, canary.version),
        }
    if shadow is not None:
        state["shadow"] = {
            **found["shadow"],
            "begun": shadow.begun,
            "compared": _count(compared, name, shadow.version),
        }
    return state


def _count(compared: Mapping[Any, Any], name: str, version: int) -> dict[str, int]:
    """The number of compared answers for each outcome, since the server started."""
    return {outcome.value: int(sum(compared.get((name, str(version), outcome.value), (0.0,)))) for outcome in Outcome}
