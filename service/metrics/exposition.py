"""The metrics in the formats of Prometheus. The only file that imports prometheus_client."""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from service.metrics.definitions import DEFINITIONS, Definition
from service.metrics.meters import Metrics
from service.metrics.storage import Labels


def expose(metrics: Metrics, accept: str) -> tuple[bytes, str]:
    """The text and its content type, in the format that the ``Accept`` header asks for.

    It may take a tenth of a second, so call it in a thread, after ``metrics.write_levels`` on the event loop.
    """
    registry = CollectorRegistry()
    registry.register(_Families(metrics))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Families(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        for name, series in self._metrics.sums().items():
            yield _family(DEFINITIONS[name], series)


def _family(definition: Definition, series: Mapping[Labels, Sequence[float]]) -> Metric:
    if definition.kind == "histogram":
        family = HistogramMetricFamily(definition.name, definition.help, labels=definition.labels)
        for labels, (*counts, total) in sorted(series.items()):
            running, buckets = 0.0, []
            for bound, count in zip((*map(str, definition.bounds), "+Inf"), counts, strict=True):
                running += count
                buckets.append((bound, running))
            family.add_metric(labels, buckets, total)
        return family
    plain = CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily
    simple = plain(definition.name, definition.help, labels=definition.labels)
    for labels, (value,) in sorted(series.items()):
        simple.add_metric(labels, value)
    return simple
