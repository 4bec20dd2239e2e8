"""The comparison itself: install, start, check, warm up, measure in interleaved rounds, end.

1. For each model, every peer's server is started; all of them stay up, and only the one being measured is asked.
2. One answer of each is held against ONNX Runtime in this process. A peer with a wrong one is not measured.
3. For each encoding and number of clients, each peer is warmed up; then the rounds go peer by peer, every second round
   in the opposite order, so that slow drift of the machine meets all of them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtests.bench.ceiling import open_session
from loadtests.bench.environment import NotInstalled, prepare_python, read_versions
from loadtests.bench.model import INPUT, BenchModel
from loadtests.bench.peer import JSON, Peer, Site
from loadtests.bench.result import Absence, Cell
from loadtests.bench.server import ServerFailed, free_port, read_tail, run_server
from loadtests.bench.wrk import Sample, Shot, WrkFailed, run_wrk
from loadtests.exchange import Unreachable, exchange
from loadtests.wire import WrongAnswer

ROWS_PER_REQUEST = 1
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-3, 1e-4
JSON_SLACK_BYTES_PER_NUMBER = 16
"""Company in a batch may change a float's last digits, and with them the length of a JSON answer."""


@dataclass(frozen=True)
class Schedule:
    """How long and how often; times in whole seconds, as wrk takes them."""

    encodings: tuple[str, ...]
    clients: tuple[int, ...]
    rounds: int
    round_s: int
    warm_up_s: int


@dataclass(frozen=True)
class Contender:
    """A peer whose server is up and has answered rightly, with a script for each encoding."""

    peer: Peer
    site: Site
    log: Path
    scripts: Mapping[str, Path]


class Comparison:
    """Measures peers model by model; what could not be measured is in ``absences``, with its reason."""

    def __init__(self, folder: Path, cache: Path, threads: int, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.cache = cache
        self.threads = threads
        self.say = say
        self.absences: list[Absence] = []
        self.versions: dict[str, dict[str, str]] = {}

    def measure(self, model: BenchModel, peers: list[Peer], schedule: Schedule) -> list[Cell]:
        """All cells of one model. The servers are gone when this returns or raises."""
        with ExitStack() as stack:
            contenders = []
            for peer in peers:
                try:
                    contenders.append(self._enter(stack, model, peer, schedule.encodings))
                except (NotInstalled, ServerFailed, Unreachable, WrongAnswer, OSError) as failure:
                    self._give_up(peer, model, str(failure))
            return [
                cell
                for encoding in schedule.encodings
                for clients in schedule.clients
                for cell in self._measure_cells(model, contenders, encoding, clients, schedule)
            ]

    def _enter(self, stack: ExitStack, model: BenchModel, peer: Peer, encodings: tuple[str, ...]) -> Contender:
        """Start a peer and check its answers; its server stays up until ``stack`` ends, unless this raises."""
        self.say(f"{model.name}: starting {peer.name}")
        python = prepare_python(peer, self.cache)
        self.versions[peer.name] = read_versions(python, peer.distributions)
        folder = self.folder / f"{peer.name}-{model.name}"
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / "bench_server.py"
        source.write_text(peer.source)
        model.publish(folder / "repository")
        site = Site(python, free_port(), model, folder / "repository", source, self.threads)
        log = folder / "server.log"
        with ExitStack() as own:
            environment = dict(peer.environment(site))
            own.enter_context(run_server(peer.command(site), environment, log, site.address, peer.ready_path))
            try:
                able = [encoding for encoding in encodings if encoding in peer.encodings]
                scripts = {encoding: _check_and_write(peer, site, encoding, folder) for encoding in able}
            except WrongAnswer as failure:
                raise WrongAnswer(f"{failure}; the end of {log}:\n{read_tail(log)}") from failure
            stack.enter_context(own.pop_all())
        return Contender(peer, site, log, scripts)

    def _measure_cells(
        self, model: BenchModel, contenders: list[Contender], encoding: str, clients: int, schedule: Schedule
    ) -> Iterator[Cell]:
        able = [contender for contender in contenders if encoding in contender.scripts]
        self.say(f"{model.name}, {encoding}, {clients} clients: {', '.join(one.peer.name for one in able) or 'nobody'}")
        for contender in able:
            _shoot(contender, encoding, clients, schedule.warm_up_s)
        samples: dict[str, list[Sample]] = {contender.peer.name: [] for contender in able}
        for number in range(schedule.rounds):
            for contender in able if number % 2 == 0 else reversed(able):
                samples[contender.peer.name].append(_shoot(contender, encoding, clients, schedule.round_s))
        for contender in able:
            cell = Cell(model.name, encoding, clients, contender.peer.name, tuple(samples[contender.peer.name]))
            if cell.errors:
                self.say(f"{cell.peer}: {cell.errors} errors; the end of {contender.log}:\n{read_tail(contender.log)}")
            yield cell

    def _give_up(self, peer: Peer, model: BenchModel, reason: str) -> None:
        self.say(f"{peer.name} cannot be measured on {model.name}: {reason}")
        self.absences.append(Absence(peer.name, model.name, reason))


def _check_and_write(peer: Peer, site: Site, encoding: str, folder: Path) -> Path:
    place = folder / encoding
    place.mkdir(exist_ok=True)
    return check_answer(peer, site, encoding).write_script(place)


def check_answer(peer: Peer, site: Site, encoding: str) -> Shot:
    """Ask once and hold the scores against ONNX Runtime in this process; what wrk may then repeat.

    Raises WrongAnswer, Unreachable.
    """
    rows = site.model.make_rows(ROWS_PER_REQUEST)
    request = peer.request(site.model, encoding, rows)
    answer = exchange(site.address, request)
    if answer.status != 200:
        text = answer.body[:300].decode("utf-8", "replace")
        raise WrongAnswer(f"{encoding}: {request.path} answered {answer.status} instead of 200: {text}")
    expected = open_session(site.model.build()).run(None, {INPUT: rows})[0]
    got = peer.read_scores(answer)
    if got.shape != expected.shape or not np.allclose(got, expected, RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE):
        raise WrongAnswer(f"{encoding}: expected the scores {expected.round(4).tolist()}, got {got.tolist()}")
    slack = expected.size * JSON_SLACK_BYTES_PER_NUMBER if encoding == JSON else 0
    return Shot(request, len(answer.body) - slack, len(answer.body) + slack)


def _shoot(contender: Contender, encoding: str, clients: int, duration_s: int) -> Sample:
    try:
        return run_wrk(contender.site.address, contender.scripts[encoding], clients, duration_s)
    except WrkFailed as failure:
        name = contender.peer.name
        raise WrkFailed(f"{name}: {failure}; the end of {contender.log}:\n{read_tail(contender.log)}") from failure
