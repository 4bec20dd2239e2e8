"""The table from errors to statuses, and the shape of an error answer."""

import json

import pytest

from service import errors
from service.errors import ServiceError
from service.transport.request import request_id_of
from service.transport.status import STATUS, error_reply, status_of
from tests.service.test_errors import EVERY

NAMES = {
    400: "CallerError InvalidInput UnreadableMessage",
    401: "Unauthenticated",
    403: "Forbidden MissingScope",
    404: "UnknownModel UnknownRegion UnknownRoute",
    405: "WrongMethod",
    408: "TooSlow",
    413: "BodyTooLarge",
    415: "UnsupportedMedia UnsupportedCoding",
    426: "UpgradeRequired",
    429: "RateLimited QueueFull TooLate",
    431: "HeaderTooLarge",
    499: "Cancelled",
    500: "ServiceError ModelFailure",
    501: "NotOffered",
    503: "TryLater NotReady StillLoading NoRoom Draining",
    504: "DeadlinePassed",
}
INTENDED = {name: status for status, names in NAMES.items() for name in names.split()}
SECRET = "CUDA error at /srv/secret/weights.bin"


def make(cls: type[ServiceError]) -> ServiceError:
    takes_choices = issubclass(cls, errors.WrongMethod | errors.UnsupportedCoding)
    return cls(SECRET, ("POST",)) if takes_choices else cls(SECRET)


def test_every_error_is_in_the_table() -> None:
    """Every error is in the table, with the status intended here; a new one has that of its nearest ancestor."""
    assert {cls.__name__ for cls in EVERY} == set(INTENDED)
    assert set(EVERY) == set(STATUS)
    nearest = {errors.QueueFull: 429, errors.CallerError: 400, errors.ModelFailure: 500}
    for base, status in nearest.items():
        assert status_of(type("New", (base,), {})("text")) == status


@pytest.mark.parametrize("cls", EVERY)
def test_error_has_its_status_and_text(cls: type[ServiceError]) -> None:
    """An error has its status, request id and text. A 500 points to the log, and errors that pass have Retry-After."""
    reply = error_reply(make(cls), "id-1")
    body = json.loads(b"".join(reply.chunks))
    assert status_of(make(cls)) == reply.status == INTENDED[cls.__name__]
    assert (set(body), body["request_id"]) == ({"error", "request_id"}, "id-1")
    assert (b"content-type", b"application/json") in reply.headers
    assert reply.size_bytes == sum(map(len, reply.chunks))
    assert (b"retry-after" in dict(reply.headers)) == issubclass(cls, errors.TryLater)
    if reply.status == 500:
        assert "secret" not in body["error"]
        assert "log" in body["error"]
    else:
        assert body["error"] == SECRET


@pytest.mark.parametrize(("seconds", "header"), [(0.0, b"1"), (0.2, b"1"), (1.0, b"1"), (1.01, b"2"), (30.0, b"30")])
def test_waiting_time_is_told_in_whole_seconds(seconds: float, header: bytes) -> None:
    """Retry-After is rounded up to whole seconds, at least one."""
    assert (b"retry-after", header) in error_reply(errors.QueueFull("full", seconds), "i").headers


def test_wrong_method_names_the_right_ones() -> None:
    """A 405 carries the Allow header that RFC 9110 asks for."""
    reply = error_reply(errors.WrongMethod("no", ("GET", "HEAD")), "i")
    assert (b"allow", b"GET, HEAD") in reply.headers


@pytest.mark.parametrize("given", [b"", b"a b", b"a\r\nb", b"\xe9", b"x" * 129, b"a\n"])
def test_request_id_that_could_break_a_header_or_log_is_replaced(given: bytes) -> None:
    """An id that is long or has blanks, line ends or non-ASCII letters is replaced; a usable one is kept."""
    assert len({request_id_of({b"x-request-id": given}).encode() for _ in range(100)} | {given}) == 101
    assert request_id_of({b"x-request-id": b"abc-1"}) == "abc-1"


@pytest.mark.parametrize(
    ("error", "header"),
    [
        (errors.Unauthenticated("none", is_given=False), b'Bearer realm="sluice"'),
        (errors.Unauthenticated("wrong"), b'Bearer realm="sluice", error="invalid_token"'),
        (errors.MissingScope("no", "admin"), b'Bearer realm="sluice", error="insufficient_scope", scope="admin"'),
    ],
)
def test_caller_without_a_right_learns_which_key_is_wanted(error: ServiceError, header: bytes) -> None:
    """401 and 403 have the WWW-Authenticate of RFC 6750, with the missing scope."""
    assert dict(error_reply(error, "i").headers)[b"www-authenticate"] == header


def test_error_cannot_be_taken_for_a_page_or_kept() -> None:
    """Every error forbids browsers to guess its type and caches to keep it."""
    headers = dict(error_reply(errors.InvalidInput("<script>"), "i").headers)
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"cache-control"] == b"no-store"
