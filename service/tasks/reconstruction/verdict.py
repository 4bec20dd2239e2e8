"""The fields of an answer about the difference between a row and its reconstruction."""

from typing import Any

from model_store.tasks import Reconstruction


def describe_error(facts: Reconstruction, error: float, score: float) -> dict[str, Any]:
    """``{"error", "score"?, "anomaly"?, "threshold"?}``. ``score`` is the error if the graph gives no score."""
    answer: dict[str, Any] = {"error": error}
    if facts.anomaly is not None:
        answer["score"] = score
    if facts.threshold is not None:
        answer |= {"anomaly": score > facts.threshold, "threshold": facts.threshold}
    return answer
