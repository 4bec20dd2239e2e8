"""The supervisor of `sluice serve`: it holds the listening socket, starts the workers, and restarts them.

Connections that no worker has accepted wait in the socket, so none is lost when a worker dies. Nothing polls.

Rules
- A worker that has ended is restarted at once. If it ended before it was ready, each restart waits longer.
- A worker that ended while it loaded versions is restarted at once. It skips these versions, or loads them one by one.
- If the first worker refuses the settings, the server ends with code 2. If it ends before it can serve, the code is 1.
- SIGTERM and SIGINT stop the server: workers finish the requests that they have accepted. A second SIGINT (Ctrl-C
  twice) ends the server at once; other signals are ignored by then. A worker that takes too long is killed.
- SIGHUP reads the settings again and replaces the workers one by one (`replacements.py`). If the server's terminal was
  closed, SIGHUP stops the server.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias

from service.crashes import record_crash
from service.metrics.restarts import RestartCounter
from service.process.acceptor import ConnectionCounts
from service.process.channel import BETWEEN_NAMES, LEAVE, LOADED, READY, REFUSED, SERVE, STARTED
from service.process.logs import configure_logs
from service.process.replacements import Place, find_fault
from service.process.restarts import (
    FIRST_DELAY_S,
    LISTEN_ANYWAY_S,
    MAX_FAILURES,
    choose_listener,
    choose_paused,
)
from service.process.worker_process import WorkerProcess
from service.settings import Settings, SettingsError

logger = logging.getLogger("sluice.supervisor")

_LAST_WORDS_S = 1.0

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
SIGNALS = (*STOP_SIGNALS, signal.SIGHUP)

Reread: TypeAlias = Callable[[], tuple[Settings, Mapping[str, str]]]
"""Reads the settings again, and makes the environment of workers. Raises SettingsError."""


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing. With SIG_IGN, Python would complain of signals that it has already received."""


def has_terminal() -> bool:
    """Whether this process has a terminal. When the terminal is closed, its processes lose it and get SIGHUP."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


class Supervisor:
    """``environ`` is the environment of the workers. ``listeners`` listen already: for HTTP, and for gRPC if it is on.

    ``on_ready`` is called once, when the first worker has loaded its models; ``reread`` at each SIGHUP.
    """

    def __init__(
        self,
        settings: Settings,
        listeners: Sequence[socket.socket],
        environ: Mapping[str, str],
        on_ready: Callable[[], None],
        reread: Reread,
    ) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._reread = reread
        self._has_been_ready = False
        self._restarts = RestartCounter(settings.metrics_dir)
        self._listeners = listeners
        self._environ = environ
        assert settings.metrics_dir is not None  # noqa: S101  # `sluice serve` has set it
        self._counts = ConnectionCounts(settings.metrics_dir, settings.workers)
        for index in range(settings.workers):
            self._counts.write(index, None)
        self._places = [Place[WorkerProcess](number) for number in range(1, settings.workers + 1)]
        self._workers: list[WorkerProcess] = []
        self._following: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._is_told_to_replace = asyncio.Event()
        self._had_terminal = has_terminal()
        self._has_served = False
        self._code = 0

    async def run(self) -> int:
        """Serve until a signal. Returns the exit code: 0, or 1 or 2 if the workers could not serve."""
        loop = asyncio.get_running_loop()

        def handle(number: int, _: object) -> None:
            if number == signal.SIGTERM:
                signal.signal(number, _ignore)  # a flood of them would nest handlers
            loop.call_soon_threadsafe(self._on_signal, number)

        # The loop would remove its own handlers at its end, and one more signal would then kill this process.
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # `nohup` ignores SIGHUP
                signal.signal(number, handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        keeping = [asyncio.create_task(self._keep(place)) for place in self._places]
        keeping.append(asyncio.create_task(self._replace_when_told()))
        for task in keeping:
            task.add_done_callback(lambda _: self._stopping.set())  # it has failed, if the server is not stopping
        await self._stopping.wait()
        for listener in self._listeners:
            listener.close()  # the workers have copies, which they close when they accept no more
        self._signal_workers(signal.SIGTERM)
        limit_s = max((worker.stop_limit_s for worker in self._workers), default=0.0)
        waited = {*keeping, *self._following}
        _, late = await asyncio.wait(waited, timeout=limit_s)
        if late:
            logger.error("workers have not ended after %.1f s and are killed", limit_s)
            self._signal_workers(signal.SIGKILL)
            await asyncio.wait(waited)
        for number in SIGNALS:
            signal.signal(number, _ignore)
        for task in keeping:
            task.result()
        return self._code

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP and not (self._had_terminal and not has_terminal()):
            self._is_told_to_replace.set()
            return
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

    async def _keep(self, place: Place[WorkerProcess]) -> None:
        """Keep one worker running until the server stops: start it, and start the next one when it has ended."""
        restarts = place.restarts
        is_first = True
        while not self._stopping.is_set():
            if place.take_successor() is None:
                try:
                    place.worker = await self._start(place, is_first=is_first)
                except OSError as error:  # such as too little memory, or too many processes
                    logger.error("a worker could not be started: %s", error)
                    await self._sleep(restarts.find_delay_s(was_ready=False) or FIRST_DELAY_S)
                    continue
            worker = place.worker
            assert worker is not None  # noqa: S101  # either the successor or the new worker
            code = await worker.ended
            if not worker.is_leaving:
                self._counts.write(place.number - 1, None)  # so that no other worker waits for it
            if self._stopping.is_set():
                return
            is_first = is_first and not worker.is_leaving
            if worker.is_leaving:
                continue
            if is_first and worker.refusal:
                self._give_up(2, worker.refusal)
                return
            loading = record_crash(self._settings.metrics_dir, worker.process.pid, code)
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
            await self._sleep(0.0 if place.successor else delay_s)

    async def _replace_when_told(self) -> None:
        while await self._wait_unless_stopping(self._is_told_to_replace.wait()):
            self._is_told_to_replace.clear()
            try:
                settings, environ = self._reread()
            except SettingsError as error:
                logger.error("SIGHUP: nothing changes: %s", error)
                continue
            logger.info("SIGHUP: the workers are replaced, one after another")
            began = asyncio.get_running_loop().time()
            for place in self._places:
                fault = await self._replace(place, settings, environ)
                if fault:
                    logger.error("SIGHUP: from worker %d on the old ones stay: %s", place.number, fault)
                    break
                self._settings, self._environ = settings, environ
            else:
                took_s = asyncio.get_running_loop().time() - began
                logger.info("SIGHUP: all workers have been replaced in %.1f s", took_s)

    async def _replace(self, place: Place[WorkerProcess], settings: Settings, environ: Mapping[str, str]) -> str:
        """Replace the worker of a place. Returns why that failed, or ""."""
        try:
            new = place.successor = await self._start(place, settings, environ, replaces=True)
        except OSError as error:
            return f"a new one could not be started: {error}"
        if not await self._wait_unless_stopping(new.has_loaded.wait()):
            return "the server stops"
        old = place.worker if place.worker is not new else None
        fault = new.refusal or find_fault(old, new)
        if not fault:
            new.tell(SERVE)
            if not await self._wait_unless_stopping(new.has_listened.wait()):
                return "the server stops"
            fault = "" if new.is_ready else "the new one ended before it could listen"
        if fault:
            if place.successor is new:
                place.successor = None
                new.send_signal(signal.SIGTERM)
                await new.wait(new.stop_limit_s)
            return fault
        if old is not None and not old.ended.done():
            old.listens, old.is_leaving = False, True
            old.tell(LEAVE)
            await self._wait_unless_stopping(old.wait(old.settings.drain_s + old.stop_limit_s))
        return ""

    async def _wait_unless_stopping(self, what: Coroutine[Any, Any, object]) -> bool:
        """Wait for something, or until the server stops. Returns whether it has happened and the server goes on."""
        task, stopping = asyncio.ensure_future(what), asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        has_happened = task.done()
        for each in (task, stopping):
            each.cancel()
        return has_happened and not self._stopping.is_set()

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not longer than until the server stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _start(
        self,
        place: Place[WorkerProcess],
        settings: Settings | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        is_first: bool = False,
        replaces: bool = False,
    ) -> WorkerProcess:
        """Raises OSError."""
        worker = await WorkerProcess.start(
            place.number,
            self._listeners,
            settings or self._settings,
            environ or self._environ,
            is_first=is_first,
            replaces=replaces,
        )
        self._workers.append(worker)
        task = asyncio.create_task(self._follow(worker))
        self._following.add(task)
        task.add_done_callback(self._following.discard)
        if self._stopping.is_set():  # since the process was started
            worker.send_signal(signal.SIGTERM)
        return worker

    async def _follow(self, worker: WorkerProcess) -> None:
        """Read what a worker says until it ends."""
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
        worker.ended.set_result(code)
        worker.has_loaded.set()
        worker.has_listened.set()

    async def _read_words(self, worker: WorkerProcess, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                what, _, text = line.decode().rstrip("\n").partition(" ")
                if what == STARTED:
                    worker.has_started = self._has_served = True
                elif what == READY:
                    worker.is_ready = worker.listens = True
                    worker.has_listened.set()
                    if not self._has_been_ready:
                        self._has_been_ready = True
                        self._on_ready()
                elif what == LOADED:
                    worker.lacking = frozenset(filter(None, text.split(BETWEEN_NAMES)))
                    worker.has_loaded.set()
                elif what == REFUSED:
                    worker.refusal = text
                self._choose_listeners()

    def _note_long_wait(self, worker: WorkerProcess) -> None:
        worker.waits_long = True
        self._choose_listeners()

    def _choose_listeners(self) -> None:
        chosen, paused = choose_listener(self._workers), choose_paused(self._workers)
        for worker in self._workers:
            if worker is chosen or worker in paused:
                worker.listen(worker is chosen)


def supervise(
    settings: Settings,
    listeners: Sequence[socket.socket],
    environ: Mapping[str, str],
    on_ready: Callable[[], None],
    reread: Reread,
) -> int:
    """Run a supervisor; returns the exit code."""
    configure_logs("supervisor", settings.log_level, settings.log_format)
    return asyncio.run(Supervisor(settings, listeners, environ, on_ready, reread).run())


def worker_environ(settings: Settings, environ: Mapping[str, str], cores: int) -> dict[str, str]:
    """The environment of a worker: the settings, the path to our code, and the number of threads for libraries."""
    threads = str(max(1, cores // settings.workers))
    made = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    made |= {"BENTOML_DO_NOT_TRACK": "True", "ORT_DISABLE_TELEMETRY": "1"}
    made |= {name: value for name, value in environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    return {**made, **settings.to_environ(), "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
