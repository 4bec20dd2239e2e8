"""Messages in the data of a call, however it is cut."""

import tracemalloc

import pytest

from service.errors import BodyTooLarge
from service.transport.grpc.framing import MessageReader, write_message

MESSAGES = [b"", b"a", b"", bytes(range(256)) * 300, b"bc", b""]


@pytest.mark.parametrize("piece", [1, 2, 5, 7, 4096, 1 << 20])
def test_messages_are_the_same_in_any_pieces(piece: int) -> None:
    """Pieces may hold parts of messages, or many of them."""
    reader, found = MessageReader(None, 1 << 20), []
    content = b"".join(map(write_message, MESSAGES))
    for at in range(0, len(content), piece):
        reader.add(content[at : at + piece])
        while (message := reader.take()) is not None:
            found.append(message)
    assert (found, reader.held_bytes) == (MESSAGES, 0)


@pytest.mark.long
def test_message_of_small_pieces_takes_its_own_memory() -> None:
    """A message that comes in pieces of two bytes takes no more memory than in large ones."""
    reader = MessageReader(None, 1 << 20)
    reader.add(write_message(bytes(1 << 19))[:5])
    tracemalloc.start()
    try:
        for _ in range(1 << 18):
            reader.add(bytes(bytearray(2)))
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
    assert reader.take() == bytes(1 << 19)


def test_message_before_one_that_is_too_large_is_given() -> None:
    """The error comes when the message before it has been taken."""
    reader = MessageReader(None, 10)
    reader.add(write_message(b"x") + write_message(bytes(11)))
    assert reader.take() == b"x"
    with pytest.raises(BodyTooLarge, match="at most 10"):
        reader.take()
