"""The answers of a batch are rendered one after the other and then written together.

A write to a caller on the same machine wakes it, and it often takes the core at once. Between two answers there would
be two changes of thread, and the caches would be cold for the next answer.
"""

import asyncio


class WriteCoalescer:
    """Of one event loop. What is held is written, in order, before the loop does anything else.

    ``holds`` says whether writes are kept for now.
    """

    def __init__(self) -> None:
        self.holds = False
        self._held: list[tuple[asyncio.WriteTransport, bytes]] = []

    def hold(self) -> None:
        """Keep what is written until ``release``."""
        self.holds = True

    def release(self) -> None:
        self.holds = False
        held, self._held = self._held, []
        for transport, data in held:
            transport.write(data)

    def write(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Write now or, while held, at ``release``. Nobody else may write to ``transport`` or close it until then."""
        if self.holds:
            self._held.append((transport, data))
        else:
            transport.write(data)
