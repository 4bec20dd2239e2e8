"""Speech from many clients against one after the other: what is asked, and how it is judged."""

import json
from pathlib import Path

import pytest

from loadtests.bench.results.report import write_json, write_markdown
from loadtests.bench.results.result import SPEECH as ONLY
from loadtests.bench.results.result import Result
from loadtests.bench.results.task_figures import Rate, Speedup, TaskFigures
from loadtests.bench.results.task_verdict import SPEECH, SPEECH_CLIENTS
from loadtests.bench.results.verdict import judge
from loadtests.bench.sounds.speech import RECORDINGS, read_recordings, share_out
from tests.loadtests.bench.results.made_up import MACHINE


def speedup(together: float, failed: int = 0) -> Speedup:
    return Speedup("recordings", (Rate(2.0, 0),), (Rate(together, failed),))


def test_too_few_recordings_are_refused(tmp_path: Path):
    """Every client needs one."""
    (tmp_path / "a.wav").write_bytes(b"a")
    with pytest.raises(OSError, match=r"expected 16 or more WAV files in .*, got 1"):
        read_recordings(tmp_path)


def test_every_recording_is_asked_once(tmp_path: Path):
    """The first recordings by name are shared out among the clients."""
    for number in range(RECORDINGS + 3):
        (tmp_path / f"{number:02}.wav").write_bytes(b"%d" % number)
    sounds = read_recordings(tmp_path)
    assert sounds == [b"%d" % number for number in range(RECORDINGS)]
    clients = share_out(sounds)
    assert len(clients) == SPEECH_CLIENTS
    assert sorted(request for client in clients for request in client.requests) == sorted(sounds)


@pytest.mark.parametrize(
    ("found", "holds", "text"),
    [
        (None, None, "not measured"),
        (speedup(3.2), True, "1.60×"),
        (speedup(2.8), False, "1.40×"),
        (speedup(4.0, failed=1), False, "1 answers failed"),
    ],
)
def test_many_clients_hear_half_as_much_again(found: Speedup | None, holds: bool | None, text: str):
    """The rate together is at least 1.5 times that of one request after the other; reports show both."""
    tasks = TaskFigures(speedups={SPEECH: found} if found else None)
    result = Result(MACHINE, {}, {}, (), (), (), tasks=tasks, only=ONLY)
    [row] = judge(result)
    assert row.holds is holds
    assert text in row.measured
    assert text in write_markdown(result)
    assert json.loads(write_json(result))["verdict"][0]["holds"] is holds
