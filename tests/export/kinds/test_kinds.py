"""Small models of every kind that public bug reports are about: a published one never gives a wrong answer."""

from functools import cache
from importlib.util import find_spec

import pytest

pytest.importorskip("torch")

from tests.support.kinds.case import Kind  # behind the check that torch is there
from tests.support.kinds.outcome import Outcome, try_kind
from tests.support.kinds.suite import KINDS

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, about what the models do

_LEAST_PUBLISHED = 0.9
_KINDS = {kind.name: kind for kind in KINDS}


@cache
def outcome_of(name: str) -> Outcome:
    return try_kind(_KINDS[name])


def _can_run(kind: Kind) -> bool:
    return kind.needs is None or find_spec(kind.needs) is not None


_NAMES = [pytest.param(kind.name, id=kind.name, marks=[] if kind.fast else [pytest.mark.slow]) for kind in KINDS]


@pytest.mark.long
@pytest.mark.parametrize("name", _NAMES)
def test_what_is_published_answers_as_pytorch_does(name: str, one_thread: None) -> None:
    """Over HTTP, a published model answers as PyTorch does at sizes and values that parity did not use."""
    if not _can_run(_KINDS[name]):
        pytest.skip(f"{_KINDS[name].needs} is not installed")
    outcome = outcome_of(name)
    assert outcome.wrong == []
    assert outcome.failed == []
    assert outcome.crash is None
    assert not outcome.published or outcome.answered > len(outcome.answers) / 2, outcome.declined
    assert outcome.published or not _KINDS[name].fast, outcome.refusal


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_most_of_what_plain_export_gets_right_is_published(one_thread: None) -> None:
    """At least 90 % of the models that one of torch's exporters gets right are published. `-s` prints the table."""
    outcomes = [outcome_of(kind.name) for kind in KINDS if _can_run(kind)]
    right = [outcome for outcome in outcomes if outcome.plain is not None]
    published = [outcome for outcome in right if outcome.published]
    print("", *(outcome.as_row() for outcome in outcomes), sep="\n")
    print(f"{len(outcomes)} models; torch exports {len(right)} rightly; {len(published)} of these are published")
    assert len(published) >= _LEAST_PUBLISHED * len(right)
