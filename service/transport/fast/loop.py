"""Makes uvicorn use our protocol, and an event loop that limits the time of TLS handshakes.

A connection is not counted until its handshake is done. The loop's own limit is a minute, and uvicorn has no option
for it.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any

from uvicorn.config import HTTP_PROTOCOLS, LOOP_FACTORIES
from uvloop import Loop

from service.settings import Settings


class WorkerLoop(Loop):
    """``handshake_s`` is how long a TLS handshake may take."""

    handshake_s = 10.0

    async def create_server(self, *arguments: Any, ssl: Any = None, **options: Any) -> Any:
        if ssl is not None:
            options.setdefault("ssl_handshake_timeout", self.handshake_s)
        return await super().create_server(*arguments, ssl=ssl, **options)


def loop_factory(use_subprocess: bool = False) -> Callable[[], asyncio.AbstractEventLoop]:
    """uvicorn calls this to get the factory of its loop."""

    def make() -> asyncio.AbstractEventLoop:
        loop = WorkerLoop()
        loop.handshake_s = Settings.from_environ(os.environ).header_timeout_s
        return loop

    return make


def choose_protocol() -> None:
    """Make uvicorn use our protocol and loop in all servers of this process. BentoML has no option for them."""
    HTTP_PROTOCOLS["auto"] = "service.transport.fast.protocol:FastProtocol"
    LOOP_FACTORIES["auto"] = "service.transport.fast.loop:loop_factory"
