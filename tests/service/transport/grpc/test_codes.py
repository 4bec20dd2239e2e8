"""The table from errors to gRPC codes."""

from collections.abc import Iterator

import pytest

from service import errors
from service.errors import ServiceError
from service.transport.grpc.codes import CODES, refusal_of
from service.transport.status import STATUS, error_reply

INTENDED = {
    "BodyTooLarge": "RESOURCE_EXHAUSTED",
    "CallerError": "INVALID_ARGUMENT",
    "Cancelled": "CANCELLED",
    "DeadlinePassed": "DEADLINE_EXCEEDED",
    "Draining": "UNAVAILABLE",
    "Forbidden": "PERMISSION_DENIED",
    "HeaderTooLarge": "RESOURCE_EXHAUSTED",
    "InvalidInput": "INVALID_ARGUMENT",
    "ModelFailure": "INTERNAL",
    "NotOffered": "UNIMPLEMENTED",
    "NotReady": "UNAVAILABLE",
    "QueueFull": "RESOURCE_EXHAUSTED",
    "ServiceError": "INTERNAL",
    "StillLoading": "UNAVAILABLE",
    "TooLate": "RESOURCE_EXHAUSTED",
    "TooSlow": "DEADLINE_EXCEEDED",
    "TryLater": "UNAVAILABLE",
    "UnknownModel": "NOT_FOUND",
    "UnknownRoute": "NOT_FOUND",
    "UnsupportedCoding": "INVALID_ARGUMENT",
    "UnsupportedMedia": "INVALID_ARGUMENT",
    "WrongMethod": "UNIMPLEMENTED",
}
SECRET = "CUDA error at /srv/secret/weights.bin"


def walk(base: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for child in base.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from walk(child)


EVERY = (ServiceError, *walk(ServiceError))


def make(cls: type[ServiceError]) -> ServiceError:
    with_more = (errors.WrongMethod, errors.UnsupportedCoding)
    return cls(SECRET, ("POST",)) if issubclass(cls, with_more) else cls(SECRET)


def test_every_status_has_a_code() -> None:
    """No error gets its gRPC code by accident: each status that an error has is in the table."""
    assert set(STATUS.values()) <= set(CODES)


@pytest.mark.parametrize("cls", EVERY)
def test_error_has_its_code(cls: type[ServiceError]) -> None:
    """Each error of the tree becomes the code that is intended for it."""
    assert refusal_of(error_reply(make(cls), "id-1")).code.name == INTENDED[cls.__name__]


@pytest.mark.parametrize("cls", EVERY)
def test_text_of_an_inner_failure_is_withheld(cls: type[ServiceError]) -> None:
    """An INTERNAL says nothing of what went wrong inside and points to the log; every other error says what it was."""
    text = refusal_of(error_reply(make(cls), "id-1")).text
    if INTENDED[cls.__name__] == "INTERNAL":
        assert "secret" not in text
        assert "log" in text
    else:
        assert text == SECRET


@pytest.mark.parametrize("cls", EVERY)
def test_only_what_passes_has_a_waiting_time(cls: type[ServiceError]) -> None:
    """The metadata says when to come back for errors that another try may mend, and for no others."""
    names = [name for name, _ in refusal_of(error_reply(make(cls), "id-1")).metadata]
    assert ("retry-after" in names) == issubclass(cls, errors.TryLater)
