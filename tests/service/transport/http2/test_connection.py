"""The rules of an HTTP/2 connection, without a socket or a clock."""

import pytest

from service.transport.http2 import frames
from service.transport.http2.connection import MAX_STREAMS, Connection
from service.transport.http2.fields import MAX_LIST_BYTES
from service.transport.http2.frames import ConnectionFault, write_frame, write_settings
from service.transport.http2.streams import STREAM_WINDOW_BYTES, Stream
from tests.support.connections.http2 import BLOCK, INFER_PATH, Calls, Client, read_frames


class Pair:
    """A connection that has greeted its client."""

    def __init__(self, settings: dict[int, int] | None = None) -> None:
        self.calls, self.client = Calls(), Client()
        self.connection = Connection(self.calls)
        self.connection.receive(self.client.hello(settings))
        self.sent()

    def give(self, *parts: bytes) -> None:
        for part in parts:
            self.connection.receive(part)

    def begin(self, number: int = 1) -> Stream:
        self.give(self.client.call(number))
        return self.calls.streams[number]

    def sent(self) -> list[tuple[int, int, int, bytes]]:
        return [tuple(frame) for frame in read_frames(self.connection.sender.take_output())]

    def fault(self, *parts: bytes) -> int:
        """The code with which the connection ends."""
        with pytest.raises(ConnectionFault) as raised:
            self.give(*parts)
        return raised.value.code


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_bytes_may_come_in_any_pieces() -> None:
    """A connection that comes byte by byte is the same as in one piece."""
    calls, client = Calls(), Client()
    made = Connection(calls)
    for byte in client.hello() + client.call(1) + client.data(1, b"abc", ends=False) + client.data(1, b"d"):
        made.receive(bytes((byte,)))
    assert (calls.data, calls.ended) == ({1: b"abcd"}, [1])
    assert dict(calls.begun[0])[b":path"] == INFER_PATH


def test_other_protocols_are_refused() -> None:
    """A client of HTTP/1.1 ends the connection at its first bytes."""
    with pytest.raises(ConnectionFault, match="expected HTTP/2"):
        Connection(Calls()).receive(b"GET / HTTP/1.1\r\n")


def test_settings_are_acknowledged_and_pings_answered(pair: Pair) -> None:
    """SETTINGS get an ACK, a PING its own bytes; acknowledgements get nothing."""
    pair.give(write_frame(frames.SETTINGS, 0, 0, write_settings({99: 7})), write_frame(frames.PING, 0, 0, b"12345678"))
    pair.give(write_frame(frames.SETTINGS, frames.ACK, 0), write_frame(frames.PING, frames.ACK, 0, b"12345678"))
    assert pair.sent() == [(frames.SETTINGS, frames.ACK, 0, b""), (frames.PING, frames.ACK, 0, b"12345678")]


def test_header_block_may_come_in_parts(pair: Pair) -> None:
    """A block goes on in CONTINUATION frames, with padding and a priority before it, and nothing may come between."""
    block = pair.client.block()
    first = b"\3" + b"\0\0\0\0\7" + block[:4] + b"\0\0\0"
    flags = frames.PADDED | frames.PRIORITIZED | frames.END_STREAM
    pair.give(write_frame(frames.HEADERS, flags, 1, first), write_frame(frames.CONTINUATION, 0, 1, block[4:9]))
    assert not pair.calls.begun
    pair.give(write_frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[9:]))
    assert pair.calls.ended == [1]
    assert (
        pair.fault(write_frame(frames.HEADERS, 0, 3, block), write_frame(frames.PING, 0, 0, bytes(8)))
        == frames.PROTOCOL_ERROR
    )


@pytest.mark.parametrize(
    ("kind", "flags", "stream", "payload", "code"),
    [
        (frames.DATA, 0, 1, b"x", frames.PROTOCOL_ERROR),  # of a stream that has not begun
        (frames.DATA, 0, 0, b"x", frames.PROTOCOL_ERROR),
        (frames.HEADERS, frames.END_HEADERS, 2, b"", frames.PROTOCOL_ERROR),  # the numbers of clients are odd
        (frames.HEADERS, frames.END_HEADERS, 0, b"", frames.PROTOCOL_ERROR),
        (frames.HEADERS, frames.END_HEADERS | frames.PADDED, 1, b"\7abc", frames.PROTOCOL_ERROR),
        (frames.HEADERS, frames.END_HEADERS | frames.PRIORITIZED, 1, b"abc", frames.PROTOCOL_ERROR),
        (frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\xff", frames.COMPRESSION_ERROR),
        (frames.HEADERS, frames.END_HEADERS, 1, b"\x40\x0aabc", frames.COMPRESSION_ERROR),
        (frames.CONTINUATION, frames.END_HEADERS, 1, b"", frames.PROTOCOL_ERROR),
        (frames.PUSH_PROMISE, 0, 1, bytes(4), frames.PROTOCOL_ERROR),
        (frames.RST_STREAM, 0, 1, bytes(4), frames.PROTOCOL_ERROR),
        (frames.RST_STREAM, 0, 1, bytes(3), frames.FRAME_SIZE_ERROR),
        (frames.SETTINGS, 0, 0, bytes(5), frames.FRAME_SIZE_ERROR),
        (frames.SETTINGS, 0, 1, b"", frames.FRAME_SIZE_ERROR),
        (frames.SETTINGS, 0, 0, write_settings({frames.INITIAL_WINDOW_SIZE: 1 << 31}), frames.FLOW_CONTROL_ERROR),
        (frames.SETTINGS, 0, 0, write_settings({frames.MAX_FRAME_SIZE: 100}), frames.PROTOCOL_ERROR),
        (frames.SETTINGS, 0, 0, write_settings({frames.ENABLE_PUSH: 2}), frames.PROTOCOL_ERROR),
        (frames.PING, 0, 0, bytes(7), frames.FRAME_SIZE_ERROR),
        (frames.WINDOW_UPDATE, 0, 0, bytes(3), frames.FRAME_SIZE_ERROR),
        (frames.WINDOW_UPDATE, 0, 0, bytes(4), frames.FLOW_CONTROL_ERROR),
        (frames.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff", frames.FLOW_CONTROL_ERROR),
        (frames.WINDOW_UPDATE, 0, 1, b"\0\0\0\1", frames.PROTOCOL_ERROR),
    ],
)
def test_broken_frame_ends_the_connection(
    pair: Pair, kind: int, flags: int, stream: int, payload: bytes, code: int
) -> None:
    """A frame that no client may send is a fault with the standard's code."""
    assert pair.fault(write_frame(kind, flags, stream, payload)) == code


def test_frame_larger_than_announced_is_refused(pair: Pair) -> None:
    """The frame is refused by its head, before its content comes."""
    assert pair.fault(frames.write_head((256 << 10) + 1, frames.DATA, 0, 1)) == frames.FRAME_SIZE_ERROR


def test_anything_before_settings_is_refused() -> None:
    """The first frame of a client must be SETTINGS."""
    with pytest.raises(ConnectionFault, match="SETTINGS first"):
        Connection(Calls()).receive(frames.PREFACE + write_frame(frames.PING, 0, 0, bytes(8)))


@pytest.mark.parametrize(
    "name", ["ping", "settings", "reset", "empty", "priority", "window", "windows", "unknown", "ignored"]
)
def test_flood_ends_the_connection(pair: Pair, name: str) -> None:
    """A thousand frames that ask for nothing end the connection, as do many calls that are reset at once."""
    pair.begin()
    pair.give(write_frame(frames.HEADERS, frames.END_HEADERS, 3, pair.client.block()))
    pair.give(write_frame(frames.RST_STREAM, 0, 3, bytes(4)))
    flood = {
        "ping": write_frame(frames.PING, 0, 0, bytes(8)),
        "settings": write_frame(frames.SETTINGS, 0, 0),
        "empty": write_frame(frames.DATA, 0, 1),
        "priority": write_frame(frames.PRIORITY, 0, 1, bytes(5)),
        "window": write_frame(frames.WINDOW_UPDATE, 0, 1, b"\0\0\0\1"),
        "windows": write_frame(frames.WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
        "unknown": write_frame(77, 0, 1, b"anything"),
        "ignored": write_frame(frames.RST_STREAM, 0, 3, bytes(4)),
    }
    resets = (pair.client.call(n) + write_frame(frames.RST_STREAM, 0, n, bytes(4)) for n in range(5, 4005, 2))
    parts = resets if name == "reset" else (flood[name] for _ in range(2000))
    assert pair.fault(*parts) == frames.ENHANCE_YOUR_CALM
    assert len(pair.connection.open) <= 2


def test_answers_and_time_make_up_for_idle_frames(pair: Pair) -> None:
    """A client that pings with each of its calls, or now and then, is no flood."""
    ping = write_frame(frames.PING, 0, 0, bytes(8))
    for number in range(1, 4001, 2):
        stream = pair.begin(number)
        pair.give(pair.client.data(number, b"x"), ping)
        pair.connection.sender.finish(stream, BLOCK)
    for _ in range(2000):
        pair.connection.discount_idle_frames(1)
        pair.give(ping)


def test_large_answer_may_be_read_in_small_windows(pair: Pair) -> None:
    """A client that widens both windows for each frame of a large answer is no flood."""
    stream = pair.begin()
    pair.give(pair.client.data(1, b"x"))
    pair.connection.sender.send(stream, bytes(40 << 20))
    pair.connection.sender.finish(stream, BLOCK)
    while pair.connection.open:
        for size in [len(frame[3]) for frame in pair.sent() if frame[0] == frames.DATA]:
            more = size.to_bytes(4, "big")
            pair.give(
                write_frame(frames.WINDOW_UPDATE, 0, 0, more),
                write_frame(frames.WINDOW_UPDATE, 0, 1, more) if pair.connection.open else b"",
            )


def test_last_of_many_settings_counts(pair: Pair) -> None:
    """A frame with thousands of first windows looks at the open streams once."""
    stream = pair.begin()
    looks: list[int] = []
    stream.on_room = lambda: looks.append(stream.send_window)
    many = b"".join(write_settings({frames.INITIAL_WINDOW_SIZE: size}) for size in range(1, 4001))
    pair.give(write_frame(frames.SETTINGS, 0, 0, many))
    assert looks == [4000]


def test_long_headers_end_the_connection(pair: Pair) -> None:
    """More than 16 KiB of headers are refused, also in many parts, or if a few bytes of a table stand for them."""
    part = write_frame(frames.CONTINUATION, 0, 1, bytes(8192))
    assert Pair().fault(write_frame(frames.HEADERS, 0, 1, b""), part, part, part) == frames.ENHANCE_YOUR_CALM
    large = pair.client.block(more=[(b"x", b"y" * 3000)])
    pair.give(write_frame(frames.HEADERS, frames.END_HEADERS, 1, large))
    bomb = b"\xbe" * 6  # the newest entry of the table, six times
    assert pair.fault(write_frame(frames.HEADERS, frames.END_HEADERS, 3, bomb)) == frames.ENHANCE_YOUR_CALM


def test_too_many_calls_at_once_are_refused_one_by_one(pair: Pair) -> None:
    """A call above the announced number gets REFUSED_STREAM, so its client may send it again; the others go on."""
    for number in range(1, 2 * MAX_STREAMS, 2):
        pair.begin(number)
    pair.sent()
    above = 2 * MAX_STREAMS + 1
    pair.give(pair.client.call(above))
    assert pair.sent() == [(frames.RST_STREAM, 0, above, frames.REFUSED_STREAM.to_bytes(4, "big"))]
    assert len(pair.connection.open) == MAX_STREAMS


def test_data_beyond_the_window_resets_its_stream_only(pair: Pair) -> None:
    """A client that sends more than it may loses the call; another call of it is answered."""
    pair.begin(1)
    other = pair.begin(3)
    pair.give(pair.client.data(1, bytes(STREAM_WINDOW_BYTES), ends=False))
    pair.sent()
    pair.give(pair.client.data(1, b"x", ends=False))
    assert pair.sent() == [(frames.RST_STREAM, 0, 1, frames.FLOW_CONTROL_ERROR.to_bytes(4, "big"))]
    assert pair.calls.dropped == [1]
    pair.give(pair.client.data(1, b"y", ends=False), pair.client.data(3, b"z"))
    assert pair.calls.data[3] == b"z"
    pair.connection.sender.finish(other, BLOCK)
    assert pair.sent()[-1][:3] == (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 3)


def test_granted_room_may_be_used(pair: Pair) -> None:
    """A grant lets exactly so many bytes more come."""
    stream = pair.begin()
    pair.give(pair.client.data(1, bytes(STREAM_WINDOW_BYTES), ends=False))
    pair.connection.sender.grant(stream, 10)
    assert (frames.WINDOW_UPDATE, 0, 1, b"\0\0\0\x0a") in pair.sent()
    pair.give(pair.client.data(1, bytes(10), ends=False))
    assert not pair.calls.dropped
    pair.give(pair.client.data(1, b"x"))
    assert pair.calls.dropped == [1]


def test_padding_counts_and_is_given_back(pair: Pair) -> None:
    """Padding is no data. Its room is granted again at once."""
    pair.begin()
    pair.give(write_frame(frames.DATA, frames.PADDED, 1, b"\4abc\0\0\0\0"))
    assert pair.calls.data[1] == b"abc"
    assert pair.sent() == [(frames.WINDOW_UPDATE, 0, 1, b"\0\0\0\5")]
    assert pair.fault(write_frame(frames.DATA, frames.PADDED, 1, b"\4abc")) == frames.PROTOCOL_ERROR


def test_window_of_the_connection_is_filled_up(pair: Pair) -> None:
    """Many megabytes may come over time, however the calls end."""
    for number in range(1, 2001, 2):
        stream = pair.begin(number)
        pair.give(pair.client.data(number, bytes(STREAM_WINDOW_BYTES)))
        pair.connection.sender.finish(stream, BLOCK)
    updates = [frame for frame in pair.sent() if frame[0] == frames.WINDOW_UPDATE and not frame[2]]
    assert sum(int.from_bytes(frame[3], "big") for frame in updates) > 1000 * STREAM_WINDOW_BYTES - (32 << 20)


def test_answer_waits_for_the_windows_of_the_client() -> None:
    """Data goes out as far as the windows of the stream and of the connection go, in order, and its end last."""
    pair = Pair({frames.INITIAL_WINDOW_SIZE: 10})
    content = bytes(range(100)) * 1000
    stream = pair.begin()
    pair.give(pair.client.data(1, b""))
    sender = pair.connection.sender
    sender.start(stream, BLOCK)
    sender.send(stream, content)
    sender.finish(stream, BLOCK)
    first = pair.sent()
    assert [frame[3] for frame in first if frame[0] == frames.DATA] == [content[:10]]
    pair.give(write_frame(frames.WINDOW_UPDATE, 0, 1, (1 << 20).to_bytes(4, "big")))
    second = pair.sent()  # the window of the connection has 65,535 bytes
    pair.give(write_frame(frames.WINDOW_UPDATE, 0, 0, (1 << 20).to_bytes(4, "big")))
    third = pair.sent()
    sent = [frame[3] for frame in (*first, *second, *third) if frame[0] == frames.DATA]
    assert b"".join(sent) == content
    assert sum(map(len, sent[: -len([f for f in third if f[0] == frames.DATA])])) == frames.DEFAULT_WINDOW_BYTES
    assert max(map(len, sent)) <= frames.LEAST_FRAME_BYTES
    assert third[-1][:2] == (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM)
    assert not pair.connection.open


def test_windows_may_shrink_below_zero() -> None:
    """A smaller INITIAL_WINDOW_SIZE counts for what is sent already. RFC 9113, section 6.9.2."""
    pair = Pair()
    stream = pair.begin()
    sender = pair.connection.sender
    sender.send(stream, bytes(60_000))
    pair.give(write_frame(frames.SETTINGS, 0, 0, write_settings({frames.INITIAL_WINDOW_SIZE: 100})))
    pair.sent()
    sender.send(stream, b"more")
    pair.give(write_frame(frames.WINDOW_UPDATE, 0, 1, (59_000).to_bytes(4, "big")))
    assert pair.sent() == []
    pair.give(write_frame(frames.WINDOW_UPDATE, 0, 1, (1000).to_bytes(4, "big")))
    assert [frame[3] for frame in pair.sent()] == [b"more"]


def test_reset_call_gets_nothing_more(pair: Pair) -> None:
    """After a reset the call is dropped, what is sent for it is not written, and what comes for it is ignored."""
    stream = pair.begin()
    pair.give(write_frame(frames.RST_STREAM, 0, 1, frames.CANCEL.to_bytes(4, "big")))
    assert pair.calls.dropped == [1]
    sender = pair.connection.sender
    sender.start(stream, BLOCK)
    sender.send(stream, b"x")
    sender.finish(stream, BLOCK)
    sender.grant(stream, 5)
    pair.give(pair.client.data(1, b"late"), write_frame(frames.WINDOW_UPDATE, 0, 1, b"\0\0\0\1"))
    assert (pair.sent(), pair.calls.data) == ([], {})


def test_early_answer_tells_the_client_to_stop(pair: Pair) -> None:
    """An answer before the end of the request is followed by RST_STREAM with NO_ERROR. RFC 9113, section 8.1."""
    stream = pair.begin()
    pair.connection.sender.finish(stream, BLOCK)
    assert [frame[0] for frame in pair.sent()] == [frames.HEADERS, frames.RST_STREAM]


def test_call_that_was_on_its_way_is_taken(pair: Pair) -> None:
    """Calls that come before the client has heard of the end are answered; the client's PING tells when it has."""
    pair.connection.begin_leaving()
    (_, _, _, first), ping = pair.sent()
    assert first == b"\x7f\xff\xff\xff" + bytes(4)
    stream = pair.begin(1)
    pair.give(pair.client.data(1, b"x"), write_frame(frames.PING, frames.ACK, 0, ping[3]), pair.client.call(3))
    assert pair.sent() == [(frames.GOAWAY, 0, 0, b"\0\0\0\1" + bytes(4))]
    pair.connection.sender.finish(stream, BLOCK)
    assert (list(pair.calls.streams), pair.connection.open) == ([1], {})


def test_leaving_connection_takes_no_more_calls(pair: Pair) -> None:
    """GOAWAY names the last call that is answered; later ones are ignored, and their headers still read."""
    stream = pair.begin()
    pair.connection.go_away()
    assert pair.sent() == [(frames.GOAWAY, 0, 0, b"\0\0\0\1" + bytes(4))]
    pair.give(pair.client.call(3), pair.client.data(3, b"x"), pair.client.data(1, b"y"))
    assert list(pair.calls.streams) == [1]
    pair.connection.sender.finish(stream, BLOCK)
    assert len(pair.sent()) == 1


def test_trailers_of_a_client_end_its_call(pair: Pair) -> None:
    """A second header block ends the call. If it does not say so, the call is dropped."""
    pair.begin(1)
    pair.give(write_frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, b""))
    assert pair.calls.ended == [1]
    pair.begin(3)
    pair.give(write_frame(frames.HEADERS, frames.END_HEADERS, 3, b""))
    assert pair.calls.dropped == [3]


def test_limits_are_announced() -> None:
    """The first frame says how many calls, and how large frames and headers, a client may send."""
    made = Connection(Calls())
    kind, _, _, payload = next(iter(read_frames(made.sender.take_output())))
    values = {payload[i + 1]: int.from_bytes(payload[i + 2 : i + 6], "big") for i in range(0, len(payload), 6)}
    assert kind == frames.SETTINGS
    assert values[frames.MAX_CONCURRENT_STREAMS] == MAX_STREAMS
    assert values[frames.INITIAL_WINDOW_SIZE] == STREAM_WINDOW_BYTES
    assert values[frames.MAX_HEADER_LIST_SIZE] == MAX_LIST_BYTES


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("window", [3, 4, 70_000])
def test_whole_answer_is_that_of_its_parts(window: int, ends: bool) -> None:
    """An answer given at once is the same frames as one given in parts, whatever the windows and the state are."""
    sent = []
    for whole in (True, False):
        pair = Pair({frames.INITIAL_WINDOW_SIZE: window})
        stream = pair.begin()
        pair.give(pair.client.data(1, b"x", ends=ends))
        sender = pair.connection.sender
        if whole:
            sender.answer(stream, BLOCK, b"data", BLOCK)
        else:
            sender.start(stream, BLOCK)
            sender.send(stream, b"data")
            sender.finish(stream, BLOCK)
        first = pair.sent()
        pair.give(write_frame(frames.WINDOW_UPDATE, 0, 1, b"\0\0\0\7"))
        sent.append((first, pair.sent(), pair.connection.open))
    assert sent[0] == sent[1]
    assert not sent[0][2]


def test_answer_waits_in_its_stream_while_the_client_does_not_read(pair: Pair) -> None:
    """However large the windows are, answers wait in their streams. So a stream knows how much is unread."""
    stream, sender = pair.begin(), pair.connection.sender
    sender.hold()
    sender.start(stream, BLOCK)
    sender.send(stream, b"answer")
    assert stream.unsent_bytes == 6
    assert [kind for kind, *_ in pair.sent()] == [frames.HEADERS]
    sender.go_on()
    assert pair.sent() == [(frames.DATA, 0, 1, b"answer")]
