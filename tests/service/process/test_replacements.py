"""Which new workers replace old ones, and which settings a running server may change. No processes."""

import pytest
from pydantic import SecretStr

from service.process.replacements import FIXED, Place, find_fault, keep_fixed
from service.process.restarts import WorkerState
from service.settings import Settings


def worker(*lacking: str, has_loaded: bool = True) -> WorkerState:
    return WorkerState(is_first=False, lacking=frozenset(lacking) if has_loaded else None)


def test_successor_has_the_place_when_the_worker_has_ended() -> None:
    """The successor takes the place when the worker ends. Without one the place is empty."""
    place = Place[WorkerState](1)
    place.worker, place.successor = worker(), (new := worker())
    assert place.take_successor() is new
    assert (place.worker, place.successor) == (new, None)
    assert place.take_successor() is None
    assert place.worker is None


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (worker(), worker(), ""),
        (worker("broken"), worker("broken"), ""),
        (worker("broken"), worker(), ""),
        (None, worker("broken"), ""),
        (worker(has_loaded=False), worker("broken"), ""),
        (worker(), worker("b", "a"), "in the new one these models do not serve, its log tells why: a, b"),
        (worker(), worker(has_loaded=False), "the new one ended before its models were loaded"),
        (None, worker(has_loaded=False), "the new one ended before its models were loaded"),
    ],
    ids=["equal", "as bad", "better", "no old one", "old one loads", "a model less", "ended", "ended, no old one"],
)
def test_new_worker_must_serve_what_the_old_one_serves(old: WorkerState | None, new: WorkerState, fault: str) -> None:
    """The old worker stays if its callers would otherwise lose a model. If it does not serve yet, it is replaced."""
    assert find_fault(old, new) == fault


def test_what_needs_a_restart_keeps_its_value() -> None:
    """The value of the running server stays, not the given one: host and port were resolved at the start."""
    given = Settings(host="localhost", port=0, max_rows=8)
    running = given.replace(host="127.0.0.1", port=4321, workers=1)
    assert keep_fixed(running, given, given.replace(max_rows=16)) == (running.replace(max_rows=16), [])
    wanted = given.replace(host="::1", port=1, grpc_port=2, workers=3, metrics_dir="/elsewhere", max_rows=16)
    kept, refused = keep_fixed(running, given, wanted)
    assert kept == running.replace(max_rows=16)
    assert refused == [f"SLUICE_{name.upper()}" for name in FIXED]


def test_signed_states_outlive_a_replacement() -> None:
    """A key that the server has made itself stays; a given one replaces it."""
    given, drawn = Settings(), Settings(state_key=SecretStr("drawn"))
    assert keep_fixed(drawn, given, given)[0].state_key.get_secret_value() == "drawn"
    assert keep_fixed(drawn, given, Settings(state_key=SecretStr("new")))[0].state_key.get_secret_value() == "new"
