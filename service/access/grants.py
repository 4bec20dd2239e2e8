"""What a credential grants, and the interface between guard and transports."""

import abc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from service.access.limits import Limits

Scope = Literal["infer", "admin", "metrics"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
INFER: Final[Scope] = "infer"
ADMIN: Final[Scope] = "admin"
METRICS: Final[Scope] = "metrics"

Fields = Iterable[tuple[bytes, bytes]]
"""Header fields with lower-case names. A name may occur several times."""


@dataclass(slots=True, eq=False)
class Grant:
    """What a valid credential allows."""

    name: str
    """The name of the key, or ``oidc:`` and the subject of the token. A long subject becomes ``oidc-``, a digest and a
    part of it. It is never the secret."""
    scopes: frozenset[Scope]
    proof: bytes
    """The hash of the key, or of the issuer's key that signed the token. A grant is valid as long as that key is."""
    expires_at: float
    """Seconds since 1970."""
    limits: Limits | None
    """Shared by all requests with this key; None without limits."""
    is_token: bool = False


class Guard(abc.ABC):
    """Checks the headers of a request before its body is read. Used on the event loop's thread only."""

    @abc.abstractmethod
    def admit(self, scope: Scope, fields: Fields, peer: str, *, is_handshake: bool = False) -> Grant:
        """Count a request and return what its credential grants.

        ``peer`` is the address of the caller, for the audit log. ``is_handshake``: the credential may be a subprotocol.
        Raises Unauthenticated, MissingScope, RateLimited, TryLater.
        """

    @abc.abstractmethod
    def admit_again(self, grant: Grant) -> Grant:
        """Count one more request of a connection or a stream. Raises Unauthenticated, RateLimited."""

    @abc.abstractmethod
    def renew(self, grant: Grant) -> Grant | None:
        """As ``admit_again``, but returns None instead of an error. Then ``admit`` must check all headers again."""

    @abc.abstractmethod
    def describe(self, grant: Grant) -> Sequence[tuple[bytes, bytes]]:
        """Headers with the limits and what is left of them; none without limits."""

    @abc.abstractmethod
    def charge(self, grant: Grant, rows: int, *, may_refuse: bool) -> None:
        """Count rows before they run. Raises RateLimited if ``may_refuse`` and too few are left."""


def describe_limits(guard: Guard | None, grant: Grant | None) -> Sequence[tuple[bytes, bytes]]:
    """Headers with the limits of the caller and what is left of them; none without a key or without limits."""
    return () if guard is None or grant is None or grant.limits is None else guard.describe(grant)
