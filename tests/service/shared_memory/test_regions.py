"""Which regions may be registered, how many, and that all workers know the same ones."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.errors import Forbidden, InvalidInput, ServiceError
from service.settings import Settings, SettingsError
from service.shared_memory.files import OpenRegion
from service.shared_memory.regions import Regions

SIZE = 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """In place of /dev/shm, with a region of 64 bytes."""
    made = tmp_path / "shm"
    made.mkdir()
    (made / "frames-1").write_bytes(bytes(range(SIZE)))
    return made


def regions_of(folder: Path, shared: Path | None = None, **changes: object) -> Regions:
    patterns = ("frames-*", "fixed-*:ro")
    return Regions(Settings(shared_memory=patterns, metrics_dir=shared).replace(**changes), folder)


@pytest.fixture
def regions(folder: Path) -> Iterator[Regions]:
    made = regions_of(folder)
    yield made
    made.close()


def register(regions: Regions, name: str = "a", key: str = "/frames-1", offset: int = 0, size: int = SIZE) -> None:
    regions.register(name, key, offset, size, "")


def link_to(folder: Path, name: str) -> None:
    (folder / name).symlink_to(folder / "frames-1")


def listen(folder: Path, name: str) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / name))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder, name: None, "No such file"),
        (link_to, "another kind of file"),
        (lambda folder, name: os.link(folder / "frames-1", folder / name), "with one name, got a link"),
        (lambda folder, name: os.mkfifo(folder / name), "another kind of file"),
        (lambda folder, name: (folder / name).mkdir(), "another kind of file"),
        (listen, "another kind of file"),
        (lambda folder, name: (folder / name).write_bytes(bytes(SIZE - 1)), "within the 63 bytes"),
    ],
)
def test_other_files_are_not_regions(
    folder: Path, regions: Regions, make: Callable[[Path, str], object], said: str
) -> None:
    """A link, a pipe, a folder, a socket, a file that is too short or not there is refused."""
    make(folder, "frames-2")
    with pytest.raises(InvalidInput, match=said):
        register(regions, key="/frames-2")
    assert regions.list_of("") == []


@pytest.mark.parametrize(
    "key",
    ["", "/", "//frames-1", "/../shm/frames-1", "frames-/../frames-1", "..", "frames-\0", "frames-" + 300 * "x"],
)
def test_key_is_a_name_and_no_path(regions: Regions, key: str) -> None:
    """Nothing leads out of the folder or below it."""
    with pytest.raises(InvalidInput, match="expected a name such as /frames"):
        register(regions, key=key)


@pytest.mark.parametrize("key", ["/secrets", "secrets", "/frames", "FRAMES-1", "xframes-1"])
def test_name_that_the_setting_does_not_allow_is_refused(folder: Path, regions: Regions, key: str) -> None:
    """Whether such a file is there is not told."""
    (folder / "secrets").write_bytes(bytes(SIZE))
    with pytest.raises(Forbidden, match="SLUICE_SHARED_MEMORY does not allow this name"):
        register(regions, key=key)


def test_server_does_not_start_without_shared_memory(tmp_path: Path) -> None:
    """Where there is no folder for regions, the setting is refused at the start."""
    with pytest.raises(SettingsError, match="SLUICE_SHARED_MEMORY: expected Linux"):
        regions_of(tmp_path / "none")


def test_number_and_size_of_regions_are_limited(folder: Path) -> None:
    """One region too many is refused, unless the file of another is gone; so is one that is too large."""
    regions = regions_of(folder, max_regions=2, max_region_bytes=1024)
    for number in (2, 3, 4):
        (folder / f"frames-{number}").write_bytes(bytes(2048))
    with pytest.raises(InvalidInput, match="expected 1 to 1024, got 1025"):
        register(regions, key="frames-2", size=1025)
    register(regions, "a", "frames-2")
    register(regions, "a", "frames-2")  # as a client does that was started again
    with pytest.raises(InvalidInput, match="'a' is registered already"):
        register(regions, "a", "frames-3")
    register(regions, "b", "frames-3")
    with pytest.raises(InvalidInput, match="at most 2 regions at once"):
        register(regions, "c", "frames-4")
    (folder / "frames-2").unlink()
    register(regions, "c", "frames-4")
    assert {each.name for each in regions.list_of("")} == {"b", "c"}


def test_region_that_is_only_for_inputs_is_not_written(folder: Path, regions: Regions) -> None:
    """A pattern that ends with :ro opens its regions for reading."""
    (folder / "fixed-1").write_bytes(bytes(SIZE))
    register(regions, "fixed", "/fixed-1")
    register(regions, "open", "/frames-1")
    assert not regions.find("fixed", "").may_write
    assert regions.find("open", "").may_write
    with pytest.raises(InvalidInput, match="cannot be written"):
        regions.find("fixed", "").write(0, b"x")


def test_file_that_is_another_one_now_is_refused(folder: Path, regions: Regions) -> None:
    """A file that was removed and made again is not taken for the one that was registered."""
    register(regions)
    (folder / "kept").touch()  # else the new file could get the number of the old one
    (folder / "frames-1").rename(folder / "old")
    (folder / "frames-1").write_bytes(bytes(SIZE))
    with pytest.raises(InvalidInput, match="its file is another one now"):
        regions.find("a", "")


def test_bytes_are_those_of_the_part(folder: Path, regions: Regions) -> None:
    """Offsets add up; bytes around a part stay as they are."""
    register(regions, offset=8, size=40)
    region = regions.find("a", "")
    assert region.read(4, 3).tobytes() == bytes([12, 13, 14])
    region.write(39, b"\xff")
    region.write(0, b"\xfe")
    expected = bytearray(range(SIZE))
    expected[8], expected[47] = 0xFE, 0xFF
    assert (folder / "frames-1").read_bytes() == expected
    for call in (lambda: region.read(39, 2), lambda: region.write(41, b""), lambda: region.write(39, b"xx")):
        with pytest.raises(InvalidInput, match="a part of its 40 bytes"):
            call()


def test_workers_know_the_same_regions(folder: Path, tmp_path: Path) -> None:
    """What one worker registers the others know, also one that starts later; and what one removes, all let go."""
    one, two = (regions_of(folder, tmp_path / "m") for _ in range(2))
    register(one)
    region = two.find("a", "")
    register(two, "b")
    late = regions_of(folder, tmp_path / "m")
    assert {each.name for each in late.list_of("")} == {"a", "b"}
    with pytest.raises(InvalidInput, match="registered already"):
        register(late, size=8)
    one.unregister("a", "another")
    assert list(two.take_unregistered()) == []
    one.unregister("a", "")
    register(one, offset=8, size=8)  # the same name again, for another part
    [gone] = two.take_unregistered()
    assert gone is region
    assert two.find("a", "").read(0, 1).tobytes() == b"\x08"
    one.unregister(None, "")
    assert len(list(two.take_unregistered())) == 1
    with pytest.raises(InvalidInput, match="expected one that you have registered"):
        two.find("a", "")


def test_workers_that_register_at_once_keep_all(folder: Path, tmp_path: Path) -> None:
    """Changes of several workers at a time do not undo each other."""
    workers = [regions_of(folder, tmp_path / "m") for _ in range(4)]

    def add(number: int) -> None:
        for part in range(8):
            register(workers[number], f"{number}-{part}")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(workers[0].list_of("")) == 32


def test_region_closes_when_its_transfers_have_ended(regions: Regions, monkeypatch: pytest.MonkeyPatch) -> None:
    """To close waits for a write that is under way; a later one is refused."""
    register(regions)
    region: OpenRegion = regions.find("a", "")
    entered, opened, write = threading.Event(), threading.Event(), os.pwrite

    def held(*args: object) -> int:
        entered.set()
        assert opened.wait(60)
        return write(*args)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(os, "pwrite", held)
    writing = threading.Thread(target=region.write, args=(0, b"x"))
    closing = threading.Thread(target=region.close)
    writing.start()
    assert entered.wait(60)
    closing.start()
    while not region._is_closed:
        pass
    with pytest.raises(ServiceError, match="no longer registered"):
        region.read(0, 1)
    assert closing.is_alive()
    opened.set()
    closing.join(60)
    writing.join(60)
    assert not closing.is_alive()
