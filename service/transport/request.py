"""A request that carries tensors, and its reply: what the paths and the request handler say to each other."""

import abc
import itertools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from mypy_extensions import mypyc_attr

from service.engine.execution.queued_request import QueuedRequest
from service.models.registry import Model

if TYPE_CHECKING:
    from service.api.tasks import Errand
    from service.sequences.sequences import Place

Header = tuple[bytes, bytes]

LINGER_S = 2.0
"""How long a refused client may go on sending: closing at once would reset the connection under our answer."""

MAX_UNREAD_BYTES = 8 << 20
"""How much of a stream is kept for a caller that does not read it."""

JSON: Header = (b"content-type", b"application/json")

_ACCEPTABLE_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_id_prefix = os.urandom(6).hex() + "-"
_id_numbers = itertools.count(1)


@dataclass(frozen=True)
class Endpoint:
    """A path that the request handler answers: the label of its route in metrics, and whom it names."""

    route: str
    model: str = ""
    version: str | None = None


class Reply:
    """A complete answer. ``chunks`` are its body in order; they may be views of arrays."""

    def __init__(self, status: int, chunks: Sequence[bytes | memoryview], headers: Sequence[Header]) -> None:
        self.status = status
        self.chunks = chunks
        self.headers = headers

    @property
    def size_bytes(self) -> int:
        size = 0
        for chunk in self.chunks:  # compiled, faster than a sum over a map
            size += len(chunk)
        return size


class Handed(NamedTuple):
    """The job of a call that another worker answers."""

    cancel: Callable[[], None]


@mypyc_attr(allow_interpreted_subclasses=True)
class Call(abc.ABC):
    """One request of a path. The request handler answers it once, now or later, unless the call was cancelled.

    An answer is either ``reply``, or a stream: ``open``, any number of ``send``, and ``end`` or ``abort``. All are
    called on the event loop. They never raise for a caller that has gone and never call the request handler back for *this*
    call: it learns by ``cancel``, in a later turn of the loop. ``reply`` and ``end`` may start the connection's next
    call, so whatever belongs to this one is to be in order before.

    ``headers`` has lower-case names. ``began`` is seconds on the clock of the request handler. ``model``, ``job`` and
    ``details`` are the request handler's: who answers, its place in the engine, and what rendering the answer needs; so are
    ``inflated_bytes``, the room that it has reserved for a body that came compressed, and ``place``, in its sequence.
    ``patience_s`` is how long the caller waits, in seconds, None where its transport does not say, and ``late_s`` how
    much of any time it had is over when the request handler goes on with it, after the model was loaded say.
    ``opened`` is true from ``open`` on: an error can no longer be the reply.

    What a call rarely needs has its first value in the class: to set it in each would take a tenth of a short one.
    """

    body: bytes | memoryview = b""
    inflated_bytes = 0
    began = 0.0
    patience_s: float | None = None
    late_s = 0.0
    model: Model | None = None
    details: Any = None
    place: "Place | None" = None
    gone = False
    opened = False

    def __init__(self, endpoint: Endpoint, query: bytes, headers: dict[bytes, bytes]) -> None:
        self.endpoint = endpoint
        self.query = query
        self.headers = headers
        self.job: QueuedRequest | Errand | Handed | None = None
        self.request_id = request_id_of(headers)

    @abc.abstractmethod
    def reply(self, reply: Reply) -> None:
        """Send the answer."""

    @abc.abstractmethod
    def open(self, status: int, headers: Sequence[Header]) -> None:
        """Begin an answer whose body comes in pieces."""

    @abc.abstractmethod
    def send(self, chunk: bytes) -> None:
        """Send a piece of the body, of any size. If more than ``MAX_UNREAD_BYTES`` lie unread before it: abort."""

    @abc.abstractmethod
    def end(self) -> None:
        """The body is complete."""

    @abc.abstractmethod
    def abort(self) -> None:
        """End the connection so that the caller sees a broken body, not a complete one."""

    @property
    @abc.abstractmethod
    def congested(self) -> bool:
        """Whether the caller reads slower than pieces come: what it can do without need not be sent."""


def request_id_of(headers: dict[bytes, bytes]) -> str:
    """The caller's ``X-Request-Id`` if it is usable, else a new one that no other process makes."""
    if b"x-request-id" in headers and _ACCEPTABLE_ID.fullmatch(headers[b"x-request-id"]):
        return headers[b"x-request-id"].decode("ascii")
    return _id_prefix + hex(next(_id_numbers))[2:]
