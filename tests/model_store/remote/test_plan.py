"""What a mirror has to do."""

from dataclasses import replace

from model_store.remote.contents import RemoteFile, RemoteModel
from model_store.remote.plan import CLOCK_STEP_S, Plan, find_marks, make_plan, mark_of
from model_store.remote.state import Kept, KeptFile, State
from model_store.remote.transfers.retries import LONGEST_WAIT_S, Backoff, find_waits

FILES = {"manifest.json": RemoteFile("w", 3, "a"), "main.onnx": RemoteFile("w", 5, "b")}
ALIASES = RemoteFile("w", 12, "10:00:00")
FOUND = {"m": RemoteModel({1: FILES}, {"aliases.json": ALIASES})}


def keep(read_after_s: float = CLOCK_STEP_S) -> State:
    """All of ``FOUND`` is here."""
    beside = KeptFile(mark=ALIASES.mark, sha256="", first_seen_s=100, read_s=100 + read_after_s)
    return State(versions={"m": {1: Kept(marks=find_marks(FILES))}}, beside={"m": {"aliases.json": beside}})


def test_nothing_is_to_do_where_nothing_has_changed() -> None:
    assert make_plan(FOUND, {"m": {1}}, keep(), Backoff(1), 0) == Plan()


def test_new_versions_come_first() -> None:
    """They are wanted most."""
    plan = make_plan({"m": RemoteModel({1: FILES, 2: FILES, 10: FILES})}, {"m": {1}}, keep(), Backoff(1), 0)
    assert plan.fetch == [("m", 10), ("m", 2)]


def test_version_that_was_removed_here_comes_again() -> None:
    assert make_plan(FOUND, {}, keep(), Backoff(1), 0).fetch == [("m", 1)]


def test_file_that_is_added_to_a_version_is_noticed() -> None:
    """Such as a signature."""
    found = {"m": RemoteModel({1: {**FILES, "model.sig": RemoteFile("w", 1, "c")}})}
    assert make_plan(found, {"m": {1}}, keep(), Backoff(1), 0).fetch == [("m", 1)]


def test_aliases_are_read_again_until_their_time_has_passed() -> None:
    """Times may be whole seconds: a second change within one leaves the list as it was."""
    assert make_plan(FOUND, {"m": {1}}, keep(CLOCK_STEP_S - 0.1), Backoff(1), 0).read == [("m", "aliases.json")]
    assert make_plan(FOUND, {"m": {1}}, keep(CLOCK_STEP_S), Backoff(1), 0).read == []
    unknown = {"m": RemoteModel({1: FILES}, {"aliases.json": replace(ALIASES, stamp="")})}
    assert make_plan(unknown, {"m": {1}}, keep(), Backoff(1), 0).read == [("m", "aliases.json")]


def test_what_is_gone_is_dropped_but_not_what_others_have_put_there() -> None:
    state = keep()
    state.versions["m"][2] = Kept(marks={})
    state.versions["gone"] = {1: Kept(marks={})}
    plan = make_plan({"m": RemoteModel({1: FILES})}, {"m": {1, 2, 3}, "own": {1}, "gone": {1}}, state, Backoff(1), 0)
    assert plan.drop_versions == [("m", 2)]
    assert plan.drop_files == [("m", "aliases.json")]
    assert plan.drop_models == ["gone"]


def test_models_that_do_not_matter_are_not_dropped() -> None:
    """Another server may share the copy."""
    assert make_plan({}, {"m": {1}}, keep(), Backoff(1), 0, only=("other",)).drop_models == []
    assert make_plan({}, {"m": {1}}, keep(), Backoff(1), 0, drops=False).drop_models == []


def test_what_cannot_be_fetched_rests_longer_each_time_until_it_changes() -> None:
    """Gigabytes with a wrong digest are not fetched at each look."""
    backoff, mark = Backoff(30.0), mark_of(find_marks(FILES))
    backoff.fail(("m", 1), mark, 0.0)
    assert not backoff.is_due(("m", 1), mark, 29.9)
    assert make_plan(FOUND, {}, State(), backoff, 29.9).fetch == []
    assert make_plan(FOUND, {}, State(), backoff, 30.0).fetch == [("m", 1)]
    backoff.fail(("m", 1), mark, 30.0)
    assert not backoff.is_due(("m", 1), mark, 89.9)
    assert backoff.is_due(("m", 1), "another", 89.9)
    for _ in range(100):
        backoff.fail(("m", 1), mark, 0.0)
    assert backoff.is_due(("m", 1), mark, LONGEST_WAIT_S)
    backoff.succeed(("m", 1))
    assert backoff.is_due(("m", 1), mark, 0.0)


def test_tries_are_few_and_ever_further_apart() -> None:
    assert list(find_waits(4)) == [0.2, 0.4, 0.8]
