"""What counts as a failure of a version."""

from typing import Any, cast

import pytest

from model_store.rollout import Rollout
from service.models.entry import ModelEntry, Served
from service.models.rollout.active import ActiveRollout, ModelExposure
from tests.service.models.rollout.serving import canary


def noted(header: str | None, *ends: tuple[int, str]) -> int:
    """How many of these ends, by status and reason, count as failures of the canary that was chosen."""
    found: list[Any] = []
    rollout = ActiveRollout("m", ModelEntry(), Rollout(canary=canary(header=header)), found.append, lambda *_: None)
    for status, reason in ends:
        ModelExposure(rollout, cast(Served, object()), None, True).end(status, 0.01, reason)
    assert found == [rollout]  # it was called when the window began
    window = rollout.take_window()
    assert (window.canary.requests, window.stable.requests) == (len(ends), 0)
    return window.canary.failed


@pytest.mark.parametrize("header", [None, "x-user"])
def test_failures_of_the_server_count_and_answers_do_not(header: str | None) -> None:
    """Nor does a caller who has gone: the request may have been answered in time."""
    assert noted(header, (500, "failed"), (503, ""), (504, "deadline"), (404, ""), (429, "queue_full")) == 5
    assert noted(header, (200, ""), (499, "cancelled")) == 0


def test_faults_of_requests_count_only_where_chance_chooses() -> None:
    """By a header one caller with bad requests, or beyond its limit, would decide."""
    ends = ((400, "invalid"), (413, ""), (415, ""), (422, ""), (501, ""), (429, "rate_limited"))
    assert noted(None, *ends) == 6
    assert noted("x-user", *ends) == 0
