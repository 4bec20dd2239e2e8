"""The time that a request asks for, while nothing else of it can be read."""

import re

_LOOKED_AT_BYTES = 64 << 10
_TIMEOUT = re.compile(rb'"timeout"\s*:\s*(\d{1,18})\s*[,}]')


def find_timeout(body: bytes | memoryview) -> float | None:
    """Seconds, by the member ``timeout`` of the parameters of the protocol; None where there is none.

    The model of the request is being loaded, so nobody knows yet what the body means. It is only looked for: a request
    in which the same stands for something else would wait a shorter or longer time for its model.
    """
    found = _TIMEOUT.search(bytes(body[:_LOOKED_AT_BYTES]))
    return int(found[1]) / 1e6 if found and int(found[1]) else None
