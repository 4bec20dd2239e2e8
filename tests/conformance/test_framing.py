"""Where a message ends: a proxy in front of this server must see its end where the server does.

Each of some three hundred malformed, ambiguous or unusual messages is given to both paths of the server, to h11, and to
nginx and HAProxy, which forward what they accept. The server must refuse what two of the others read differently, and
read what it accepts as every other reader that accepts it. Otherwise one client could hide a request in another's.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.api.handler import Responder
from service.settings import Settings
from service.transport.request import JSON, Reply
from tests.support.clocks import run_virtual
from tests.support.connections.framing import all_cases
from tests.support.connections.readers import HAPROXY, NGINX, Read, Reading, letter_of, read_by_h11, reading_by_proxy
from tests.support.connections.virtual import serving
from tests.support.servers import PATHS, ServerPath

pytestmark = pytest.mark.slow

CASES = all_cases()


def target_of(number: int) -> bytes:
    """What the targets of a case have in common; a path of the fast path where the method is one that it takes."""
    folder = "/v2/models" if CASES[number].head.startswith(b"POST ") else ""
    return f"{folder}/case-{number}-".encode()


def bytes_of(number: int) -> bytes:
    target = target_of(number)
    content = CASES[number].make(target)
    if target.startswith(b"/v2"):
        for letter in (b"a", b"b"):
            content = content.replace(target + letter, target + letter + b"/infer")
    return content


def read_by_us(content: bytes, prefix: bytes, server_path: ServerPath) -> Reading:
    """What the server begins to answer, its body complete."""
    reading: Reading = []

    def start(responder: Responder) -> None:
        name = responder.request.endpoint.model.encode()
        reading.append((letter_of(b"/v2/models/" + name, prefix) or "?", bytes(responder.request.body)))
        responder.finish(Reply(200, [b"{}"], (JSON,)), None)

    async def inform(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        reading.append((letter_of(scope["path"].encode("latin-1"), prefix) or "?", body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def read() -> None:
        async with serving(Settings(store=Path()), server_path) as (server,):
            server.start, server.inform = start, inform
            peer = await server.connect()
            await peer.send(content)
            await peer.read()

    run_virtual(read())
    return reading


def differ(one: Reading, other: Reading) -> bool:
    """Whether two readers take the same bytes for different requests. Stopping earlier is refusing, which is safe."""
    return any(a != b for a, b in zip(one, other, strict=False))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Reading]]:
    """What each of the others reads of each case."""
    readings = {"h11": [read_by_h11(bytes_of(i), target_of(i)) for i in range(len(CASES))]}
    for program in (NGINX, HAPROXY):
        if not program.exists():
            continue
        with reading_by_proxy(program, tmp_path_factory.mktemp(program.name)) as read:
            readings[program.name] = read_all(read)
    return readings


def read_all(read: Read) -> list[Reading]:
    with ThreadPoolExecutor(32) as threads:  # many end by a timeout
        return list(threads.map(lambda i: read(bytes_of(i), target_of(i)), range(len(CASES))))


def test_others_take_a_plain_request(others: dict[str, list[Reading]]):
    """All readers read a plain message and the one after it."""
    number = next(i for i, case in enumerate(CASES) if case.name == "length b'5'")
    for name, readings in others.items():
        assert readings[number] == [("a", b"HELLO"), ("b", b"{}")], name


@pytest.mark.parametrize("server_path", PATHS, ids=lambda path: path.name)
def test_nothing_is_taken_that_others_read_differently(others: dict[str, list[Reading]], server_path: ServerPath):
    """The server refuses each case, or reads it as every other reader that accepts it does."""
    wrong = []
    for number, case in enumerate(CASES):
        ours = read_by_us(bytes_of(number), target_of(number), server_path)
        theirs = {name: readings[number] for name, readings in others.items() if readings[number]}
        among_others = any(differ(one, other) for one, other in itertools.combinations(theirs.values(), 2))
        if ours and (among_others or any(differ(ours, reading) for reading in theirs.values())):
            wrong.append((case.name, ours, theirs))
    assert not wrong, "\n".join(map(str, wrong))
