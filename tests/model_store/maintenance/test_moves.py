"""Promotion and rollback: what ``stable`` names, and what it goes back to."""

import itertools
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store import IntegrityError, NotInStore, Store
from model_store.errors import NotWritable, StillUsed
from model_store.files import aliases, staging
from model_store.files.aliases import HISTORY_FILE, find_rollback, read_history, record_move
from model_store.maintenance.moves import promote, remove_alias, roll_back
from model_store.store import Move
from tests.support.models.manifests import describe, describe_pipeline

STABLE = "stable"


@pytest.fixture
def five(filled: Store) -> Store:
    """Versions 1 to 5 of the model ``m``."""
    for content in (b"three", b"four", b"five"):
        filled.publish(describe(), {"main.onnx": content})
    return filled


def test_damaged_version_is_not_promoted(five: Store) -> None:
    """``stable`` stays where it is, and nothing is added to the history."""
    promote(five, "m", 2)
    (five.root / "m" / "5" / "main.onnx").write_bytes(b"evif")
    with pytest.raises(IntegrityError, match=r"main\.onnx is not the file that was published"):
        promote(five, "m")
    assert five.aliases("m") == {STABLE: 2}
    assert read_history(five.root / "m").stable == ()


def test_rollback_of_the_only_version_is_refused(store: Store) -> None:
    """There is nothing to go back to, and no alias is made."""
    store.publish(describe(), {"main.onnx": b"one"})
    with pytest.raises(NotInStore, match="'m' has nothing to go back to: version 1 is in use"):
        roll_back(store, "m")
    assert store.aliases("m") == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"stable": ["1"]}', b'{"stable": [0]}', b'{"more": 1}'])
def test_damaged_history_is_refused_and_named(five: Store, content: bytes) -> None:
    """A rollback does not guess, and the message says what happens without the file."""
    (five.root / "m" / HISTORY_FILE).write_bytes(content)
    with pytest.raises(IntegrityError, match=r"m/history\.json: expected a JSON object .*fix or remove"):
        roll_back(five, "m")
    assert five.aliases("m") == {}


def test_rollbacks_undo_promotions_one_by_one(five: Store) -> None:
    """Each goes to the version before, whatever its number; then to older ones, until there is none."""
    for version in (2, 5, 3, 3):
        promote(five, "m", version)
    assert [roll_back(five, "m").after for _ in range(3)] == [5, 2, 1]
    with pytest.raises(NotInStore, match="nothing to go back to"):
        roll_back(five, "m")
    assert five.aliases("m") == {STABLE: 1}


def test_without_stable_a_rollback_leaves_the_newest(five: Store) -> None:
    """The newest version answered until then, so the one before it answers now."""
    assert roll_back(five, "m") == (None, 4)


def test_rollback_to_a_chosen_version_forgets_what_came_after_it(five: Store) -> None:
    """The next rollback goes on from there."""
    for version in (1, 4, 2, 5):
        promote(five, "m", version)
    assert roll_back(five, "m", to=4) == (5, 4)
    assert roll_back(five, "m") == (4, 1)
    assert roll_back(five, "m", to="3").after == 3
    assert roll_back(five, "m").after == 2


@pytest.mark.parametrize("move", [lambda s: roll_back(s, "m", to=STABLE), lambda s: promote(s, "m", 4)])
def test_move_to_where_it_is_changes_nothing(five: Store, move: Callable[[Store], Move]) -> None:
    """A command that is given twice loses no step back."""
    promote(five, "m", 2)
    promote(five, "m", 4)
    assert move(five) == (4, 4)
    assert roll_back(five, "m") == (4, 2)


def test_setting_stable_by_hand_can_be_rolled_back(five: Store) -> None:
    """It does not matter which command moved it; other aliases have no history."""
    five.set_alias("m", STABLE, 3)
    five.set_alias("m", "beta", 1)
    five.set_alias("m", STABLE, 1)
    assert roll_back(five, "m").after == 3
    assert five.aliases("m") == {"beta": 1, STABLE: 3}


@pytest.mark.parametrize("moves", [lambda s: promote(s, "m", 5), lambda s: roll_back(s, "m")])
def test_process_that_dies_between_the_two_files_loses_no_step_back(
    five: Store, moves: Callable[[Store], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a move is cut short, the next rollbacks lead to the versions before, and none is met twice."""
    for version in (1, 2, 3):
        promote(five, "m", version)
    real, written = aliases.replace_synced, []

    def die(path: Path, content: bytes) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(aliases, "replace_synced", die)
        with pytest.raises(KeyboardInterrupt):
            moves(five)
    now = five.aliases("m")[STABLE]
    assert [roll_back(five, "m").after for _ in range(now - 1)] == list(range(now - 1, 0, -1))


@given(st.lists(st.integers(1, 6), max_size=12), st.sets(st.integers(1, 6), min_size=1))
def test_rollback_ends_at_a_version_that_is_there(moves: list[int], usable: set[int]) -> None:
    """For any promotions and removals: it goes to another usable version, and a walk back always ends."""
    history: tuple[int, ...] = ()
    for before, after in itertools.pairwise(moves):
        history = record_move(history, before, after)
    current: int | None = moves[-1] if moves else max(usable)
    for _ in range(len(history) + len(usable) + 1):
        assert current is not None
        target, history = find_rollback(history, current, usable)
        assert target != current
        assert target is None or target in usable
        current = target
        if current is None:
            return
    raise AssertionError("the walk did not end")


def test_alias_that_a_pipeline_names_stays_unless_forced(five: Store) -> None:
    """Its removal would break the pipeline, which the message names."""
    five.set_alias("m", "beta", 1)
    five.publish(describe_pipeline("p", ("m", "beta")), {})
    with pytest.raises(StillUsed, match="'beta' of 'm' is a step of p 1"):
        remove_alias(five, "m", "beta")
    assert remove_alias(five, "m", "beta", force=True) == (1, None)
    with pytest.raises(NotInStore, match="no alias 'beta' of 'm': there are none"):
        remove_alias(five, "m", "beta")


def test_store_that_cannot_be_written_says_why_and_what_to_do(five: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder, the reason of the system and the advice are in one line; the aliases stay."""
    promote(five, "m", 1)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(aliases, "replace_synced", refuse)
    with pytest.raises(NotWritable, match=r"/m cannot be changed: Read-only file system: mount it so that"):
        promote(five, "m", 2)
    assert json.loads((five.root / "m" / "aliases.json").read_bytes()) == {STABLE: 1}


def test_file_system_without_locks_is_told(five: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a lock two commands could undo each other, so none is carried out."""

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(staging.fcntl, "flock", refuse)
    with pytest.raises(NotWritable, match="its file system has no locks"):
        promote(five, "m")


def test_two_publishers_and_a_rollback_at_once(five: Store) -> None:
    """Every publish gets a number of its own, and every rollback undoes its promotion, to a version that is whole."""
    begin = threading.Barrier(3)
    promote(five, "m", 1)

    def publish(who: int) -> list[int]:
        begin.wait()
        return [five.publish(describe(), {"main.onnx": b"%d %d" % (who, i)}).version for i in range(8)]

    def move() -> int:
        begin.wait()
        for _ in range(12):
            newest = promote(five, "m").after
            five.find("m", newest).verify()
            assert roll_back(five, "m") == (newest, 1)
        return 12

    with ThreadPoolExecutor(3) as pool:
        publishing = [pool.submit(publish, who) for who in range(2)]
        assert pool.submit(move).result() == 12
        numbers = sorted(number for each in publishing for number in each.result())
    assert numbers == list(range(6, 22))
    assert {version.version for version in five.versions("m") if version.verify()} == set(range(1, 22))
    assert five.aliases("m") == {STABLE: 1}
