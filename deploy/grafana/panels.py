"""The panels of the dashboard, row by row. A test holds that each metric of the service is on one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.grafana.queries import count_rate, level, mean, quantile, rate, select, use
from service.metrics.definitions import DEFINITIONS


@dataclass(frozen=True)
class Target:
    """A query, and the name of its lines."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """``unit`` is one of Grafana's. ``kind`` is the panel's type there; ``width`` is of 24."""

    title: str
    unit: str
    targets: Sequence[Target]
    description: str = ""
    kind: str = "timeseries"
    width: int = 8
    stacks: bool = False
    """Whether the lines add up to something."""
    is_share: bool = False
    """Whether 1 is its maximum: shown with thresholds at 0.8 and 0.95."""


def help_of(*names: str) -> str:
    """What the definitions say of metrics."""
    return ". ".join(DEFINITIONS[name].help for name in names) + "."


def quantiles(name: str, *by: str) -> list[Target]:
    """The median and the 99th percentile of a histogram."""
    label = " ".join(f"{{{{{each}}}}}" for each in by)
    return [Target(quantile(share, name, *by), f"p{share * 100:g} {label}".strip()) for share in (0.5, 0.99)]


def spread(title: str, name: str, *by: str) -> Panel:
    return Panel(title, "s", quantiles(name, *by), help_of(name))


def pair(title: str, name: str, limit: str, unit: str, *by: str) -> Panel:
    """What is used, beside its limit."""
    label = " ".join(f"{{{{{each}}}}}" for each in by)
    targets = [Target(level(name, *by), f"used {label}".strip()), Target(level(limit, *by), f"limit {label}".strip())]
    return Panel(title, unit, targets, help_of(name, limit))


_STATUS = "{{status}}"
_VERSION = "{{model}} {{version}}"
_OF_VERSION = ("model", "version")
_ERRORS = ('status=~"5.."',)

OVERVIEW = [
    Panel("Servers", "short", [Target(f"count({select('sluice_workers')})", "servers")], "That answer.", "stat", 3),
    Panel(
        "Workers",
        "short",
        [Target(level("sluice_workers"), "alive"), Target(level("sluice_configured_workers"), "wanted")],
        help_of("sluice_workers", "sluice_configured_workers"),
        "stat",
        5,
    ),
    Panel(
        "Models that serve",
        "short",
        [Target(f"count(max by (model) ({select('sluice_model_ready')}) > 0) or vector(0)", "models")],
        help_of("sluice_model_ready"),
        "stat",
        4,
    ),
    Panel(
        "Failed",
        "percentunit",
        [Target(f"({rate('sluice_requests', where=_ERRORS)} or vector(0)) / {rate('sluice_requests')}", "failed")],
        "The share of answers with a status of 500 and above.",
        "stat",
        4,
    ),
    Panel("p99", "s", [Target(quantile(0.99, "sluice_request_seconds"), "p99")], "Of all requests.", "stat", 4),
    Panel(
        "In flight",
        "short",
        [Target(level("sluice_requests_in_flight"), "requests")],
        help_of("sluice_requests_in_flight"),
        "stat",
        4,
    ),
    Panel(
        "Answers by status",
        "reqps",
        [Target(rate("sluice_requests", "status"), _STATUS)],
        help_of("sluice_requests"),
        stacks=True,
    ),
    spread("Latency", "sluice_request_seconds"),
    Panel(
        "Refused, by reason",
        "reqps",
        [Target(rate("sluice_rejected", "reason"), "{{reason}}")],
        help_of("sluice_rejected"),
        stacks=True,
    ),
]
MODELS = [
    Panel(
        "Answers by model and version",
        "reqps",
        [Target(rate("sluice_requests", *_OF_VERSION), _VERSION)],
        help_of("sluice_requests"),
        stacks=True,
    ),
    Panel(
        "p99 by route and version",
        "s",
        [Target(quantile(0.99, "sluice_request_seconds", "route", *_OF_VERSION), "{{route}} " + _VERSION)],
        help_of("sluice_request_seconds"),
    ),
    Panel(
        "Failed, by model",
        "reqps",
        [Target(rate("sluice_requests", "model", "status", where=_ERRORS), "{{model}} " + _STATUS)],
        "Answers with a status of 500 and above.",
    ),
    spread("Wait for a batch", "sluice_queue_seconds", "model"),
    spread("Run of a batch", "sluice_compute_seconds", "model"),
    spread("Step of a pipeline", "sluice_step_seconds", "model", "step"),
    Panel(
        "Workers in which a version serves",
        "short",
        [Target(level("sluice_model_ready", *_OF_VERSION), _VERSION)],
        help_of("sluice_model_ready"),
    ),
    Panel(
        "Provider",
        "short",
        [Target(level("sluice_model_provider", *_OF_VERSION, "provider"), _VERSION + " {{provider}}")],
        help_of("sluice_model_provider"),
    ),
    Panel(
        "Load",
        "s",
        [Target(level("sluice_model_load_seconds", *_OF_VERSION), _VERSION)],
        help_of("sluice_model_load_seconds"),
    ),
    Panel(
        "Weights",
        "bytes",
        [Target(level("sluice_model_weight_bytes", *_OF_VERSION), _VERSION)],
        help_of("sluice_model_weight_bytes"),
        stacks=True,
    ),
    Panel(
        "Memory of models",
        "bytes",
        [
            Target(level("sluice_model_memory_bytes", *_OF_VERSION), _VERSION),
            Target(level("sluice_max_model_memory_bytes"), "limit"),
        ],
        help_of("sluice_model_memory_bytes", "sluice_max_model_memory_bytes"),
    ),
    Panel(
        "Loads on demand and evictions",
        "ops",
        [
            Target(rate("sluice_model_loads_on_demand", "model"), "load {{model}}"),
            Target(rate("sluice_model_evictions", "model"), "eviction {{model}}"),
        ],
        help_of("sluice_model_loads_on_demand", "sluice_model_evictions"),
    ),
    Panel(
        "Requests of a canary or shadow",
        "percent",
        [Target(level("sluice_rollout_percent", *_OF_VERSION, "kind"), _VERSION + " {{kind}}")],
        help_of("sluice_rollout_percent"),
    ),
    Panel(
        "Canaries that went back",
        "short",
        [Target(level("sluice_canary_returned", *_OF_VERSION), _VERSION)],
        help_of("sluice_canary_returned"),
    ),
    Panel(
        "Answers compared with the other version",
        "reqps",
        [Target(rate("sluice_compared", *_OF_VERSION, "outcome"), _VERSION + " {{outcome}}")],
        help_of("sluice_compared"),
    ),
    Panel(
        "Live streams",
        "short",
        [Target(level("sluice_streams", *_OF_VERSION), _VERSION)],
        help_of("sluice_streams"),
    ),
]
BATCHES = [
    Panel(
        "Rows of a batch",
        "short",
        [
            Target(mean("sluice_batch_rows", "model"), "mean {{model}}"),
            Target(quantile(0.99, "sluice_batch_rows", "model"), "p99 {{model}}"),
        ],
        help_of("sluice_batch_rows"),
    ),
    Panel(
        "Batches",
        "ops",
        [Target(count_rate("sluice_batch_rows", "model"), "{{model}}")],
        "Batches that ran in a second.",
    ),
    spread("Assembly", "sluice_batch_seconds", "model"),
    Panel(
        "Tokens",
        "ops",
        [Target(rate("sluice_tokens", "model", "kind"), "{{model}} {{kind}}")],
        help_of("sluice_tokens"),
        stacks=True,
    ),
]
WORKERS = [
    spread("Event loop: how late", "sluice_event_loop_lag_seconds", "instance"),
    Panel(
        "Restarts, by cause",
        "short",
        [Target(f"sum by (cause) (increase({select('sluice_worker_restarts')}[1h]))", "{{cause}}")],
        help_of("sluice_worker_restarts") + " In the last hour.",
    ),
    Panel(
        "CPU",
        "short",
        [Target(rate("process_cpu_seconds", "instance"), "{{instance}}")],
        "Cores that the workers keep busy. " + help_of("process_cpu_seconds"),
    ),
    Panel(
        "Memory",
        "bytes",
        [Target(level("sluice_worker_memory_bytes", "instance"), "{{instance}}")],
        help_of("sluice_worker_memory_bytes"),
    ),
    Panel(
        "Remote store",
        "short",
        [
            Target(level("sluice_store_reachable", "instance"), "{{instance}} reachable"),
            Target(level("sluice_store_problems", "instance"), "{{instance}} versions not fetched"),
            Target(f"time() - {level('sluice_store_looked_seconds', 'instance')}", "{{instance}} seconds since a look"),
        ],
        help_of("sluice_store_reachable", "sluice_store_problems", "sluice_store_looked_seconds"),
    ),
    Panel(
        "Memory of GPUs",
        "bytes",
        [Target(level("sluice_device_memory_bytes", "instance", "device", "kind"), "{{instance}} {{device}} {{kind}}")],
        help_of("sluice_device_memory_bytes"),
    ),
    Panel(
        "Threads", "short", [Target(level("process_threads", "instance"), "{{instance}}")], help_of("process_threads")
    ),
    pair("Open files", "process_open_fds", "process_max_fds", "short", "instance"),
    Panel(
        "Oldest worker runs for",
        "s",
        [Target(f"time() - min by (instance) ({select('process_start_time_seconds')})", "{{instance}}")],
        help_of("process_start_time_seconds"),
    ),
    Panel(
        "Access log: lines lost",
        "short",
        [Target(f"sum by (instance) (increase({select('sluice_access_log_lost')}[1h]))", "{{instance}}")],
        help_of("sluice_access_log_lost") + " In the last hour.",
    ),
    Panel(
        "Builds",
        "short",
        [
            Target(
                level("sluice_build_info", "version", "python", "onnxruntime", "compiled"),
                "{{version}}, Python {{python}}, ONNX Runtime {{onnxruntime}}, compiled: {{compiled}}",
            )
        ],
        help_of("sluice_build_info"),
    ),
]
_SHARES: Mapping[str, tuple[str, str]] = {
    "connections": ("sluice_connections", "sluice_max_connections"),
    "bodies": ("sluice_held_body_bytes", "sluice_max_held_body_bytes"),
    "sequences": ("sluice_sequences", "sluice_max_sequences"),
    "queue": ("sluice_queue_rows", "sluice_max_queue_rows"),
    "slots": ("sluice_slots", "sluice_max_slots"),
    "files": ("process_open_fds", "process_max_fds"),
}
LIMITS = [
    Panel(
        "Use of the limits",
        "percentunit",
        [Target(use(*names), each) for each, names in _SHARES.items()],
        "Of the server or model that uses most of each.",
        width=24,
        is_share=True,
    ),
    pair("Rows that wait", "sluice_queue_rows", "sluice_max_queue_rows", "short", "model", "graph"),
    pair("Slots of loops", "sluice_slots", "sluice_max_slots", "short", "model"),
    pair("Sequences", "sluice_sequences", "sluice_max_sequences", "short"),
    pair("Streams", "sluice_streams", "sluice_max_streams", "short"),
    pair("Connections", "sluice_connections", "sluice_max_connections", "short"),
    pair("Request bodies", "sluice_held_body_bytes", "sluice_max_held_body_bytes", "bytes"),
]
ROWS: Mapping[str, Sequence[Panel]] = {
    "Overview": OVERVIEW,
    "Models": MODELS,
    "Batches": BATCHES,
    "Workers": WORKERS,
    "Limits": LIMITS,
}
