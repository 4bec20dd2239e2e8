"""The gRPC code of each HTTP status, and the headers that become metadata.

`service/transport/status.py` has the HTTP status of each error.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from grpc import StatusCode

from service.transport.request import Reply

CODES: Mapping[int, StatusCode] = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    405: StatusCode.UNIMPLEMENTED,
    408: StatusCode.DEADLINE_EXCEEDED,
    413: StatusCode.RESOURCE_EXHAUSTED,
    415: StatusCode.INVALID_ARGUMENT,
    426: StatusCode.UNIMPLEMENTED,
    429: StatusCode.RESOURCE_EXHAUSTED,
    431: StatusCode.RESOURCE_EXHAUSTED,
    499: StatusCode.CANCELLED,
    500: StatusCode.INTERNAL,
    501: StatusCode.UNIMPLEMENTED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}

METADATA = (b"ratelimit", b"ratelimit-policy", b"retry-after", b"server-timing", b"traceresponse", b"x-request-id")

Metadata = Sequence[tuple[str, str]]


def metadata_of(reply: Reply) -> Metadata:
    """The headers of an answer that become trailing metadata."""
    return tuple((name.decode(), value.decode("latin-1")) for name, value in reply.headers if name in METADATA)


def refusal_of(reply: Reply) -> tuple[StatusCode, str, Metadata]:
    """The code, text and metadata of a reply whose status is not 200."""
    content: Any = orjson.loads(b"".join(reply.chunks))
    return CODES.get(reply.status, StatusCode.UNKNOWN), content["error"], metadata_of(reply)
