"""The supervisor of `sluice serve`: it holds the listening socket, starts the workers, and restarts them.

Connections that no worker has accepted wait in the socket, so none is lost when a worker dies. Nothing polls.

Rules
- A worker that has ended is restarted at once. If it ended before it was ready, each restart waits longer.
- A worker that ended while it loaded versions is restarted at once. It skips these versions, or loads them one by one.
- If the first worker refuses the settings, the server ends with code 2. If it never comes up, the code is 1.
- SIGTERM, SIGINT and SIGHUP stop the server: workers finish the requests that they have accepted. A second SIGINT
  (Ctrl-C twice) ends the server at once; other signals are ignored by then. A worker that takes too long is killed.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.crashes import find_blame
from service.metrics.restarts import RestartCounter
from service.process.channel import LISTEN, PAUSE, READY, REFUSED, STARTED, render_line
from service.process.logs import configure_logs
from service.process.restarts import (
    FIRST_DELAY_S,
    LISTEN_ANYWAY_S,
    MAX_FAILURES,
    Restarts,
    WorkerState,
    choose_listener,
    choose_paused,
)
from service.settings import Settings

logger = logging.getLogger("sluice.supervisor")

WORKER_MODULE = "service.process.worker"
KILL_AFTER_S = 1.4
"""A worker is killed so long after its drain should have ended. It ends by itself unless its event loop is blocked."""
_LAST_WORDS_S = 1.0

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def _pass(_number: int, _frame: object) -> None:
    """Handle a signal that changes nothing. (SIG_IGN makes Python complain of signals that it has received already.)"""


@dataclass(eq=False, kw_only=True)
class _WorkerProcess(WorkerState):
    """A worker process and our end of its channel."""

    process: asyncio.subprocess.Process
    connection: socket.socket
    refusal: str = ""

    def listen(self, listens: bool) -> None:
        self.listens = listens
        with contextlib.suppress(OSError):  # the process has just ended
            self.connection.sendall(render_line(LISTEN if listens else PAUSE))

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class Supervisor:
    """``environ`` is the environment of the workers. ``listener`` is a socket that listens already.

    ``on_ready`` is called once, when the first worker has loaded its models.
    """

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        environ: Mapping[str, str],
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._has_been_ready = False
        self._restarts = RestartCounter(settings.metrics_dir)
        self._listener = listener
        self._environ = dict(environ)
        self._workers: list[_WorkerProcess] = []
        self._stopping = asyncio.Event()
        self._has_served = False
        self._code = 0

    async def run(self) -> int:
        """Serve until a signal. Returns the exit code: 0, or 1 or 2 if the workers could not serve."""
        loop = asyncio.get_running_loop()

        def handle(number: int, _: object) -> None:
            if number != signal.SIGINT:
                signal.signal(number, _pass)  # a flood of them would nest handlers
            loop.call_soon_threadsafe(self._on_signal, number)

        # Handlers of the loop would be removed when it ends, and one more signal would then kill this process.
        for number in STOP_SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # `nohup` ignores SIGHUP
                signal.signal(number, handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        places = [asyncio.create_task(self._keep(number)) for number in range(1, self._settings.workers + 1)]
        for place in places:
            place.add_done_callback(lambda _: self._stopping.set())  # it has failed, if the server is not stopping
        await self._stopping.wait()
        self._listener.close()  # the workers have copies, and close them when they accept no more
        self._signal_workers(signal.SIGTERM)
        limit_s = self._settings.lame_duck_s + self._settings.drain_s + KILL_AFTER_S
        _, late = await asyncio.wait(places, timeout=limit_s)
        if late:
            logger.error("workers have not ended after %.1f s and are killed", limit_s)
            self._signal_workers(signal.SIGKILL)
            await asyncio.wait(places)
        for number in STOP_SIGNALS:
            signal.signal(number, _pass)
        for place in places:
            place.result()
        return self._code

    def _on_signal(self, number: int) -> None:
        if self._stopping.is_set() and number == signal.SIGINT:
            self._signal_workers(signal.SIGKILL)
        self._stopping.set()

    def _signal_workers(self, number: int) -> None:
        for worker in self._workers:
            worker.send_signal(number)

    def _give_up(self, code: int, text: str) -> None:
        if not self._stopping.is_set():
            print(f"sluice serve: {text}", file=sys.stderr, flush=True)
            self._code = code
            self._stopping.set()

    async def _keep(self, number: int) -> None:
        """Keep one worker running until the server stops: start it, and start the next one when it has ended."""
        restarts = Restarts()
        is_first = True
        while not self._stopping.is_set():
            try:
                worker = await self._start(number, is_first)
            except OSError as error:  # such as too little memory, or too many processes
                logger.error("a worker could not be started: %s", error)
                await self._sleep(restarts.find_delay_s(was_ready=False) or FIRST_DELAY_S)
                continue
            code = await self._follow(worker)
            if self._stopping.is_set():
                return
            if is_first and worker.refusal:
                self._give_up(2, worker.refusal)
                return
            loading = find_blame(self._settings.metrics_dir, worker.process.pid, code)
            if loading:
                logger.error("a worker ended with code %d while it loaded %s", code, " and ".join(loading))
            elif not self._has_served:
                self._give_up(1, f"a worker ended with code {code} before it could serve: the log tells why")
                return
            delay_s = restarts.find_delay_s(worker.is_ready or bool(loading))
            if restarts.failures >= MAX_FAILURES and not self._workers:
                self._give_up(1, f"the workers end before they are ready, the last with code {code}: the log tells why")
                return
            logger.error("a worker ended with code %d: another one starts in %.1f s", code, delay_s)
            self._restarts.count(code, bool(loading))
            if worker.refusal:
                logger.error("it said: %s", worker.refusal)
            is_first = False
            await self._sleep(delay_s)

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not longer than the server lives."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _start(self, number: int, is_first: bool) -> _WorkerProcess:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs, contextlib.ExitStack() as failing:
            failing.callback(ours.close)
            descriptors = (theirs.fileno(), self._listener.fileno())
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # PYTHONPATH leads to our code
                "-m",
                WORKER_MODULE,
                *map(str, (number, *descriptors)),
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=descriptors,
                process_group=0,  # so that Ctrl-C in a terminal reaches this process only
            )
            failing.pop_all()
        worker = _WorkerProcess(is_first, process=process, connection=ours)
        self._workers.append(worker)
        if self._stopping.is_set():  # meanwhile
            worker.send_signal(signal.SIGTERM)
        return worker

    async def _follow(self, worker: _WorkerProcess) -> int:
        """Read what a worker says until it ends; returns its exit code."""
        waits_long = asyncio.get_running_loop().call_later(LISTEN_ANYWAY_S, self._note_long_wait, worker)
        reader, writer = await asyncio.open_connection(sock=worker.connection)
        reading = asyncio.create_task(self._read_words(worker, reader))
        code = await worker.process.wait()
        await asyncio.wait([reading], timeout=_LAST_WORDS_S)  # its last words may still be in the socket
        reading.cancel()
        writer.close()
        waits_long.cancel()
        self._workers.remove(worker)
        self._choose_listeners()
        return code

    async def _read_words(self, worker: _WorkerProcess, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                what, _, text = line.decode().rstrip("\n").partition(" ")
                if what == STARTED:
                    worker.has_started = self._has_served = True
                elif what == READY:
                    worker.is_ready = worker.listens = True
                    if not self._has_been_ready:
                        self._has_been_ready = True
                        self._on_ready()
                elif what == REFUSED:
                    worker.refusal = text
                self._choose_listeners()

    def _note_long_wait(self, worker: _WorkerProcess) -> None:
        worker.waits_long = True
        self._choose_listeners()

    def _choose_listeners(self) -> None:
        chosen, paused = choose_listener(self._workers), choose_paused(self._workers)
        for worker in self._workers:
            if worker is chosen or worker in paused:
                worker.listen(worker is chosen)


def supervise(
    settings: Settings, listener: socket.socket, environ: Mapping[str, str], on_ready: Callable[[], None]
) -> int:
    """Run a supervisor; returns the exit code."""
    configure_logs("supervisor", settings.log_level, settings.log_format)
    return asyncio.run(Supervisor(settings, listener, environ, on_ready).run())


def worker_environ(settings: Settings, environ: Mapping[str, str], cores: int) -> dict[str, str]:
    """The environment of a worker: the settings, the path to our code, and how many threads libraries may start."""
    threads = str(max(1, cores // settings.workers))
    made = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    made |= {"BENTOML_DO_NOT_TRACK": "True", "ORT_DISABLE_TELEMETRY": "1"}
    made |= {name: value for name, value in environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    return {**made, **settings.to_environ(), "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
