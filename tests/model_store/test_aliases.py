"""Aliases: names of versions that can move."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from model_store import BadName, IntegrityError, NotInStore, Store
from model_store.store import ALIASES_FILE


@pytest.mark.parametrize("alias", ["", "1", "1st", ".x", "a/b", "a\n", "x" * 101])
def test_alias_that_could_be_a_number_or_a_path_is_refused(filled: Store, alias: str) -> None:
    """An alias begins with a letter and is no path."""
    with pytest.raises(BadName, match="alias"):
        filled.set_alias("m", alias, 1)
    assert filled.aliases("m") == {}


def test_alias_of_a_version_that_is_not_there_is_refused(filled: Store) -> None:
    """The earlier aliases stay."""
    filled.set_alias("m", "stable", 1)
    with pytest.raises(NotInStore, match="no version 3"):
        filled.set_alias("m", "stable", 3)
    assert filled.aliases("m") == {"stable": 1}


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "an empty file"),
        (b"{", "what is not JSON"),
        (b"\xff", "what is not JSON"),
        (b"[1]", r"\[1\]"),
        (b"3", "3"),
        (b"null", "null"),
        (b'{"a": true}', "True for 'a'"),
        (b'{"b": 1, "a": "1"}', "'1' for 'a'"),
        (b'{"a": 0}', "0 for 'a'"),
        (b'{"1": 1}', "the alias '1'"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "what is not JSON"),
    ],
)
def test_damaged_alias_file_is_refused_and_named(filled: Store, content: bytes, got: str) -> None:
    """An alias file that is not an object of numbers is an error that names it, and what is wrong in it."""
    (filled.root / "m" / ALIASES_FILE).write_bytes(content)
    with pytest.raises(IntegrityError, match=rf"aliases\.json: expected a JSON object .*, got {got}"):
        filled.aliases("m")


def test_aliases_are_replaced_and_never_rewritten(filled: Store) -> None:
    """An open alias file can be read to its end, and no hidden file is left."""
    filled.set_alias("m", "stable", 2)
    filled.set_alias("m", "stable", 1)
    before = set((filled.root / "m").iterdir())
    with (filled.root / "m" / ALIASES_FILE).open("rb") as reader:
        filled.set_alias("m", "stable", 2)
        assert reader.read() == b'{"stable": 1}'
    assert filled.aliases("m") == {"stable": 2}
    assert set((filled.root / "m").iterdir()) == before


def test_reader_meets_whole_aliases_only(filled: Store) -> None:
    """A reader beside a writer sees the old state or the new one, never a part."""
    filled.set_alias("m", "stable", 1)
    done = threading.Event()

    def read() -> set[int]:
        seen = {filled.aliases("m")["stable"]}
        while not done.is_set():
            seen.add(filled.aliases("m")["stable"])
        return seen

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for i in range(40):
            filled.set_alias("m", "stable", 1 + i % 2)
        done.set()
        assert reading.result() <= {1, 2}


def test_aliases_that_are_set_at_once_are_all_kept(filled: Store) -> None:
    """Eight threads that set aliases lose none of them."""
    barrier = threading.Barrier(8)

    def point(thread: int) -> None:
        barrier.wait()
        for i in range(5):
            filled.set_alias("m", f"a{thread}-{i}", 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(point, range(8)))
    assert len(filled.aliases("m")) == 40


def test_aliases_can_be_read_by_others(filled: Store) -> None:
    """Another user's service can read the aliases."""
    filled.set_alias("m", "stable", 1)
    mode = os.stat(filled.root / "m" / ALIASES_FILE).st_mode
    assert mode & 0o044 == 0o044
