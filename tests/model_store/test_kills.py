"""Kills of those who write into a store: at every step of a publish, and at any time of everything else."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_store import Store
from model_store.files.aliases import STABLE, read_history
from tests.support.models.manifests import GRAPH, describe

REPOSITORY = Path(__file__).resolve().parents[2]
WRITERS = """
import itertools, os, signal, sys
from pathlib import Path
from model_store import Manifest, Store
from model_store.maintenance.moves import promote, roll_back
from model_store.maintenance.removal import collect
store, action = Store(Path(sys.argv[1])), sys.argv[2]
manifest = Manifest.model_validate_json(sys.stdin.readline())

def write(number):
    content = b"%d" % number * 40_000
    store.publish(manifest, {"main.onnx": content, "w.bin": content})
    if action == "everything" and number:
        promote(store, "m")
        collect(store, ["m"], 2)
        roll_back(store, "m")
        promote(store, "m")

def die_at(last):
    steps = itertools.count(1)
    def count(event, arguments):
        if next(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)

write(0)
write(1)  # imports what is needed
for line in sys.stdin:
    child = os.fork()
    if not child:
        if int(line):
            die_at(int(line))
        for number in itertools.count(2):
            write(number)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@contextmanager
def writers(store: Store, action: str) -> Iterator[subprocess.Popen[str]]:
    """A process that forks a writer for each line: the step at which the writer is killed, 0: it is killed by us."""
    command = [sys.executable, "-c", WRITERS, str(store.root), action]
    pipe = subprocess.PIPE
    graph = GRAPH.model_copy(update={"external_data": ("w.bin",)})
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(describe(graphs={"main": graph}).model_dump_json() + "\n")
        yield process
        process.stdin.close()


def kill_one(process: "subprocess.Popen[str]", step: int, after_s: float) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{step}\n")
    process.stdin.flush()
    writer = int(process.stdout.readline())
    if not step:
        threading.Event().wait(after_s)  # any moment
        os.kill(writer, signal.SIGKILL)
    assert int(process.stdout.readline()) == signal.SIGKILL


def check_whole(store: Store, known: set[int]) -> None:
    """Every version that is listed is whole, and the aliases and the history can be read and name such versions."""
    contents = store.list_model("m")
    assert contents.unusable == ()
    for version in store.versions_of("m", contents):
        if version.version not in known:
            _, files = version.read_all()
            assert files["main.onnx"] == files["w.bin"]
            known.add(version.version)
    aliases = store.aliases("m")
    assert set(aliases.values()) <= set(contents.folders)
    read_history(store.root / "m")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("action", "kills"), [("publish", 200), ("everything", 200)])
def test_killed_writers_leave_versions_that_are_whole_or_absent(store: Store, action: str, kills: int) -> None:
    """After each kill every version is whole; the next writer goes on, and sweeps what was left."""
    chance = random.Random(26)
    known: set[int] = set()
    left = 0
    with writers(store, action) as process:
        for kill in range(kills):
            step = 1 + kill // 2 if kill % 2 else 0  # every second one at the next step of the writer
            kill_one(process, step, chance.uniform(0, 0.05))
            unfinished = list((store.root / "m").glob(".publish-*"))
            assert len(unfinished) <= 1, "the writer before did not sweep"
            left += len(unfinished) or any((store.root / "m").glob(".removed-*"))
            check_whole(store, known)
    assert left, "no kill met a version that was being written"
    after = store.publish(describe(), {"main.onnx": b"after"})
    assert after.version == max(known) + 1
    assert [path.name for path in (store.root / "m").glob(".*") if path.is_dir()] == []
    if action == "publish":
        assert sorted(known) == list(range(1, after.version))
    else:
        store.find("m", STABLE).verify()
    print(f"{kills} kills, {left} met an unfinished version; {after.version - 1} versions were published, all whole")
