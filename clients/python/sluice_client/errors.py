"""What can go wrong, by whose fault it is.

    SluiceError
    ├── NoAnswer                     the connection broke before the whole answer came
    │   ├── Unreachable              no connection could be made
    │   └── TimedOut                 it did not answer in time
    ├── BadAnswer                    what came is not what Sluice answers: is the address right?
    ├── StreamFailed                 a stream began, and its model failed on the way
    └── Refused                      the server answered with an error
        ├── InvalidRequest           400, 405, 408, 413, 415, 426, 431: the request is wrong
        ├── Forbidden                401, 403: the settings of the server do not allow it
        ├── NotFound                 404: no such model, version or route
        ├── Busy                     429: the queue is full, or the answer would come too late
        ├── NotReady                 503: models are loaded, or the server stops
        ├── DeadlinePassed           504: the server did not finish in time
        └── ServerFailed             500, 501 and all others: the log of the server has the reason

``Unreachable``, ``Busy`` and ``NotReady`` were tried again for as long as the time allows before they are raised.
"""

from collections.abc import Mapping


class SluiceError(Exception):
    """Base of all errors of this client."""


class NoAnswer(SluiceError):
    """The connection broke before the whole answer came."""


class Unreachable(NoAnswer):
    """No connection to the server could be made."""


class TimedOut(NoAnswer):
    """The answer did not come within ``timeout_s``."""


class BadAnswer(SluiceError):
    """An answer came that is not one of Sluice. Often the address is that of something else."""


class StreamFailed(SluiceError):
    """The model failed after the stream had begun.

    ``message`` is the sentence of the server; its log has the reason under ``request_id``.
    """

    def __init__(self, message: str, request_id: str) -> None:
        super().__init__(f"{message} (request {request_id})")
        self.message, self.request_id = message, request_id


class Refused(SluiceError):
    """The server answered with an error.

    ``status`` is that of HTTP. ``message`` is the sentence of the server: what was expected, what came, what to do.
    ``request_id`` finds the request in the log of the server. ``retry_after_s`` is when to try again, if it said so.
    """

    def __init__(self, status: int, message: str, request_id: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(f"{status}: {message}" + (f" (request {request_id})" if request_id else ""))
        self.status, self.message = status, message
        self.request_id, self.retry_after_s = request_id, retry_after_s

    def __reduce__(self) -> tuple[type["Refused"], tuple[int, str, str, float | None]]:
        return type(self), (self.status, self.message, self.request_id, self.retry_after_s)


class InvalidRequest(Refused):
    """The request is wrong: the message names the field, what was expected and what came."""


class Forbidden(Refused):
    """The settings of the server do not allow it."""


class NotFound(Refused):
    """No such model, version or route."""


class Busy(Refused):
    """The queue is full, or the answer would come too late."""


class NotReady(Refused):
    """Models are being loaded, or the server stops."""


class DeadlinePassed(Refused):
    """The server did not finish in time."""


class ServerFailed(Refused):
    """A failure in the model or in the server. Its log has the reason under ``request_id``."""


OF_STATUS: Mapping[int, type[Refused]] = {
    **dict.fromkeys((400, 405, 408, 413, 415, 426, 431), InvalidRequest),
    **dict.fromkeys((401, 403), Forbidden),
    404: NotFound,
    429: Busy,
    503: NotReady,
    504: DeadlinePassed,
    **dict.fromkeys((500, 501), ServerFailed),
}


def class_of(status: int) -> type[Refused]:
    """The error of a status. Others, as of a proxy: 4xx, the request is wrong; else a failure."""
    return OF_STATUS.get(status) or (InvalidRequest if 400 <= status < 500 else ServerFailed)
