"""The interface of what observes the end of each request: the access log and the traces."""

import abc
import logging
from collections.abc import Sequence
from typing import Final

from mypy_extensions import mypyc_attr

from service.metrics.spans import Trace
from service.transport.request import Request

logger = logging.getLogger("sluice.http")

GONE: Final = 499
"""The status of a request whose caller has gone before the answer. Nobody receives it; nginx uses the same number."""


class RequestEnd:
    """A request that has ended, with or without an answer.

    ``method`` and ``path``, which has no query, are "" if the header could not be read. ``seconds`` is the time from
    the body to the answer; ``queue_s``, ``batch_s`` and ``compute_s`` count only if it ``has_run``. ``reason`` is that
    of the error, as in metrics. ``headers`` are those of the request, with lower-case names. ``is_below_base``: the
    path lacks the base path. For a live stream, ``rows`` counts its messages.
    """

    model = ""
    version = ""
    rows = 0
    batch_rows = 0
    queue_s = 0.0
    batch_s = 0.0
    compute_s = 0.0
    has_run = False
    caller = ""
    client = ""
    bytes_in = 0
    bytes_out = 0
    reason = ""
    trace: Trace | None = None
    is_below_base = False

    def __init__(
        self,
        method: str,
        route: str,
        path: str,
        status: int,
        seconds: float,
        request_id: str,
        headers: dict[bytes, bytes],
    ) -> None:
        self.method = method
        self.route = route
        self.path = path
        self.status = status
        self.seconds = seconds
        self.request_id = request_id
        self.headers = headers


def end_of(request: Request, status: int, seconds: float) -> RequestEnd:
    """The end of a request, with the facts that the request itself has."""
    endpoint = request.endpoint
    path = request.path or endpoint.path
    end = RequestEnd(request.method, endpoint.route, path, status, seconds, request.request_id, request.headers)
    end.is_below_base = not request.path
    end.model = endpoint.model
    end.caller = request.caller
    end.client = request.find_client()
    end.trace = request.trace
    return end


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestObserver(abc.ABC):
    """Called on the event loop, after the answer is sent. Must be cheap."""

    @abc.abstractmethod
    def begin(self, route: str, headers: dict[bytes, bytes]) -> Trace | None:
        """A request of the handler begins. Returns its trace if it is sampled."""

    @abc.abstractmethod
    def end(self, request: RequestEnd) -> None:
        """A request has ended. Called once for each."""


def report_end(observer: RequestObserver, end: RequestEnd) -> None:
    """Tell the observer that a request has ended. A fault of the observer must not cost an answer."""
    try:
        observer.end(end)
    except Exception:
        logger.exception("the end of request %s could not be reported", end.request_id)


class ObserverGroup(RequestObserver):
    """Several observers as one. At most one of them has traces."""

    def __init__(self, observers: Sequence[RequestObserver]) -> None:
        self._observers = list(observers)

    def begin(self, route: str, headers: dict[bytes, bytes]) -> Trace | None:
        trace: Trace | None = None
        for observer in self._observers:
            found = observer.begin(route, headers)
            if found is not None:
                trace = found
        return trace

    def end(self, request: RequestEnd) -> None:
        for observer in self._observers:
            observer.end(request)
