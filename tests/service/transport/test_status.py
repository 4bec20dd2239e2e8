"""The table from errors to statuses, and the shape of an error answer."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from service import errors
from service.errors import ServiceError
from service.transport.request import Reply, request_id_of
from service.transport.status import STATUS, error_reply, status_of

INTENDED = {
    "CallerError": 400,
    "InvalidInput": 400,
    "Forbidden": 403,
    "UnknownModel": 404,
    "UnknownRoute": 404,
    "WrongMethod": 405,
    "BodyTooLarge": 413,
    "UnsupportedMedia": 415,
    "UnsupportedCoding": 415,
    "HeaderTooLarge": 431,
    "TooSlow": 408,
    "QueueFull": 429,
    "TooLate": 429,
    "Cancelled": 499,
    "ModelFailure": 500,
    "ServiceError": 500,
    "NotOffered": 501,
    "TryLater": 503,
    "NotReady": 503,
    "StillLoading": 503,
    "Draining": 503,
    "DeadlinePassed": 504,
}
SECRET = "CUDA error at /srv/secret/weights.bin"


def walk(base: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for child in base.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from walk(child)


EVERY = (ServiceError, *walk(ServiceError))


def make(cls: type[ServiceError]) -> ServiceError:
    takes_choices = issubclass(cls, errors.WrongMethod | errors.UnsupportedCoding)
    return cls(SECRET, ("POST",)) if takes_choices else cls(SECRET)


def content(reply: Reply) -> Any:
    return json.loads(b"".join(reply.chunks))


def test_every_error_is_in_the_table() -> None:
    """No error of the tree gets its status by accident: each is intended here and written in the table."""
    assert {cls.__name__ for cls in EVERY} == set(INTENDED)
    assert set(EVERY) == set(STATUS)


@pytest.mark.parametrize("cls", EVERY)
def test_error_has_its_status(cls: type[ServiceError]) -> None:
    """Each error becomes the status that is intended for it, and an answer of one shape with the request id."""
    reply = error_reply(make(cls), "id-1")
    assert status_of(make(cls)) == reply.status == INTENDED[cls.__name__]
    assert set(content(reply)) == {"error", "request_id"}
    assert content(reply)["request_id"] == "id-1"
    assert (b"content-type", b"application/json") in reply.headers
    assert reply.size_bytes == sum(map(len, reply.chunks))


@pytest.mark.parametrize("cls", EVERY)
def test_text_of_an_inner_failure_is_withheld(cls: type[ServiceError]) -> None:
    """A 500 says nothing of what went wrong inside and points to the log; every other error says what it was."""
    text = content(error_reply(make(cls), "id-1"))["error"]
    if INTENDED[cls.__name__] == 500:
        assert "secret" not in text
        assert "log" in text
    else:
        assert text == SECRET


def test_new_error_has_the_status_of_its_nearest_ancestor() -> None:
    """An error that is not in the table is treated as the kind that it is derived from."""
    nearest = {errors.QueueFull: 429, errors.CallerError: 400, errors.ModelFailure: 500}
    for base, status in nearest.items():
        assert status_of(type("New", (base,), {})("text")) == status


@pytest.mark.parametrize(("seconds", "header"), [(0.0, b"1"), (0.2, b"1"), (1.0, b"1"), (1.01, b"2"), (30.0, b"30")])
def test_waiting_time_is_told_in_whole_seconds(seconds: float, header: bytes) -> None:
    """Retry-After is rounded up, and at least one second, so that nobody comes back too early."""
    assert (b"retry-after", header) in error_reply(errors.QueueFull("full", seconds), "i").headers


@pytest.mark.parametrize("cls", [cls for cls in EVERY if not issubclass(cls, errors.TryLater)])
def test_only_what_passes_has_a_waiting_time(cls: type[ServiceError]) -> None:
    """An error that another try does not mend invites none."""
    assert not [value for name, value in error_reply(make(cls), "i").headers if name == b"retry-after"]


def test_wrong_method_names_the_right_ones() -> None:
    """A 405 carries the Allow header that RFC 9110 asks for."""
    reply = error_reply(errors.WrongMethod("no", ("GET", "HEAD")), "i")
    assert (b"allow", b"GET, HEAD") in reply.headers


@pytest.mark.parametrize("given", [b"", b"a b", b"a\r\nb", b"\xe9", b"x" * 129, b"a\n"])
def test_request_id_that_could_break_a_header_or_log_is_replaced(given: bytes) -> None:
    """A caller's id with blanks, line ends, foreign characters or of great length is not used."""
    assert request_id_of({b"x-request-id": given}).encode() != given


def test_request_ids_are_new_each_time() -> None:
    """A request without an id gets one that no other has; a usable one of the caller is kept."""
    assert len({request_id_of({}) for _ in range(100)}) == 100
    assert request_id_of({b"x-request-id": b"abc-1"}) == "abc-1"
