"""A real Prometheus and a real Alertmanager before a server of the test. Debian's packages have both."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import yaml

from tests.support.processes import REPOSITORY, free_port

FOLDER = REPOSITORY / "deploy" / "prometheus"
PROMETHEUS, ALERTMANAGER = "prometheus", "prometheus-alertmanager"
PATIENCE_S = 90.0
"""The longest wait for something that must happen in the end. The programs look once a second."""


class Watching:
    """``told`` has the alerts that the webhook got, each once for each time it was sent."""

    def __init__(self, client: httpx.Client, told: "Queue[dict[str, Any]]") -> None:
        self._client = client
        self.told = told

    def ask(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def query(self, expr: str) -> list[float]:
        """The values of an expression now, without those that are no number."""
        found = [float(each["value"][1]) for each in self.ask("query", query=expr)["result"]]
        return [value for value in found if value == value]

    def alerts(self) -> dict[tuple[str, str], str]:
        """The state of each alert, by its name and model."""
        found = self.ask("alerts")["alerts"]
        return {(a["labels"]["alertname"], a["labels"].get("model", "")): a["state"] for a in found}


def until(holds: Callable[[], bool], what: object) -> None:
    """Try until it holds. Each try asks a server, so there is no pause. A failure names ``what``."""
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up, f"it did not hold within {PATIENCE_S:g} s: {what}"


@contextmanager
def watch(folder: Path, port: int) -> Iterator[Watching]:
    """Scrape a server once a second, by the configuration and rules of `deploy/prometheus`."""
    told: Queue[dict[str, Any]] = Queue()
    with ExitStack() as held:
        webhook = held.enter_context(_listen(told))
        manager, prometheus = free_port(), free_port()
        _write_manager(folder / "alertmanager.yml", webhook)
        _write_prometheus(folder / "prometheus.yml", port, manager)
        manager_at, prometheus_at = f"127.0.0.1:{manager}", f"127.0.0.1:{prometheus}"
        held.enter_context(
            _run(
                ALERTMANAGER,
                f"--config.file={folder / 'alertmanager.yml'}",
                f"--storage.path={folder / 'alerts'}",
                f"--web.listen-address={manager_at}",
                "--cluster.listen-address=",
            )
        )
        held.enter_context(
            _run(
                PROMETHEUS,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={prometheus_at}",
                "--log.level=warn",
            )
        )
        for address in (manager_at, prometheus_at):
            until(lambda address=address: _answers(f"http://{address}/-/ready"), f"{address} is ready")  # type: ignore[misc]
        client = held.enter_context(httpx.Client(base_url=f"http://{prometheus_at}", timeout=30))
        yield Watching(client, told)


def _write_prometheus(path: Path, port: int, manager: int) -> None:
    facts = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    facts["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    facts["rule_files"] = [str(FOLDER / name) for name in facts["rule_files"]]
    facts["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{manager}"]
    facts["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
    path.write_text(yaml.safe_dump(facts))


def _write_manager(path: Path, webhook: int) -> None:
    facts = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    facts["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    for receiver in facts["receivers"]:
        receiver["webhook_configs"][0]["url"] = f"http://127.0.0.1:{webhook}/{receiver['name']}"
    path.write_text(yaml.safe_dump(facts))


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def _run(*command: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _listen(told: "Queue[dict[str, Any]]") -> Iterator[int]:
    """What Alertmanager would tell people: every alert, with the receiver that it was sent to."""

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            for alert in body["alerts"]:
                told.put({**alert, "receiver": body["receiver"]})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
