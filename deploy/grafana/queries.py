"""Expressions of PromQL for a metric, from its definition."""

from service.metrics.definitions import DEFINITIONS

RANGE = "$__rate_interval"


def select(name: str, suffix: str = "", *more: str) -> str:
    """The series of a metric that the variables of the dashboard choose, and what ``more`` matchers choose."""
    definition = DEFINITIONS[name]
    matchers = ['job=~"$job"', *(f'{label}=~"${label}"' for label in ("model", "route") if label in definition.labels)]
    exposed = f"{name}_total" if definition.kind == "counter" else name
    return f"{exposed}{suffix}{{{', '.join((*matchers, *more))}}}"


def level(name: str, *by: str) -> str:
    """A gauge, summed over servers and all labels but ``by``."""
    return f"{_sum(by)} ({select(name)})"


def rate(name: str, *by: str, where: tuple[str, ...] = ()) -> str:
    """How much a counter grows in a second."""
    return f"{_sum(by)} (rate({select(name, '', *where)}[{RANGE}]))"


def count_rate(name: str, *by: str) -> str:
    """How many values of a histogram come in a second."""
    return f"{_sum(by)} (rate({select(name, '_count')}[{RANGE}]))"


def quantile(share: float, name: str, *by: str) -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({share:g}, {_sum(('le', *by))} (rate({select(name, '_bucket')}[{RANGE}])))"


def mean(name: str, *by: str) -> str:
    """The mean of a histogram."""
    sums, counts = (f"{_sum(by)} (rate({select(name, end)}[{RANGE}]))" for end in ("_sum", "_count"))
    return f"{sums} / {counts}"


def use(name: str, limit: str, *by: str) -> str:
    """The share of a limit that is used, of the server or series that uses most."""
    return f"max{_by(by)} ({select(name)} / {select(limit)})"


def _sum(by: tuple[str, ...]) -> str:
    return f"sum{_by(by)}"


def _by(by: tuple[str, ...]) -> str:
    return f" by ({', '.join(by)})" if by else ""
