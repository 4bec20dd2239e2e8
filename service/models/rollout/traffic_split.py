"""Which requests a canary or a shadow gets: a random part of them, or all requests with certain values of a header.

A header value is always decided in the same way: in every worker, on every server and after a restart. When the part
grows, the values that were chosen before stay chosen.
"""

import random
from collections.abc import Callable, Mapping
from hashlib import blake2b

_BITS = 32


class TrafficSplit:
    """Picks a part of the requests to a model. ``salt`` makes two trials independent of each other."""

    def __init__(
        self, percent: float, header: str | None, salt: str, draw: Callable[[], float] = random.random
    ) -> None:
        self._part = percent / 100
        self._below = int(self._part * (1 << _BITS))
        self._header = None if header is None else header.encode()
        self._key = blake2b(salt.encode(), digest_size=16).digest()
        self._draw = draw

    def picks(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request with these headers is picked. Header names are in lower case."""
        if self._header is not None:
            value = headers.get(self._header)
            if value is not None:
                digest = blake2b(value, digest_size=_BITS // 8, key=self._key).digest()
                return int.from_bytes(digest) < self._below
        return self._draw() < self._part
