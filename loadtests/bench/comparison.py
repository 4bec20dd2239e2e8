"""The comparison: install, start, check, warm up, measure in interleaved rounds, stop.

1. For each model, every peer's server is started, and all of them stay up. Those that poll are paused while others are
   measured: when idle, LitServe takes a third of a core and Ray a tenth, the others nothing.
2. One answer of each is compared with ONNX Runtime in this process. A peer with a wrong answer is not measured.
3. For each encoding and number of clients, each peer is warmed up. The rounds then go peer by peer, every second round
   in the opposite order, so that drift of the machine affects all of them equally.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench.environment import NotInstalled, prepare_python, read_versions
from loadtests.bench.load.ceiling import BestPoints, Ceiling
from loadtests.bench.load.openloop import Outcome, Plan, generate
from loadtests.bench.load.wrk import FixedRequest, Sample, WrkFailed, run_wrk
from loadtests.bench.models.model import BenchModel
from loadtests.bench.peer import BINARY, Peer, Site
from loadtests.bench.results.result import IN_PROCESS, Absence, Cell
from loadtests.bench.server import ServerFailed, free_port, pause, read_tail, resume, run_server
from loadtests.http_client import Request, Unreachable, exchange
from loadtests.wire import WrongAnswer

START_FAILURES = (NotInstalled, ServerFailed, Unreachable, WrongAnswer, OSError)
"""What ``Comparison.enter`` raises."""
FAILURES = (*START_FAILURES, WrkFailed)
"""Those, and what asking a server that runs raises. The figure is missing then."""
ROWS_PER_REQUEST = 1
JSON_SLACK_BYTES_PER_NUMBER = 16
"""Other rows in a batch may change a float's last digits, and so the length of a JSON answer."""


@dataclass(frozen=True)
class Schedule:
    """How long and how often; times in whole seconds, as wrk takes them."""

    encodings: tuple[str, ...]
    clients: tuple[int, ...]
    rounds: int
    round_s: int
    warm_up_s: int


@dataclass(frozen=True)
class RunningServer:
    """A peer whose server is up and has answered correctly, with a script for each encoding."""

    peer: Peer
    site: Site
    log: Path
    scripts: Mapping[str, Path]
    pid: int

    def load(self, encoding: str, clients: int, duration_s: int) -> Sample:
        """Load this server; raises WrkFailed, with the end of its log."""
        with self.awake():
            return run_wrk(self.site.address, self.scripts[encoding], clients, duration_s)

    def generate(self, plan: Plan) -> Outcome:
        """Load this server in an open loop; raises GeneratorFailed, WrkFailed."""
        with self.awake():
            return generate(plan)

    @contextmanager
    def awake(self) -> Iterator[None]:
        """The server runs within the block, and has answered before it begins. Raises WrkFailed."""
        if self.peer.is_busy_when_idle:
            resume(self.pid)
        try:
            exchange(self.site.address, Request(self.peer.ready_path))
            yield
        except (WrkFailed, Unreachable) as failure:
            text = f"{self.peer.name}: {failure}; the end of {self.log}:\n{read_tail(self.log)}"
            raise WrkFailed(text) from failure
        finally:
            if self.peer.is_busy_when_idle:
                pause(self.pid)


class Comparison:
    """Measures peers model by model. What could not be measured is in ``absences``, with its reason.

    ``no_private_network`` is the reason why there is no private network, or empty.
    """

    def __init__(
        self, folder: Path, cache: Path, threads: int, say: Callable[[str], None], no_private_network: str = ""
    ) -> None:
        self.folder = folder
        self.cache = cache
        self.threads = threads
        self.say = say
        self.no_private_network = no_private_network
        self.absences: list[Absence] = []
        self.versions: dict[str, dict[str, str]] = {}
        self._pythons: dict[str, Path | NotInstalled] = {}

    def install(self, peers: list[Peer]) -> None:
        """Create the peers' environments, which needs the package index. A failure becomes an absence later.

        Peers of one name share an environment and its versions.
        """
        for peer in {peer.name: peer for peer in peers}.values():
            self.say(f"installing {peer.name}, if it is not yet")
            try:
                self._pythons[peer.name] = python = prepare_python(peer, self.cache)
                self.versions[peer.name] = {**read_versions(python, peer.distributions), **peer.facts()}
            except NotInstalled as failure:
                self._pythons[peer.name] = failure

    def measure(
        self, model: BenchModel, peers: list[Peer], schedule: Schedule, ceiling: Ceiling | None = None
    ) -> list[Cell]:
        """All cells of one model, with the ceiling in the same rounds. The servers are stopped at the end."""
        points_by_clients = (
            {clients: BestPoints(model, ceiling, clients) for clients in schedule.clients} if ceiling else {}
        )
        with ExitStack() as stack:
            servers = []
            for peer in peers:
                try:
                    servers.append(self.enter(stack, model, peer, schedule.encodings))
                except START_FAILURES as failure:
                    self._give_up(peer, model, str(failure))
            return [
                cell
                for encoding in schedule.encodings
                for clients in schedule.clients
                for cell in self._measure_cells(
                    model, servers, encoding, clients, schedule, points_by_clients.get(clients)
                )
            ]

    def enter(self, stack: ExitStack, model: BenchModel, peer: Peer, encodings: tuple[str, ...]) -> RunningServer:
        """Start a peer and check its answers. Its server stays up until ``stack`` ends, unless this raises.

        Raises one of ``START_FAILURES``.
        """
        if peer.needs_private_network and self.no_private_network:
            raise ServerFailed(f"it only runs in a private network: {self.no_private_network}")
        self.say(f"{model.name}: starting {peer.name}")
        python = self.find_python(peer)
        folder = self.folder / f"{peer.name}-{model.name}"
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / "bench_server.py"
        source.write_text(peer.source)
        model.publish(folder / "repository")
        spare_ports = (free_port(), free_port())
        site = Site(python, free_port(), model, folder / "repository", source, self.threads, spare_ports)
        log = folder / "server.log"
        peer.prepare(site)
        with ExitStack() as own:
            environment = dict(peer.environment(site))
            pid = own.enter_context(run_server(peer.command(site), environment, log, site.address, peer.ready_path))
            try:
                able = [encoding for encoding in encodings if encoding in peer.encodings]
                scripts = {encoding: _check_and_write(peer, site, encoding, folder) for encoding in able}
            except WrongAnswer as failure:
                raise WrongAnswer(f"{failure}; the end of {log}:\n{read_tail(log)}") from failure
            if peer.is_busy_when_idle:
                pause(pid)
            stack.enter_context(own.pop_all())
        return RunningServer(peer, site, log, scripts, pid)

    def find_python(self, peer: Peer) -> Path:
        """The interpreter of a peer, installed if need be. Raises NotInstalled."""
        if peer.name not in self._pythons:
            self.install([peer])
        python = self._pythons[peer.name]
        if isinstance(python, NotInstalled):
            raise python
        return python

    def _measure_cells(
        self,
        model: BenchModel,
        servers: list[RunningServer],
        encoding: str,
        clients: int,
        schedule: Schedule,
        best_points: BestPoints | None,
    ) -> Iterator[Cell]:
        able = [server for server in servers if encoding in server.scripts]
        self.say(f"{model.name}, {encoding}, {clients} clients: {', '.join(one.peer.name for one in able) or 'nobody'}")
        samples: dict[str, list[Sample]] = {server.peer.name: [] for server in able}
        if not able:
            return
        bare: list[Sample] = []
        for number in range(-1, schedule.rounds):
            if best_points and number >= 0:
                bare.append(_as_sample(best_points.measure(schedule.round_s), schedule.round_s))
            for server in able if number % 2 == 0 else reversed(able):
                name = server.peer.name
                if name not in samples:
                    continue  # it failed in an earlier round
                try:
                    sample = server.load(encoding, clients, schedule.warm_up_s if number < 0 else schedule.round_s)
                except WrkFailed as failure:
                    del samples[name]
                    self._give_up(server.peer, model, f"{encoding}, {clients} clients: {failure}")
                    continue
                if number >= 0:
                    samples[name].append(sample)
        for server in able:
            if server.peer.name not in samples:
                continue
            cell = Cell(model.name, encoding, clients, server.peer.name, tuple(samples[server.peer.name]))
            if cell.errors:
                self.say(f"{cell.peer}: {cell.errors} errors; the end of {server.log}:\n{read_tail(server.log)}")
            yield cell
        if bare:
            yield Cell(model.name, encoding, clients, IN_PROCESS, tuple(bare))

    def _give_up(self, peer: Peer, model: BenchModel, reason: str) -> None:
        self.say(f"{peer.name} cannot be measured on {model.name}: {reason}")
        self.absences.append(Absence(peer.name, model.name, reason))


def _check_and_write(peer: Peer, site: Site, encoding: str, folder: Path) -> Path:
    place = folder / encoding
    place.mkdir(exist_ok=True)
    return check_answer(peer, site, encoding).write_script(place)


def check_answer(peer: Peer, site: Site, encoding: str) -> FixedRequest:
    """Ask once and compare the scores with ONNX Runtime in this process. Returns the request for wrk to repeat.

    Raises WrongAnswer, Unreachable.
    """
    rows = site.model.make_rows(ROWS_PER_REQUEST)
    request = peer.request(site.model, encoding, rows)
    answer = exchange(site.address, request)
    if answer.status != 200:
        text = answer.body[:300].decode("utf-8", "replace")
        raise WrongAnswer(f"{encoding}: {request.path} answered {answer.status} instead of 200: {text}")
    expected = site.model.score(rows)
    got = peer.read_scores(answer)
    if not site.model.agrees(got, expected):
        raise WrongAnswer(f"{encoding}: expected the scores {expected.round(4).tolist()}, got {got.tolist()}")
    slack = expected.size * JSON_SLACK_BYTES_PER_NUMBER if encoding != BINARY else 0
    return FixedRequest(request, len(answer.body) - slack, len(answer.body) + slack)


def _as_sample(rows_per_s: float, duration_s: int) -> Sample:
    """The ceiling as if it had been asked row by row. Its times mean nothing."""
    return Sample(round(rows_per_s * duration_s), float(duration_s), 0, 0, 0, 0, 0.0, 0.0)
