"""Which scope a route needs. Pure.

What is not named here needs ``infer``, so that a new route, or a path that somebody writes in another way, is not open.
The paths are those that the router sees: decoded, without the prefix of all routes and without a slash at the end.
"""

import re
from typing import Final

from service.access.grants import ADMIN, INFER, METRICS, Scope

_OPEN: Final = frozenset(
    ("/", "/live", "/docs", "/docs.json", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready")
)
"""Pages, their documents and the probes. They say nothing of the models."""
_OPEN_FOLDER: Final = "/web/"
_ADMIN: Final = re.compile(
    r"/v2/(repository/models/.*|logging|trace/setting|models/.*/trace/setting|systemsharedmemory/.*(?<!/status))",
    re.DOTALL,
)

_RPC_PREFIX: Final = "/inference.GRPCInferenceService/"
_OPEN_RPCS: Final = frozenset((_RPC_PREFIX + "ServerLive", _RPC_PREFIX + "ServerReady"))
_HEALTH: Final = "/grpc.health.v1.Health/"
"""Open, as the probes of HTTP are; it asks for a key itself where a model is meant."""
_ADMIN_RPCS: Final = frozenset(
    _RPC_PREFIX + name
    for name in (
        *("RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting", "LogSettings"),
        *("SystemSharedMemoryRegister", "SystemSharedMemoryUnregister"),
    )
)


def find_scope(path: str) -> Scope | None:
    """The scope that a path of HTTP needs, whatever the method; None: it is open."""
    if path in _OPEN or (path.startswith(_OPEN_FOLDER) and ".." not in path):
        return None
    if path == "/metrics":
        return METRICS
    return ADMIN if _ADMIN.fullmatch(path) else INFER


def find_rpc_scope(method: str) -> Scope | None:
    """The scope that a method of gRPC needs, such as ``/inference.GRPCInferenceService/ModelInfer``; None: open."""
    if method in _OPEN_RPCS or method.startswith(_HEALTH):
        return None
    return ADMIN if method in _ADMIN_RPCS else INFER
