"""The errors of requests, by whose fault they are. `transport/status.py` maps them to HTTP status codes.

ServiceError
├── CallerError               the request is at fault; the caller gets the text
│   ├── InvalidInput          a field is malformed, or has the wrong shape, datatype or value
│   │   └── UnreadableMessage a message of a live stream cannot be read
│   ├── UnknownModel          no such model or version
│   ├── UnknownRegion         no such region of shared memory
│   ├── UnknownRoute          no such path
│   ├── WrongMethod           the path exists, the method does not
│   ├── UpgradeRequired       the path needs a WebSocket of version 13
│   ├── Unauthenticated       no key, an unknown key, or an expired one
│   ├── Forbidden             the settings of this server do not allow it
│   │   └── MissingScope      the key is valid, but lacks the scope for this
│   ├── BodyTooLarge          the body, the memory of its run, or a picture is larger than the limit
│   ├── HeaderTooLarge        the header is larger than the limit
│   ├── TooSlow               a header or body that does not arrive in time
│   └── UnsupportedMedia      a content type or picture that is not understood
│       └── UnsupportedCoding a content coding that is not understood
├── TryLater                  the request may succeed later; the error says when to try again
│   ├── RateLimited           the key has used up its requests or rows
│   ├── QueueFull             as many rows wait as the model allows
│   ├── TooLate               the answer would miss its deadline, so the work was not started
│   ├── NotReady              the model is loading, or could not be loaded
│   │   ├── NoRoom            there is no memory for the model beside those that must stay
│   │   └── StillLoading      the model is being loaded on demand, and the request may wait for it
│   └── Draining              the server is stopping
├── NotOffered                a part of the protocol that this server does not offer
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
    """``allowed`` are the methods of the path."""

    reason = "wrong_method"

    def __init__(self, text: str, allowed: tuple[str, ...]) -> None:
        super().__init__(text)
        self.allowed = allowed


class UpgradeRequired(CallerError):
    reason = "upgrade_required"


class Forbidden(CallerError):
    reason = "forbidden"


class Unauthenticated(CallerError):
    """``is_given``: the caller has sent a key, but it is not valid."""

    reason = "unauthenticated"

    def __init__(self, text: str, is_given: bool = True) -> None:
        super().__init__(text)
        self.is_given = is_given


class MissingScope(Forbidden):
    """``scope`` is the scope that the key lacks."""

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
    """``accepted`` are the codings that the server understands."""

    reason = "unsupported_coding"

    def __init__(self, text: str, accepted: tuple[str, ...]) -> None:
        super().__init__(text)
        self.accepted = accepted


class TryLater(ServiceError):
    """``retry_after_s``: the seconds after which the caller should try again."""

    reason = "try_later"

    def __init__(self, text: str, retry_after_s: float = 1.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class RateLimited(TryLater):
    """``headers`` are HTTP headers with the limits and what is left of them."""

    reason = "rate_limited"

    def __init__(self, text: str, retry_after_s: float = 1.0, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(text, retry_after_s)
        self.headers = headers


class QueueFull(TryLater):
    reason = "queue_full"


class TooLate(TryLater):
    reason = "too_late"


class NotReady(TryLater):
    """``model``: the name of a model that exists but does not serve; "" if the error is not about a model."""

    reason = "not_ready"

    def __init__(self, text: str, retry_after_s: float = 1.0, model: str = "") -> None:
        super().__init__(text, retry_after_s)
        self.model = model


class NoRoom(NotReady):
    """The model does not fit into the memory for models, beside those that must stay."""

    reason = "no_room"


class StillLoading(NotReady):
    """``when_loaded`` takes a callback, which is called once when the load has succeeded or failed.

    It returns a function to call when the request no longer waits: a load that nobody waits for is not begun.
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
    """The caller does not get the text, only ``subject``, which names what has failed."""

    reason = "model_failure"
    subject = "the model"
