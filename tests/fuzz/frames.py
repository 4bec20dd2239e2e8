"""Conversations over HTTP/2 that are damaged: in their frames, in the order of these, and in their bytes."""

import socket
import struct
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

from tritonclient.grpc import service_pb2

from service.transport.http2 import frames
from service.transport.http2.frames import write_frame, write_settings
from tests.support.connections.http2 import INFER_PATH, Client, Frame

LIMIT_S = 60.0
"""What takes longer hangs."""
_PATIENCE_S = 0.05
"""How long a client waits for more before it ends its side."""
_CALLERS = 8
_PATHS = (
    *(INFER_PATH, INFER_PATH, b"/inference.GRPCInferenceService/ModelStreamInfer", b"/grpc.health.v1.Health/Check"),
    *(b"/inference.GRPCInferenceService/ServerMetadata", b"/grpc.health.v1.Health/Watch", b"/nothing"),
)
_KINDS = (*range(10), 42, 255)
_SIZES = (0, 1, 4, 5, 8, 9, 100, 20_000)
Conversation = list[bytes]
"""What a client sends, in the parts in which it sends it."""


@dataclass
class Found:
    """What came of a run: calls that were answered, connections that the server ended, and what must not be."""

    answers: int = 0
    ends: int = 0
    faults: list[str] = field(default_factory=list)

    def __add__(self, other: "Found") -> "Found":
        return Found(self.answers + other.answers, self.ends + other.ends, self.faults + other.faults)


def make_conversation(random: Random) -> Conversation:
    """Some good calls, some of whose frames are damaged."""
    client = Client()
    parts = [client.hello(random.choice(({}, {frames.INITIAL_WINDOW_SIZE: random.choice((0, 1, 1 << 20))})))]
    for number in range(1, 2 * random.randint(1, 6), 2):
        path = random.choice(_PATHS)
        more = random.choice(([], [], [(b"grpc-timeout", b"5S")], [(b"grpc-encoding", b"gzip")], [(b"x", b"y" * 300)]))
        content = _message(random) if path == INFER_PATH or b"Stream" in path else b"\0\0\0\0\0"
        at = random.randint(0, len(content))
        parts += [client.call(number, path, more)]
        parts += [client.data(number, content[:at], ends=False), client.data(number, content[at:])]
    for _ in range(random.choice((0, 0, 1, 1, 2, 4))):
        _damage(random, parts)
    whole = b"".join(parts)
    if random.random() < 0.3:
        cuts = sorted(random.randint(0, len(whole)) for _ in range(random.randint(1, 5)))
        parts = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    return parts


def _message(random: Random) -> bytes:
    rows = random.choice((0, 1, 1, 2, 9, 3000))
    given = {"name": "x", "datatype": "FP32", "shape": [rows, 3]}
    request = service_pb2.ModelInferRequest(model_name="double", inputs=[given], raw_input_contents=[bytes(12 * rows)])
    content = request.SerializeToString()
    return b"\0" + struct.pack(">I", len(content)) + content


def _damage(random: Random, parts: Conversation) -> None:
    """Change the list of parts in one place."""
    at = random.randrange(len(parts))
    part = parts[at]
    match random.randrange(8):
        case 0:
            parts.insert(random.randint(0, len(parts)), _any_frame(random))
        case 1:
            del parts[at]
        case 2:
            parts.insert(random.randint(0, len(parts)), part)
        case 3:
            other = random.randrange(len(parts))
            parts[at], parts[other] = parts[other], part
        case 4:
            parts[at] = part[: random.randint(0, len(part))]
        case 5 if part:
            place = random.randrange(min(len(part), random.choice((9, len(part)))))
            parts[at] = part[:place] + bytes([part[place] ^ 1 << random.randrange(8)]) + part[place + 1 :]
        case 6:
            parts[at:at] = [_any_frame(random)] * random.choice((3, 30, 1200))
        case _:
            flags = random.choice((0, frames.END_STREAM, frames.END_HEADERS, frames.PADDED, frames.PRIORITIZED, 255))
            parts[at] = part[:4] + bytes([flags]) + part[5:]


def _any_frame(random: Random) -> bytes:
    payload = random.choice(
        (
            random.randbytes(random.choice(_SIZES)),
            struct.pack(">I", random.choice((0, 1, 65_535, (1 << 31) - 1, (1 << 32) - 1))),
            write_settings({random.randint(0, 9): random.choice((0, 1, 16_384, 1 << 20, (1 << 32) - 1))}),
            Client().block(),
        )
    )
    return write_frame(random.choice(_KINDS), random.randrange(256), random.choice((0, 1, 2, 3, 5, 7, 999)), payload)


def fuzz(address: tuple[str, int], seed: int, count: int, ask_others: Callable[[], float]) -> Found:
    """Hold so many conversations, several at once. ``ask_others`` is a call by a client that keeps to the rules."""
    with ThreadPoolExecutor(_CALLERS) as pool:
        shares = [pool.submit(_hold, address, seed, range(i, count, _CALLERS)) for i in range(_CALLERS)]
        while not all(share.done() for share in shares):
            assert ask_others() == 12
        return sum((share.result() for share in shares), Found())


def _hold(address: tuple[str, int], seed: int, numbers: Iterable[int]) -> Found:
    found = Found()
    for number in numbers:
        conversation = make_conversation(Random(f"{seed}/{number}"))
        try:
            answered, has_ended = _talk(address, conversation)
        except (OSError, AssertionError) as error:
            found.faults.append(f"{seed}/{number}: {error!r}: {b''.join(conversation)[:400]!r}")
            continue
        found.answers += answered
        found.ends += has_ended
    return found


def _talk(address: tuple[str, int], conversation: Conversation) -> tuple[int, bool]:
    """How many calls were answered, and whether the server has ended the connection because of a fault.

    The client ends its side when it has said all and hears nothing more. Then the server has to end its own.
    Raises TimeoutError, and AssertionError for what is no frame.
    """
    received = bytearray()
    with socket.create_connection(address, LIMIT_S) as connection:
        try:
            for part in conversation:
                connection.sendall(part)
            connection.settimeout(_PATIENCE_S)
            try:
                while data := connection.recv(1 << 16):
                    received += data
            except TimeoutError:
                connection.settimeout(LIMIT_S)
                connection.shutdown(socket.SHUT_WR)
                while data := connection.recv(1 << 16):
                    received += data
        except ConnectionError:  # it was closed while there was more to read
            pass
    return _count_ends(received)


def _count_ends(received: bytes | bytearray) -> tuple[int, bool]:
    """Answers, and whether there is a GOAWAY with a fault. What is cut off at the end does not count."""
    answers, has_ended, at = 0, False, 0
    while at + frames.HEAD_BYTES <= len(received):
        size = int.from_bytes(received[at : at + 3], "big")
        begin = at + frames.HEAD_BYTES
        if begin + size > len(received):
            break
        frame = Frame(received[at + 3], received[at + 4], 0, bytes(received[begin : begin + size]))
        assert frame.kind in range(9), f"a frame of kind {frame.kind}"
        answers += frame.kind == frames.HEADERS and bool(frame.flags & frames.END_STREAM)
        has_ended |= frame.kind == frames.GOAWAY and frame.payload[4:8] != bytes(4)
        at = begin + size
    return answers, has_ended
