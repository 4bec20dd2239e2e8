"""The timeout of a request whose body cannot be read yet, because its model is still loading."""

import re

_SEARCHED_BYTES = 64 << 10
_TIMEOUT = re.compile(rb'"timeout"\s*:\s*(\d{1,18})\s*[,}]')


def find_timeout(body: bytes | memoryview) -> float | None:
    """The seconds in the first member ``timeout`` of the JSON; None if there is none.

    The text is only searched, not parsed. If that member means something else, the request waits for a wrong time.
    """
    found = _TIMEOUT.search(bytes(body[:_SEARCHED_BYTES]))
    return int(found[1]) / 1e6 if found and int(found[1]) else None
