"""The tree of errors."""

import re
from collections.abc import Iterator

import pytest

from service import errors
from service.errors import ServiceError


def walk(base: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for child in base.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from walk(child)


EVERY = (ServiceError, *walk(ServiceError))


def test_tree_drawn_at_the_top_is_the_tree_of_the_code() -> None:
    """Every error is in the picture, once, below its base, and nothing else is."""
    drawn = re.findall(r"^(\W*)([A-Z]\w+)", errors.__doc__.split("\n\n")[1], re.MULTILINE)
    parents: list[str] = []
    pairs = []
    for indent, name in drawn:
        depth = len(indent) // 4
        parents[depth:] = [name]
        pairs.append((name, parents[depth - 1] if depth else "Exception"))
    assert sorted(pairs) == sorted((cls.__name__, cls.__base__.__name__) for cls in EVERY)


def test_every_reason_is_one_label() -> None:
    """Each error has a reason of its own that is a metric label; only the two errors for 400 share one."""
    reasons = {cls: cls.reason for cls in EVERY}
    assert all(re.fullmatch(r"[a-z_]+", reason) for reason in reasons.values())
    assert errors.InvalidInput.reason == errors.CallerError.reason == "invalid"
    del reasons[errors.CallerError]
    assert len(set(reasons.values())) == len(reasons)


@pytest.mark.parametrize("cls", [cls for cls in EVERY if issubclass(cls, errors.TryLater)])
def test_error_of_the_moment_says_when_to_come_back(cls: type[errors.TryLater]) -> None:
    """All errors that pass carry a time in seconds, one second if nobody knows better."""
    assert cls("busy").retry_after_s == 1.0
    assert cls("busy", 2.5).retry_after_s == 2.5
    assert str(cls("busy", 2.5)) == "busy"
