"""What can go wrong with a request, by whose fault it is. No HTTP here: `transport/status.py` has the one mapping.

ServiceError
├── CallerError               the request is at fault; its text is for the caller
│   ├── InvalidInput          a field is malformed, or has the wrong shape, datatype or value
│   ├── UnknownModel          no such model or version
│   ├── UnknownRoute          no such path
│   ├── WrongMethod           the path exists, the method does not
│   ├── Forbidden             the settings of this server do not allow it
│   ├── BodyTooLarge          more than the limit: bytes of the body or of a run on it, pixels of a picture
│   ├── HeaderTooLarge        more header than the limit
│   ├── TooSlow               a header or body that does not arrive
│   └── UnsupportedMedia      a content type or picture that is not understood
│       └── UnsupportedCoding a content coding that is not understood
├── TryLater                  the request is fine, the moment is not; carries when to come back
│   ├── QueueFull             as many rows wait as the model allows
│   ├── TooLate               the answer would miss its deadline, so it is not begun
│   ├── NotReady              the model is loading, or could not be loaded
│   │   └── StillLoading      it is being loaded because it was asked for; the request may wait for it
│   └── Draining              the server is stopping
├── NotOffered                a part of the protocol that this server does not have
├── DeadlinePassed            the answer would have come too late
├── Cancelled                 the caller has gone
└── ModelFailure              our fault; the text is logged, never sent
"""

from collections.abc import Callable


class ServiceError(Exception):
    """Base of everything that ends a request without an answer. ``reason`` is the label in metrics."""

    reason = "internal"


class CallerError(ServiceError):
    reason = "invalid"


class InvalidInput(CallerError):
    pass


class UnknownModel(CallerError):
    reason = "unknown_model"


class UnknownRoute(CallerError):
    reason = "unknown_route"


class WrongMethod(CallerError):
    """``allowed`` holds the methods that the path has."""

    reason = "wrong_method"

    def __init__(self, text: str, allowed: tuple[str, ...]) -> None:
        super().__init__(text)
        self.allowed = allowed


class Forbidden(CallerError):
    reason = "forbidden"


class BodyTooLarge(CallerError):
    reason = "body_too_large"


class HeaderTooLarge(CallerError):
    reason = "header_too_large"


class TooSlow(CallerError):
    reason = "too_slow"


class UnsupportedMedia(CallerError):
    reason = "unsupported_media"


class UnsupportedCoding(UnsupportedMedia):
    """``accepted`` holds the codings that are understood."""

    reason = "unsupported_coding"

    def __init__(self, text: str, accepted: tuple[str, ...]) -> None:
        super().__init__(text)
        self.accepted = accepted


class TryLater(ServiceError):
    """``retry_after_s``: when it is worth another try, in seconds."""

    reason = "try_later"

    def __init__(self, text: str, retry_after_s: float = 1.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class QueueFull(TryLater):
    reason = "queue_full"


class TooLate(TryLater):
    reason = "too_late"


class NotReady(TryLater):
    reason = "not_ready"


class StillLoading(NotReady):
    """``when_loaded`` takes a function that is called once, when loading has ended, well or not."""

    reason = "loading"

    def __init__(
        self,
        text: str,
        retry_after_s: float = 1.0,
        when_loaded: Callable[[Callable[[], None]], None] = lambda then: then(),
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
    reason = "model_failure"
