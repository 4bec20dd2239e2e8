"""The HTTP status of each error, and the answer that reports an error."""

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from service import errors
from service.protocol.json import render_json
from service.transport.request import JSON, HeaderField, Reply

STATUS: Mapping[type[errors.ServiceError], int] = {
    errors.InvalidInput: 400,
    errors.UnreadableMessage: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.MissingScope: 403,
    errors.UnknownModel: 404,
    errors.UnknownRegion: 404,
    errors.UnknownRoute: 404,
    errors.WrongMethod: 405,
    errors.TooSlow: 408,
    errors.BodyTooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.UnsupportedCoding: 415,
    errors.UpgradeRequired: 426,
    errors.RateLimited: 429,
    errors.QueueFull: 429,
    errors.TooLate: 429,
    errors.HeaderTooLarge: 431,
    errors.CallerError: 400,
    errors.Cancelled: 499,  # only for the metric: nobody receives the answer
    errors.ModelFailure: 500,
    errors.NotOffered: 501,
    errors.NotReady: 503,
    errors.NoRoom: 503,
    errors.StillLoading: 503,
    errors.Draining: 503,
    errors.TryLater: 503,
    errors.DeadlinePassed: 504,
    errors.ServiceError: 500,
}

SAFE: tuple[HeaderField, ...] = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
"""Headers of every error: its text may repeat what the caller sent, and no cache may keep it."""


def status_of(error: errors.ServiceError) -> int:
    """The status of the error's nearest class in the table."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def error_reply(error: errors.ServiceError, request_id: str) -> Reply:
    """``{"error", "request_id"}``. Callers do not get the text of a failure of the server."""
    status = status_of(error)
    text = str(error)
    if status == 500:
        subject = error.subject if isinstance(error, errors.ModelFailure) else errors.ModelFailure.subject
        text = f"{subject} failed on this request; the log has the reason under this id"
    headers: list[HeaderField] = [JSON, *SAFE]
    if isinstance(error, errors.TryLater):
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()))
    if isinstance(error, errors.RateLimited):
        headers += error.headers
    if isinstance(error, errors.Unauthenticated | errors.MissingScope):
        headers.append((b"www-authenticate", _challenge(error)))
    if isinstance(error, errors.WrongMethod):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    if isinstance(error, errors.UpgradeRequired):
        headers += [(b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")]
    if isinstance(error, errors.UnsupportedCoding):
        headers.append((b"accept-encoding", ", ".join(error.accepted).encode()))
    return Reply(status, [render_json({"error": text, "request_id": request_id})], headers)


def _challenge(error: errors.Unauthenticated | errors.MissingScope) -> bytes:
    """The value of ``WWW-Authenticate``: RFC 6750, section 3."""
    if isinstance(error, errors.MissingScope):
        return b'Bearer realm="sluice", error="insufficient_scope", scope="%b"' % error.scope.encode()
    return b'Bearer realm="sluice"' + (b', error="invalid_token"' if error.is_given else b"")


class ErrorFormat(NamedTuple):
    """How a route reports errors: what makes the reply, and the name of the event in a stream."""

    reply: Callable[[errors.ServiceError, str], Reply] = error_reply
    event: str | None = "error"


DEFAULT_FORMAT: Final = ErrorFormat()
