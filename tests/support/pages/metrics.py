"""docs/reference/metrics.md, from `service/metrics/definitions.py`."""

from service.metrics.definitions import DEFINITIONS, Definition
from tests.support.pages.markdown import as_code, join_page, make_table


def write_metrics() -> str:
    rows = [
        (as_code(_exposed_name(each)), each.kind, ", ".join(map(as_code, each.labels)), each.help)
        for each in DEFINITIONS.values()
    ]
    bounds = {each.bounds: [] for each in DEFINITIONS.values() if each.bounds}
    for each in DEFINITIONS.values():
        if each.bounds:
            bounds[each.bounds].append(as_code(each.name))
    return join_page(
        "Metrics",
        "`GET /metrics` is in the text format of Prometheus. The numbers are sums over all workers. Labels are names "
        "of models and routes that the server knows, never what a caller has sent.",
        make_table(("metric", "kind", "labels", ""), rows),
        "A histogram has the series `_bucket`, `_sum` and `_count`.",
        make_table(
            ("histograms", "upper bounds of the buckets"),
            [(", ".join(names), ", ".join(f"{bound:g}" for bound in of)) for of, names in bounds.items()],
        ),
        "[Monitoring](../how-to/monitoring.md) says what to look at.",
    )


def _exposed_name(definition: Definition) -> str:
    return f"{definition.name}_total" if definition.kind == "counter" else definition.name
