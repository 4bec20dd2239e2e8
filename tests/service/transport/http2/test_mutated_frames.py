"""Frames in any order with any bytes: a connection answers, resets streams or ends with a fault, and holds little."""

from hypothesis import given, settings
from hypothesis import strategies as st

from service.transport.http2 import frames
from service.transport.http2.connection import MAX_STREAMS, Connection
from service.transport.http2.frames import ConnectionFault, write_frame
from service.transport.http2.streams import Stream
from tests.support.connections.http2 import BLOCK, Calls, Client, read_frames

_KINDS = st.one_of(st.sampled_from(range(10)), st.integers(0, 255))
_STREAMS = st.one_of(st.sampled_from([0, 1, 3, 5, 7]), st.integers(0, (1 << 31) - 1))
_PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda n: n.to_bytes(4, "big"), st.integers(0, (1 << 32) - 1)),
    st.just(Client().block()),
)
_FRAMES = st.builds(write_frame, _KINDS, st.integers(0, 255), _STREAMS, _PAYLOADS)
_STEPS = st.lists(
    st.one_of(_FRAMES, st.binary(max_size=20), st.sampled_from(["call", "answer", "send", "reset", "grant"])),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(_STEPS)
def test_any_frames_are_survived(steps: list[bytes | str]) -> None:
    """Nothing but ConnectionFault is raised, what is sent are whole frames, and few streams are open."""
    calls, client = Calls(), Client()
    made = Connection(calls)
    next_stream = 1
    try:
        made.receive(client.hello())
        for step in steps:
            stream = next(iter(made.open.values()), None)
            if isinstance(step, bytes):
                made.receive(step)
            elif step == "call":
                made.receive(client.call(next_stream))
                next_stream += 2
            elif stream is not None:
                _answer(made, stream, step)
    except ConnectionFault as fault:
        made.go_away(fault.code, str(fault))
    sent = list(read_frames(made.sender.take_output()))
    assert sent[0].kind == frames.SETTINGS
    assert len(made.open) <= MAX_STREAMS
    assert not set(calls.dropped) & set(made.open)


def _answer(made: Connection, stream: Stream, how: str) -> None:
    sender = made.sender
    actions = {
        "answer": lambda: sender.finish(stream, BLOCK),
        "send": lambda: sender.send(stream, bytes(50_000)),
        "reset": lambda: sender.reset(stream, frames.CANCEL),
        "grant": lambda: sender.grant(stream, 10),
    }
    actions[how]()
