"""Which scope a route needs. Pure.

A path that is not listed here needs ``infer``, so that a new route, or a known path in an unusual spelling, is never
open. Paths are as the router sees them: decoded, without the base path and without a trailing slash.
"""

import re
from typing import Final

from service.access.grants import ADMIN, INFER, METRICS, Scope

_OPEN: Final = frozenset(
    ("/", "/live", "/docs", "/docs.json", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready")
)
"""Pages, their documents, and the probes. They reveal nothing about the models."""
_OPEN_FOLDER: Final = "/web/"
_ADMIN: Final = re.compile(
    r"/v2/(repository/models/.*|logging|trace/setting|models/.*/trace/setting|systemsharedmemory/.*(?<!/status))",
    re.DOTALL,
)

_RPC_PREFIX: Final = "/inference.GRPCInferenceService/"
_OPEN_RPCS: Final = frozenset((_RPC_PREFIX + "ServerLive", _RPC_PREFIX + "ServerReady"))
_HEALTH: Final = "/grpc.health.v1.Health/"
"""Open, as the probes of HTTP are. Its handler asks for a key itself if the question is about a model."""
_ADMIN_RPCS: Final = frozenset(
    _RPC_PREFIX + name
    for name in (
        *("RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting", "LogSettings"),
        *("SystemSharedMemoryRegister", "SystemSharedMemoryUnregister"),
    )
)


def find_scope(path: str) -> Scope | None:
    """The scope that an HTTP path needs, with any method; None: it is open."""
    if path in _OPEN or (path.startswith(_OPEN_FOLDER) and ".." not in path):
        return None
    if path == "/metrics":
        return METRICS
    return ADMIN if _ADMIN.fullmatch(path) else INFER


def find_rpc_scope(method: str) -> Scope | None:
    """The scope that a gRPC method needs, such as ``/inference.GRPCInferenceService/ModelInfer``; None: it is open."""
    if method in _OPEN_RPCS or method.startswith(_HEALTH):
        return None
    return ADMIN if method in _ADMIN_RPCS else INFER
