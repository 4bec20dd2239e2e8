"""Two nodes of Ray on one machine, for programs that write down what happens."""

import threading
import time
from collections.abc import Callable
from typing import Any

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 2, "object_store_memory": 100_000_000}
_SOON_LOST = {
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
    "health_check_initial_delay_ms": 0,
}
WAIT_S = 180.0


def start() -> tuple[Cluster, Any]:
    """The cluster, and its second node. It notices within seconds when a node is lost."""
    head = {**NODE, "include_dashboard": False, "_system_config": _SOON_LOST}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    return cluster, cluster.add_node(**NODE)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Raises TimeoutError."""
    until = time.monotonic() + WAIT_S
    pause = threading.Event()
    while not holds():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {WAIT_S} s for {what}")
        pause.wait(0.02)  # another process changes it, and nothing tells us
