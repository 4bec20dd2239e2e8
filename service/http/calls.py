"""A request that carries tensors, and its reply: what the doors and the data plane say to each other."""

import abc
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from service.engine.dispatcher import Job
from service.registry import Model

Header = tuple[bytes, bytes]

LINGER_S = 2.0
"""How long a refused client may go on sending: closing at once would reset the connection under our answer."""

JSON: Header = (b"content-type", b"application/json")

_ACCEPTABLE_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_id_prefix = os.urandom(6).hex()
_id_numbers = itertools.count(1)


class Endpoint(NamedTuple):
    """A path that the data plane answers: the label of its route in metrics, and whom it names."""

    route: str
    model: str = ""
    version: str | None = None


@dataclass(slots=True)
class Reply:
    """A complete answer. ``chunks`` are its body in order; they may be views of arrays."""

    status: int
    chunks: Sequence[bytes | memoryview]
    headers: list[Header]

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.chunks))


class Call(abc.ABC):
    """One request of a door. The data plane calls ``reply`` once, now or later, unless the call was cancelled.

    ``headers`` has lower-case names. ``began`` is seconds on the clock of the data plane. ``model``, ``job`` and
    ``details`` are the data plane's: who answers, its place in the engine, and what rendering the answer needs.
    """

    __slots__ = ("began", "body", "details", "endpoint", "gone", "headers", "job", "model", "query", "request_id")

    def __init__(self, endpoint: Endpoint, query: bytes, headers: Mapping[bytes, bytes]) -> None:
        self.endpoint = endpoint
        self.query = query
        self.headers = headers
        self.request_id = request_id_of(headers)
        self.body: bytes | memoryview = b""
        self.began = 0.0
        self.model: Model | None = None
        self.job: Job | None = None
        self.details: Any = None
        self.gone = False

    @abc.abstractmethod
    def reply(self, reply: Reply) -> None:
        """Send the answer."""


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The caller's ``X-Request-Id`` if it is usable, else a new one that no other process makes."""
    given = headers.get(b"x-request-id")
    if given is not None and _ACCEPTABLE_ID.fullmatch(given):
        return given.decode("ascii")
    return f"{_id_prefix}-{next(_id_numbers):x}"
