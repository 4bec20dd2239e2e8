"""Metrics over several workers, and what a scrape reads."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import meters
from service.metrics.definitions import DEFINITIONS, ROWS, SECONDS
from service.metrics.exposition import expose
from service.metrics.meters import Metrics, ModelMeter

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Samples:
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    found = {(s.name, frozenset(s.labels.items())): s.value for s in samples}
    assert len(found) == len(samples), "a series came twice"
    return found


def exposed(metrics: Metrics) -> Samples:
    return parse(expose(metrics, "")[0].decode())


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


REJECTED = key("sluice_rejected_total", model="m", reason="queue_full")
DEPTH = key("sluice_queue_rows", model="m", version="1", graph="main")
WORKERS = key("sluice_workers")


ROWS_SUM, ROWS_COUNT = (key(f"sluice_batch_rows_{end}", model="m", version="1") for end in ("sum", "count"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


def count(metrics: Metrics, number: int) -> None:
    """Count ``number`` refusals and waiting rows, and one batch of as many rows."""
    for _ in range(number):
        metrics.rejected("m", "queue_full")
    metrics.numbers("sluice_queue_rows", ("m", "1", "main")).set(number)
    metrics.histogram("sluice_batch_rows", ("m", "1")).observe(number)


def leave(folder: Path, pid: int, number: int) -> None:
    """A worker's files, written by this process and given another pid."""
    count(Metrics(folder), number)
    for path in folder.glob(f"{os.getpid()}-*"):
        path.rename(path.with_name(path.name.replace(str(os.getpid()), str(pid))))


def test_padding_of_texts_is_counted_beside_their_tokens() -> None:
    """Tokens and padding are counted apart. Models without texts have no such series."""
    metrics = Metrics()
    meter = ModelMeter(metrics, "m", "1")
    assert not any(name.startswith("sluice_tokens") for name, _ in exposed(metrics))
    meter.tokens(5, 3)
    meter.tokens(8, 0)
    samples = exposed(metrics)
    kinds = [samples[key("sluice_tokens_total", model="m", version="1", kind=kind)] for kind in ("text", "padding")]
    assert kinds == [13, 3]


@pytest.mark.parametrize(("alive", "depth", "workers"), [(True, 4.0, 2.0), (False, 1.0, 1.0)])
def test_workers_are_summed_and_the_dead_keep_only_their_counters(
    folder: Path, monkeypatch: pytest.MonkeyPatch, alive: bool, depth: float, workers: float
) -> None:
    """Gauges are summed over living workers, counters and histograms also over dead ones."""
    leave(folder, 1, 3)
    asked: list[str] = []

    def is_alive(path: Path) -> bool:
        asked.append(path.name.partition("-")[0])
        return alive

    monkeypatch.setattr(meters, "is_in_use", is_alive)
    metrics = Metrics(folder)
    count(metrics, 1)
    samples = exposed(metrics)
    assert (samples[REJECTED], samples[DEPTH], samples[WORKERS]) == (4, depth, workers)
    assert (samples[ROWS_SUM], samples[ROWS_COUNT]) == (4, 2)
    assert set(asked) == {"1"}


def test_worker_with_the_pid_of_a_dead_one_keeps_its_counters_apart(folder: Path) -> None:
    """When a pid comes again, as it does in containers, the dead worker's counts stay, each in its own series."""
    first = Metrics(folder)
    first.rejected("old", "invalid")
    second = Metrics(folder)  # the same pid, as after a restart of the container
    second.rejected("new", "too_late")
    second.rejected("new", "too_late")
    for path in folder.glob(f"{os.getpid()}-*"):
        path.rename(path.with_name(path.name.replace(str(os.getpid()), "1")))
    samples = exposed(Metrics(folder))
    assert samples[key("sluice_rejected_total", model="new", reason="too_late")] == 2
    assert samples[key("sluice_rejected_total", model="old", reason="invalid")] == 1


@settings(deadline=None, max_examples=50)
@given(values=st.lists(st.one_of(st.sampled_from(ROWS), st.floats(0, 5000)), max_size=30))
def test_buckets_are_cumulative_and_include_their_bound(values: list[float]) -> None:
    """The bucket ``le`` counts the observations of at most that much; the last counts all; the sum is their sum."""
    metrics = Metrics()
    histogram = metrics.histogram("sluice_batch_rows", ("m", "1"))
    for value in values:
        histogram.observe(value)
    samples = exposed(metrics)
    for bound in (*ROWS, float("inf")):
        le = "+Inf" if bound == float("inf") else str(bound)
        count = samples[key("sluice_batch_rows_bucket", model="m", version="1", le=le)]
        assert count == sum(value <= bound for value in values)
    assert samples[ROWS_COUNT] == len(values)
    assert samples[ROWS_SUM] == pytest.approx(sum(values))


def test_labels_of_any_text_survive(folder: Path) -> None:
    """Quotes, backslashes, line ends and non-ASCII letters in a label survive the file and the exposition."""
    name = 'a"b\\c\nd é,{}='
    leave(folder, 1, 0)
    (series,) = folder.glob("1-*.series")
    series.write_text(series.read_text() + json.dumps(["sluice_rejected", [name, "x"], 50]) + "\n")
    metrics = Metrics(folder)
    metrics.rejected(name, "x")
    assert exposed(metrics)[key("sluice_rejected_total", model=name, reason="x")] == 1


def test_every_definition_is_exposed_with_help_and_type() -> None:
    """All metrics are named before the first request, each with type and help, in both formats; bounds rise."""
    assert all(list(bounds) == sorted(set(bounds)) for bounds in (SECONDS, ROWS))
    families = {f.name: f for f in text_string_to_metric_families(expose(Metrics(), "")[0].decode())}
    assert set(families) == set(DEFINITIONS)
    for name, family in families.items():
        assert (family.type, family.documentation) == (DEFINITIONS[name].kind, DEFINITIONS[name].help)
    metrics = Metrics()
    metrics.rejected("m", "queue_full")
    metrics.histogram("sluice_batch_rows", ("m", "1")).observe(3)
    text, content_type = expose(metrics, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert {f.name for f in parse_openmetrics(text.decode())} == set(DEFINITIONS)
    assert expose(metrics, "")[1].startswith("text/plain")


def test_answers_are_counted_by_route_version_and_status() -> None:
    """Each answer adds to the counter of its status and the time of its route; a series has one number."""
    metrics = Metrics()
    labels = {"route": "/classify", "model": "m", "version": "3"}
    for status, seconds in ((200, 0.003), (200, 0.004), (429, 0.0001)):
        metrics.route("/classify", "m", "3").answered(status, seconds)
    samples = exposed(metrics)
    for status, number in (("200", 2), ("429", 1)):
        assert samples[key("sluice_requests_total", **labels, status=status)] == number
    assert samples[key("sluice_request_seconds_count", **labels)] == 3
    assert samples[key("sluice_request_seconds_sum", **labels)] == pytest.approx(0.0071)
    metrics = Metrics()
    for _ in range(2):
        metrics.numbers("sluice_rejected", ("m", "queue_full")).add(1.0)
    metrics.rejected("m", "queue_full")
    assert exposed(metrics)[REJECTED] == 3


def test_engine_tells_its_meter_rows_and_seconds() -> None:
    """What the engine reports of a batch is in the histograms of its model and version."""
    metrics = Metrics()
    meter = ModelMeter(metrics, "m", "2")
    meter.queued([0.5])
    meter.ran(7, 0.25, 0.125)
    samples = exposed(metrics)
    sums = {"queue_seconds": 0.5, "batch_seconds": 0.25, "compute_seconds": 0.125, "batch_rows": 7}
    assert sums == {name: samples[key(f"sluice_{name}_sum", model="m", version="2")] for name in sums}
