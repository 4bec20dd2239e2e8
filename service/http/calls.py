"""A request that carries tensors, and its reply: what the doors and the routes say to each other."""

import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Header = tuple[bytes, bytes]

JSON: Header = (b"content-type", b"application/json")

_ACCEPTABLE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_id_prefix = os.urandom(6).hex()
_id_numbers = itertools.count(1)


@dataclass(slots=True)
class Reply:
    """A complete answer. ``chunks`` are its body in order; they may be views of arrays."""

    status: int
    chunks: Sequence[bytes | memoryview]
    headers: list[Header]

    @property
    def size_bytes(self) -> int:
        return sum(len(chunk) for chunk in self.chunks)


@dataclass(slots=True)
class Call:
    """One request. ``reply`` must be called once, now or later, unless ``cancel`` has been.

    ``headers`` has lower-case names. ``began`` is seconds on the clock of the data plane.
    """

    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes
    request_id: str
    began: float
    reply: Callable[[Reply], None]


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The caller's ``X-Request-Id`` if it is usable, else a new one that no other process makes."""
    given = headers.get(b"x-request-id")
    if given is not None:
        text = given.decode("latin-1")
        if _ACCEPTABLE_ID.fullmatch(text):
            return text
    return f"{_id_prefix}-{next(_id_numbers):x}"
