"""From HTTP statuses to gRPC codes. Which error has which status is in tests/service/transport/test_status.py."""

from service.errors import InvalidInput, QueueFull
from service.transport.grpc.codes import CODES, refusal_of
from service.transport.status import STATUS, error_reply

INTENDED = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    413: "RESOURCE_EXHAUSTED",
    415: "INVALID_ARGUMENT",
    426: "UNIMPLEMENTED",
    429: "RESOURCE_EXHAUSTED",
    431: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def test_every_status_has_its_code() -> None:
    """Each status has the code intended here; the text is that of the reply, and metadata say when to come back."""
    assert {status: CODES[status].name for status in STATUS.values()} == INTENDED
    _, text, metadata = refusal_of(error_reply(QueueFull("the queue is full", 2.0), "id-1"))
    assert text == "the queue is full"
    assert dict(metadata) == {"retry-after": "2"}
    assert refusal_of(error_reply(InvalidInput("no"), "id-1"))[2] == ()
