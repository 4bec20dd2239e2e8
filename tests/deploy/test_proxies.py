"""nginx and HAProxy, with the configurations of `deploy/`, before two replicas that are restarted under load."""

import asyncio
import contextlib
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import websocket

from tests.chaos.caller import Caller, Gone
from tests.chaos.load import RIGHT, load
from tests.support.models import graphs
from tests.support.processes import REPOSITORY, Served, free_port

pytestmark = pytest.mark.deploy

PORTS = (8080, 8081, 3000, 3001, 3010, 3011)
"""Those of the configurations: HTTP and gRPC of the proxy, of the first replica, of the second."""
LAME_DUCK_S = "4"
"""Longer than the proxies keep idle connections, and than HAProxy takes to see that a replica is not ready."""


class Nginx:
    package, file = "nginx-light", REPOSITORY / "deploy/nginx/nginx.conf"

    @staticmethod
    def command(folder: Path, configuration: Path) -> list[str]:
        return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(configuration), "-g", "daemon off;"]


class HAProxy:
    package, file = "haproxy", REPOSITORY / "deploy/haproxy/haproxy.cfg"

    @staticmethod
    def command(folder: Path, configuration: Path) -> list[str]:
        return ["haproxy", "-db", "-f", str(configuration)]


Proxy = type[Nginx] | type[HAProxy]


@contextlib.contextmanager
def proxied(proxy: Proxy, folder: Path, ports: dict[int, int]) -> Iterator[None]:
    """Run a proxy with its configuration, but for the ports, until the block ends."""
    text = re.sub(r"\b(127\.0\.0\.1:|port )(\d+)\b", lambda m: m[1] + str(ports[int(m[2])]), proxy.file.read_text())
    configuration = folder / proxy.file.name
    configuration.write_text(text)
    process = subprocess.Popen(proxy.command(folder, configuration))
    try:
        yield
    finally:
        process.terminate()
        process.wait()


class Replica:
    """A server that can be started again on its ports."""

    def __init__(self, store: Path, port: int, grpc_port: int) -> None:
        self._store, self._port = store, port
        self._environment = {
            "SLUICE_GRPC_PORT": str(grpc_port),
            "SLUICE_LAME_DUCK_S": LAME_DUCK_S,
            "SLUICE_CONTROL": "true",
        }
        self.server = self._start()

    def _start(self) -> Served:
        return Served("--store", str(self._store), workers=1, environment=self._environment, port=self._port)

    def replace_worker(self) -> None:
        self.server.process.send_signal(signal.SIGHUP)
        self.server.read_until("all workers have been replaced", 1)

    def until_used(self) -> None:
        """The proxy sends requests here: else the next restart would leave it without a replica."""
        while not any(
            line.startswith("sluice_requests_total{") and 'model="double"' in line and float(line.split()[-1])
            for line in self.server.get("/metrics").text.splitlines()
        ):
            pass

    def start_again(self) -> None:
        """Stop it and start a new one. (The end of the old one frees the port.)"""
        assert self.server.stop() == 0
        self.server = self._start()


async def until_all_answer(port: int) -> None:
    """The proxy sends requests to both replicas: a few in a row are answered."""
    in_a_row = 0
    async with asyncio.timeout(60), Caller(port) as caller:
        while in_a_row < 20:
            try:
                in_a_row = in_a_row + 1 if (await caller.get("/readyz")).status == 200 else 0
            except Gone:
                in_a_row = 0
                await asyncio.sleep(0.05)  # the proxy does not listen yet


@pytest.fixture
def replicas(tmp_path: Path, ports: dict[int, int]) -> Iterator[list[Replica]]:
    store = graphs.write_plain(tmp_path / "store", "double", graphs.double())
    replicas: list[Replica] = []
    with contextlib.ExitStack() as running:
        for http, grpc in ((3000, 3001), (3010, 3011)):
            replica = Replica(store, ports[http], ports[grpc])
            running.callback(lambda replica=replica: replica.server.kill())
            replicas.append(replica)
        yield replicas


@pytest.fixture
def ports() -> dict[int, int]:
    return {port: free_port() for port in PORTS}


@pytest.mark.parametrize("proxy", [Nginx, HAProxy])
@pytest.mark.parametrize("restart", [Replica.replace_worker, Replica.start_again])
def test_clients_notice_no_restart(
    proxy: Proxy, restart: Callable[[Replica], None], tmp_path: Path, ports: dict[int, int], replicas: list[Replica]
) -> None:
    """One replica after the other is restarted under load: all answers over HTTP and gRPC are results."""
    if shutil.which(proxy.command(tmp_path, tmp_path)[0]) is None:
        pytest.skip(f"it needs {proxy.package} (Debian)")

    async def run() -> Counter[str]:
        await until_all_answer(ports[8080])
        async with load(ports[8080], ports[8081]) as answers:
            for replica in replicas:
                before = answers.total()
                await asyncio.to_thread(restart, replica)
                await asyncio.to_thread(replica.until_used)
                assert answers.total() > before
        return answers

    with proxied(proxy, tmp_path, ports):
        answers = asyncio.run(run())
    print(f"{proxy.__name__}: {answers.total():,} requests, {dict(answers)}")
    assert set(answers) == {RIGHT}, answers


@pytest.mark.parametrize("proxy", [Nginx, HAProxy])
def test_proxy_lets_nobody_change_the_server_and_its_pages_may_open_streams(
    proxy: Proxy, tmp_path: Path, ports: dict[int, int], replicas: list[Replica]
) -> None:
    """Without keys nobody changes the server through it. A page under its address may open a live stream."""
    if shutil.which(proxy.command(tmp_path, tmp_path)[0]) is None:
        pytest.skip(f"it needs {proxy.package} (Debian)")
    host = f"127.0.0.1:{ports[8080]}"
    with proxied(proxy, tmp_path, ports):
        asyncio.run(until_all_answer(ports[8080]))
        answer = httpx.post(f"http://{host}/v2/models/double/trace/setting", json={"trace_rate": "7"})
        assert (answer.status_code, "without a proxy" in answer.text) == (403, True)
        websocket.create_connection(f"ws://{host}/v2/models/double/stream", origin=f"http://{host}").close()
