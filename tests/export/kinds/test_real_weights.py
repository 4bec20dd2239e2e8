"""Networks with real weights, from packages: published, and right over HTTP."""

import pytest

pytest.importorskip("torch")

from tests.support.kinds.case import Kind  # behind the check that torch is there
from tests.support.kinds.outcome import try_kind
from tests.support.kinds.real import KINDS, STATEFUL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]  # of the packages


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_network_of_a_package_is_published_and_answers_as_pytorch_does(kind: Kind, one_thread: None) -> None:
    """Parity needs no tolerance, and the server answers as the package's own network does."""
    outcome = try_kind(kind)
    assert outcome.published, outcome.refusal or outcome.crash
    assert outcome.wrong == []
    assert outcome.failed == []


def test_scripted_network_that_keeps_state_is_refused_with_the_reason(one_thread: None) -> None:
    """Each call of silero's voice detector depends on the call before, so no graph of one call is right."""
    outcome = try_kind(STATEFUL)
    assert outcome.crash is None
    assert outcome.refusal is not None
    assert "state" in outcome.refusal
