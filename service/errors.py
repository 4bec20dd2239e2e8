"""What can go wrong with a request, by whose fault it is. `transport/status.py` maps these errors to HTTP status codes.

ServiceError
├── CallerError               the request is at fault; the caller gets the text
│   ├── InvalidInput          a field is malformed, or has the wrong shape, datatype or value
│   │   └── UnreadableMessage a message of a live stream is not what its kind says
│   ├── UnknownModel          no such model or version
│   ├── UnknownRegion         no such region of shared memory
│   ├── UnknownRoute          no such path
│   ├── WrongMethod           the path exists, the method does not
│   ├── UpgradeRequired       the path is a WebSocket, of one version
│   ├── Unauthenticated       no key, one that is not known, or one that has expired
│   ├── Forbidden             the settings of this server do not allow it
│   │   └── MissingScope      the key is good, but not for this
│   ├── BodyTooLarge          the body, the memory of its run, or a picture is larger than the limit
│   ├── HeaderTooLarge        the header is larger than the limit
│   ├── TooSlow               a header or body that does not arrive in time
│   └── UnsupportedMedia      a content type or picture that is not understood
│       └── UnsupportedCoding a content coding that is not understood
├── TryLater                  the request may succeed later; the error says when to try again
│   ├── RateLimited           the key has used up its requests or rows
│   ├── QueueFull             as many rows wait as the model allows
│   ├── TooLate               the answer would miss its deadline, so the work is not started
│   ├── NotReady              the model is loading, or could not be loaded
│   │   ├── NoRoom            there is no memory for it beside the models that stay
│   │   └── StillLoading      this request has started the load, and may wait for it
│   └── Draining              the server is stopping
├── NotOffered                a part of the protocol that this server does not have
├── DeadlinePassed            the deadline passed before the answer was ready
├── Cancelled                 the caller has disconnected
└── ModelFailure              the server is at fault; the text is logged and never sent
"""

from collections.abc import Callable, Sequence


class ServiceError(Exception):
    """Base class of all errors that end a request. ``reason`` is the label in metrics."""

    reason = "internal"


class CallerError(ServiceError):
    reason = "invalid"


class InvalidInput(CallerError):
    pass


class UnreadableMessage(InvalidInput):
    reason = "unreadable_message"


class UnknownModel(CallerError):
    reason = "unknown_model"


class UnknownRegion(CallerError):
    reason = "unknown_region"


class UnknownRoute(CallerError):
    reason = "unknown_route"


class WrongMethod(CallerError):
    """``allowed`` has the methods of the path."""

    reason = "wrong_method"

    def __init__(self, text: str, allowed: tuple[str, ...]) -> None:
        super().__init__(text)
        self.allowed = allowed


class UpgradeRequired(CallerError):
    reason = "upgrade_required"


class Forbidden(CallerError):
    reason = "forbidden"


class Unauthenticated(CallerError):
    """``is_given``: the caller has sent a key, but not a good one."""

    reason = "unauthenticated"

    def __init__(self, text: str, is_given: bool = True) -> None:
        super().__init__(text)
        self.is_given = is_given


class MissingScope(Forbidden):
    """``scope`` is what the key lacks."""

    reason = "missing_scope"

    def __init__(self, text: str, scope: str = "infer") -> None:
        super().__init__(text)
        self.scope = scope


class BodyTooLarge(CallerError):
    reason = "body_too_large"


class HeaderTooLarge(CallerError):
    reason = "header_too_large"


class TooSlow(CallerError):
    reason = "too_slow"


class UnsupportedMedia(CallerError):
    reason = "unsupported_media"


class UnsupportedCoding(UnsupportedMedia):
    """``accepted`` has the codings that the server understands."""

    reason = "unsupported_coding"

    def __init__(self, text: str, accepted: tuple[str, ...]) -> None:
        super().__init__(text)
        self.accepted = accepted


class TryLater(ServiceError):
    """``retry_after_s``: try again after so many seconds."""

    reason = "try_later"

    def __init__(self, text: str, retry_after_s: float = 1.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class RateLimited(TryLater):
    """``headers`` say what is left, by the names and values of HTTP."""

    reason = "rate_limited"

    def __init__(self, text: str, retry_after_s: float = 1.0, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(text, retry_after_s)
        self.headers = headers


class QueueFull(TryLater):
    reason = "queue_full"


class TooLate(TryLater):
    reason = "too_late"


class NotReady(TryLater):
    """``model``: the name of a model that is there and does not serve; empty if it is not about one."""

    reason = "not_ready"

    def __init__(self, text: str, retry_after_s: float = 1.0, model: str = "") -> None:
        super().__init__(text, retry_after_s)
        self.model = model


class NoRoom(NotReady):
    """A model does not fit into the memory that models may take, beside those that must stay."""

    reason = "no_room"


class StillLoading(NotReady):
    """``when_loaded`` takes a function and calls it once, when the load has succeeded or failed.

    It returns a function to call if the request waits no longer: a load that nobody waits for is not begun.
    """

    reason = "loading"

    def __init__(
        self,
        text: str,
        retry_after_s: float = 1.0,
        when_loaded: Callable[[Callable[[], None]], Callable[[], None]] = lambda then: then,
    ) -> None:
        super().__init__(text, retry_after_s)
        self.when_loaded = when_loaded


class Draining(TryLater):
    reason = "draining"


class NotOffered(ServiceError):
    reason = "not_offered"


class DeadlinePassed(ServiceError):
    reason = "deadline"


class Cancelled(ServiceError):
    reason = "cancelled"


class ModelFailure(ServiceError):
    """``subject`` is what has failed, for the caller, who does not get the text."""

    reason = "model_failure"
    subject = "the model"
