"""Measures what it costs to tell of each request: throughput with everything on against the same server with all off.

On: an access log in a file, traces by OpenTelemetry as many as by default, and a scrape of the metrics each second.
Sluice always counts, so off means that nobody reads. The spans go to a sink in this process that reads them and throws
them away.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from loadtests.bench.comparison import Comparison, Schedule
from loadtests.bench.models.model import MODELS
from loadtests.bench.peer import ENCODINGS, Peer, Site
from loadtests.bench.peers.sluice import PEER
from loadtests.bench.results.result import Cell
from loadtests.bench.results.telemetry_verdict import CLIENTS, MODEL_NAMES, OFF, ON, TRACED
from loadtests.http_client import Request, Unreachable, exchange

SCRAPE_EVERY_S = 1.0


class _Sink(BaseHTTPRequestHandler):
    """Takes spans."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not a line for each batch of spans."""


@contextlib.contextmanager
def run_sink() -> Iterator[str]:
    """The address of a server that takes spans by OTLP over HTTP."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Sink) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="sink", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Scraper:
    """Reads the metrics of the servers that were started with everything on."""

    def __init__(self) -> None:
        self.addresses: set[str] = set()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._scrape, name="scraper", daemon=True)

    def __enter__(self) -> "_Scraper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _scrape(self) -> None:
        while not self._is_over.wait(SCRAPE_EVERY_S):
            for address in list(self.addresses):
                with contextlib.suppress(Unreachable):  # it has not started, or has ended
                    exchange(address, Request("/metrics"))


def make_peers(sink: str, scraped: set[str]) -> list[Peer]:
    """Everything on, everything off, and everything on with each request traced."""

    def switch(name: str, sampler: str) -> Peer:
        def environment(site: Site) -> Mapping[str, str]:
            scraped.add(site.address)
            return {
                **PEER.environment(site),
                "SLUICE_ACCESS_LOG": str(site.repository.parent / "access.log"),
                "SLUICE_TRACING": "true",
                "OTEL_EXPORTER_OTLP_ENDPOINT": sink,
                "OTEL_TRACES_SAMPLER": sampler,
            }

        return dataclasses.replace(PEER, name=name, environment=environment)

    return [switch(ON, ""), dataclasses.replace(PEER, name=OFF), switch(TRACED, "always_on")]


def measure_telemetry(comparison: Comparison, is_quick: bool) -> list[Cell]:
    """The three servers side by side, in many short rounds."""
    schedule = Schedule(ENCODINGS, CLIENTS, rounds=2 if is_quick else 15, round_s=1, warm_up_s=1)
    models = [MODELS[name] for name in MODEL_NAMES]
    with run_sink() as sink, _Scraper() as scraper:
        peers = make_peers(sink, scraper.addresses)
        found = []
        for model in models:
            scraper.addresses.clear()
            found += comparison.measure(model, peers, schedule)
        return found
