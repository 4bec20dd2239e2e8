"""A real Prometheus reads a real server: every panel has data, every rule a value, and a broken model is an alert."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.dashboard import FILE
from model_store import Store
from tests.deploy.watching import ALERTMANAGER, FOLDER, PROMETHEUS, Watching, until, watch
from tests.support.connections.listening import write_listeners
from tests.support.connections.live import LiveClient
from tests.support.models import graphs
from tests.support.pipelines.models import (
    BLUE,
    PIPELINES,
    RED,
    as_row,
    finder,
    halves,
    make_pipeline,
    painter,
)
from tests.support.processes import REPOSITORY, Served
from tests.support.texts import models as texts

_MISSING = [name for name in (PROMETHEUS, ALERTMANAGER, "promtool") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.deploy,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(_MISSING), reason=f"Debian's prometheus and prometheus-alertmanager: no {_MISSING}"),
]

STREAM = "/v2/models/adder/stream?format=float32"
_VARIABLES = {"$job": "sluice", "$model": ".*", "$route": ".*", "$__rate_interval": "1m"}
_GPU = """
from types import SimpleNamespace
nvmlInit = nvmlShutdown = lambda: None
nvmlDeviceGetCount = lambda: 1
nvmlDeviceGetHandleByIndex = lambda index: index
nvmlDeviceGetName = lambda handle: "GPU"
nvmlDeviceGetMemoryInfo = lambda handle: SimpleNamespace(used=100, total=1000)
"""
"""A stand-in for NVML, so that there is a panel of its memory on a machine without a GPU too."""

_ABSENT = {
    "Memory of models": "no limit is set",
    "Loads on demand and evictions": "no limit is set",
    "Requests of a canary or shadow": "no version is on trial",
    "Canaries that went back": "no version is on trial",
    "Answers compared with the other version": "no version is on trial",
    "Remote store": "the store is a folder",
}
"""Panels without data here, and why. The tests of these parts look at their metrics."""


class Site:
    """A server with several kinds of models, watched. Its first model is broken by ``break_model``."""

    def __init__(self, store: Path, server: Served, watching: Watching) -> None:
        self.store, self.server, self.watching = store, server, watching

    def send(self) -> None:
        """A request of every kind."""
        server = self.server
        server.infer("double")
        adder = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
        for ends in ({"sequence_start": True}, {}):
            given = {"inputs": [adder], "parameters": {"sequence_id": 7, **ends}}
            server.post("/v2/models/adder/infer", given)
        server.post("/classify", {"model": "tagger", "inputs": ["ann lives in rome"]})
        server.post("/pipeline", {"model": "colours", "inputs": [as_row(halves(RED, BLUE))]})
        server.post("/classify", {"model": "tagger", "inputs": []})
        server.get("/nowhere")

    def break_model(self) -> None:
        """Damage the file of `double`. It is read again when a worker starts."""
        (self.store / "double" / "1" / "model.onnx").write_bytes(b"no onnx")
        for pid in self.server.worker_pids():
            os.kill(pid, signal.SIGKILL)

    def until(self, holds: Callable[[], bool], what: object) -> None:
        """Send requests until something holds."""

        def send_and_look() -> bool:
            self.send()
            return holds()

        until(send_and_look, what)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("watched")
    store = write_listeners(folder / "store")
    graphs.write_plain(store, "double", graphs.double())
    texts.publish(store, "tagger", texts.make_tagger(), texts.tagger())
    contents = Store(store)
    for manifest, files in (finder(), painter()):
        contents.publish(manifest, files)
    contents.publish(make_pipeline("colours", *PIPELINES["colours"]), {})
    (folder / "stand-in").mkdir()
    (folder / "stand-in" / "pynvml.py").write_text(_GPU)
    path = os.pathsep.join([str(folder / "stand-in"), str(REPOSITORY)])
    arguments = ("--store", str(store), "--max-rows", "4")
    with (
        Served(
            *arguments,
            workers=2,
            environment={"PYTHONPATH": path, "SLUICE_DRAIN_S": "1", "SLUICE_ACCESS_LOG": str(folder / "access.log")},
        ) as server,
        watch(folder, server.port) as watching,
    ):
        yield Site(store, server, watching)


def find_queries() -> Mapping[str, str]:
    """The queries of all panels, with the variables replaced."""
    queries: dict[str, str] = {}
    for panel in json.loads(FILE.read_text())["panels"]:
        for target in panel.get("targets", ()):
            expr = target["expr"]
            for name, value in _VARIABLES.items():
                expr = expr.replace(name, value)
            queries[f"{panel['title']}, {target['refId']}"] = expr
    return queries


def recorded_names() -> list[str]:
    groups = yaml.safe_load((FOLDER / "recording.yml").read_text())["groups"]
    return [rule["record"] for group in groups for rule in group["rules"]]


def test_rules_have_values_and_no_alert_fires_while_all_is_well(site: Site) -> None:
    """With traffic over models, tasks, sequences, streams and a pipeline. Bad requests are no errors."""
    names = recorded_names()
    with LiveClient(site.server, STREAM) as stream:  # type: ignore[arg-type]
        site.until(lambda: all(map(site.watching.query, names)), "each recording rule has a value")
        site.until(lambda: bool(site.watching.query("sluice_streams > 0")), "the stream is open")
        stream.say('{"end": true}')
    assert site.watching.query("job_model:sluice_request_errors:ratio5m > 0") == []
    firing = {name for (name, _), state in site.watching.alerts().items() if state == "firing"}
    assert {name for name in firing if "Latency" not in name} == set(), "a busy machine may be slow"
    [group] = [target["health"] for target in site.watching.ask("targets")["activeTargets"]]
    assert group == "up"


def test_exposition_has_the_names_that_prometheus_wants(site: Site) -> None:
    """`promtool check metrics` finds nothing, whatever has been counted."""
    site.send()
    text = site.server.get("/metrics").content
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_broken_model_is_reported_by_the_webhook(site: Site) -> None:
    """A file is damaged and the workers start again: its callers get 503, somebody is woken, others go on."""
    site.break_model()
    site.until(lambda: site.server.infer("double") == 503, "the broken model is refused")

    def has_reported() -> bool:
        while not site.watching.told.empty():
            told.append(site.watching.told.get())
        return any(each["labels"]["alertname"] == "SluiceErrorBudgetBurnsFast" for each in told)

    told: list[dict[str, Any]] = []
    site.until(has_reported, "the webhook reports it")
    [alert] = {json.dumps(a["labels"]) for a in told if a["labels"]["alertname"] == "SluiceErrorBudgetBurnsFast"}
    labels = json.loads(alert)
    assert (labels["model"], labels["severity"], labels["job"]) == ("double", "page", "sluice")
    [alert, *_] = [a for a in told if a["labels"]["alertname"] == "SluiceErrorBudgetBurnsFast"]
    assert alert["receiver"] == "pages"
    assert alert["annotations"]["runbook_url"].endswith("/runbooks/SluiceErrorBudgetBurnsFast.html")
    assert "double of sluice:" in alert["annotations"]["summary"]
    state = site.watching.alerts()
    assert ("SluiceModelNotReady", "double") in state, "it waits for its two minutes"
    errors = {model for name, model in state if "Latency" not in name}
    assert errors <= {"double", ""}, "no other model is affected"


def test_every_panel_has_data(site: Site) -> None:
    """Every query of the dashboard, after good, refused and failed requests. The others can at least be evaluated."""
    queries = find_queries()
    absent = [name for name in queries if name.rpartition(", ")[0] in _ABSENT]
    assert [site.watching.query(queries[name]) for name in absent] == [[]] * len(absent)
    assert {name.rpartition(", ")[0] for name in absent} == set(_ABSENT)
    empty = [name for name in queries if name not in absent]

    def look() -> bool:
        empty[:] = [name for name in empty if not site.watching.query(queries[name])]
        return not empty

    with LiveClient(site.server, STREAM):  # type: ignore[arg-type]
        site.until(look, empty)
