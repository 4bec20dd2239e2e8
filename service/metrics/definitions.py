"""All metrics that are exposed, and the records behind the statistics routes."""

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Definition:
    """A metric: ``kind`` is counter, gauge, histogram (with upper ``bounds``) or record (of several ``fields``)."""

    kind: str
    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    fields: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """The numbers of a series. A histogram has one for each bucket, one above the last bound, and the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else len(self.fields) or 1


SECONDS = (
    *(50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
LAG_SECONDS = (1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

REQUESTS = "requests"
REQUEST_FIELDS = ("success", "success_s", "queue_s", "input_s", "infer_s", "fail", "fail_s", "last")
"""Counts, and seconds summed over requests. ``last``: when the last batch ended, in seconds since 1970."""
BATCHES = "batches"
BATCH_FIELDS = ("count", "input_s", "infer_s", "output_s")
"""Seconds summed over batches."""
ROLLOUTS = "rollouts"
ROLLOUT_FIELDS = ("requests", "failed", "stable_requests", "stable_failed", "compared", "differ", "returned")
"""What was noted of a canary and of the stable version beside it. ``returned``: in how many workers it went back."""

_MODEL = ("model", "version")
_ROUTE = ("route", *_MODEL)
_GRAPH = (*_MODEL, "graph")
_BUILD = ("version", "python", "onnxruntime", "compiled")
ALL = {
    d.name: d
    for d in (
        Definition("counter", "sluice_requests", "Requests answered, by status", (*_ROUTE, "status")),
        Definition("histogram", "sluice_request_seconds", "From body to answer", _ROUTE, SECONDS),
        Definition("gauge", "sluice_requests_in_flight", "Requests for models that are not answered yet", ()),
        Definition("counter", "sluice_rejected", "Requests refused or given up, by reason", ("model", "reason")),
        Definition("counter", "sluice_access_log_lost", "Lines of the access log that were not written", ()),
        Definition("histogram", "sluice_queue_seconds", "A request's wait for a batch", _MODEL, SECONDS),
        Definition("histogram", "sluice_batch_seconds", "Assembling a batch, waiting for its lane", _MODEL, SECONDS),
        Definition("histogram", "sluice_compute_seconds", "Running a batch", _MODEL, SECONDS),
        Definition("histogram", "sluice_batch_rows", "Rows of a batch", _MODEL, ROWS),
        Definition("counter", "sluice_tokens", "Tokens of texts, and of their padding", (*_MODEL, "kind")),
        Definition("histogram", "sluice_step_seconds", "A step of a pipeline's request", (*_MODEL, "step"), SECONDS),
        Definition("gauge", "sluice_queue_rows", "Rows that wait; graph loop: for a slot", _GRAPH),
        Definition("gauge", "sluice_max_queue_rows", "The most rows that may wait", _GRAPH),
        Definition("gauge", "sluice_slots", "Slots of a loop that rows hold", _MODEL),
        Definition("gauge", "sluice_max_slots", "The most slots that rows of a loop may hold", _MODEL),
        Definition(
            "gauge", "sluice_model_ready", "Workers in which the version serves, or is loaded on demand", _MODEL
        ),
        Definition("gauge", "sluice_model_provider", "Workers by what runs it", (*_MODEL, "provider", "device")),
        Definition("gauge", "sluice_model_load_seconds", "Load, check and warm-up, summed over workers", _MODEL),
        Definition("gauge", "sluice_rollout_percent", "Requests that a version on trial gets", (*_MODEL, "kind")),
        Definition("gauge", "sluice_canary_returned", "1: the canary went back to the stable version", _MODEL),
        Definition("counter", "sluice_compared", "Answers compared with the other version", (*_MODEL, "outcome")),
        Definition("gauge", "sluice_model_weight_bytes", "Files with the weights, summed over workers", _MODEL),
        Definition("gauge", "sluice_model_memory_bytes", "Memory that versions take, where it is limited", _MODEL),
        Definition("gauge", "sluice_max_model_memory_bytes", "The most memory that models may take, if limited", ()),
        Definition("counter", "sluice_model_loads_on_demand", "Loads that a request has asked for", ("model",)),
        Definition("counter", "sluice_model_evictions", "Versions that have made room for others", ("model",)),
        Definition("gauge", "sluice_streams", "Live streams that are open", _MODEL),
        Definition("gauge", "sluice_max_streams", "The most live streams that may be open", ()),
        Definition("gauge", "sluice_sequences", "Sequences whose state the server keeps", ()),
        Definition("gauge", "sluice_max_sequences", "The most sequences that there may be", ()),
        Definition("gauge", "sluice_connections", "Connections that are open, without those of gRPC", ()),
        Definition("gauge", "sluice_max_connections", "The most connections that may be open", ()),
        Definition("gauge", "sluice_held_body_bytes", "Memory of request bodies", ()),
        Definition("gauge", "sluice_max_held_body_bytes", "The most memory that request bodies may take", ()),
        Definition("histogram", "sluice_event_loop_lag_seconds", "How late the event loop is", (), LAG_SECONDS),
        Definition("gauge", "sluice_store_reachable", "Whether the remote store has answered the last look", ()),
        Definition(
            "gauge", "sluice_store_looked_seconds", "When the remote store last answered, seconds since 1970", ()
        ),
        Definition("gauge", "sluice_store_problems", "Versions of the remote store that cannot be fetched", ()),
        Definition("gauge", "sluice_workers", "Workers that are alive", ()),
        Definition("gauge", "sluice_configured_workers", "Workers that should be alive", ()),
        Definition("counter", "sluice_worker_restarts", "Workers that ended and were started anew", ("cause",)),
        Definition("gauge", "sluice_build_info", "Versions, and whether the request path is compiled", _BUILD),
        Definition("gauge", "sluice_worker_memory_bytes", "Resident memory of the workers, shared pages in each", ()),
        Definition("gauge", "sluice_device_memory_bytes", "Memory of a GPU, all processes", ("device", "kind")),
        Definition("counter", "process_cpu_seconds", "CPU time of all workers, also of those that have ended", ()),
        Definition("gauge", "process_open_fds", "Open files of the workers", ()),
        Definition("gauge", "process_max_fds", "The most open files that the workers may have together", ()),
        Definition("gauge", "process_threads", "Threads of the workers", ()),
        Definition("gauge", "process_start_time_seconds", "When the oldest worker started, in seconds since 1970", ()),
        Definition("record", REQUESTS, "Requests that were answered, and not", _MODEL, (), REQUEST_FIELDS),
        Definition("record", ROLLOUTS, "What was noted of a canary", (*_MODEL, "trial"), (), ROLLOUT_FIELDS),
        Definition("record", BATCHES, "Batches by their number of rows", (*_MODEL, "rows"), (), BATCH_FIELDS),
    )
}
DEFINITIONS = {name: definition for name, definition in ALL.items() if definition.kind != "record"}
"""Those that are exposed. The records are behind the statistics routes."""
