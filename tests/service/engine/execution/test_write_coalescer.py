"""What the write coalescer holds back, and that it all goes out in order."""

import asyncio

from service.engine.execution.write_coalescer import WriteCoalescer


class Caller(asyncio.WriteTransport):
    """Notes what is written to it, in a log that all callers share."""

    def __init__(self, name: str, log: list[tuple[str, bytes]]) -> None:
        super().__init__()
        self.name, self.log = name, log

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.log.append((self.name, bytes(data)))


def test_what_is_not_held_is_written_at_once():
    """Before ``hold`` and after ``release`` an answer goes out with its call."""
    log: list[tuple[str, bytes]] = []
    writes, caller = WriteCoalescer(), Caller("a", log)
    writes.write(caller, b"1")
    assert log == [("a", b"1")]
    writes.hold()
    writes.release()
    writes.write(caller, b"2")
    assert log == [("a", b"1"), ("a", b"2")]


def test_what_is_held_goes_out_in_order_at_the_end():
    """``release`` writes every held answer once and in order."""
    log: list[tuple[str, bytes]] = []
    writes = WriteCoalescer()
    writes.hold()
    answers = [(f"caller {i}", b"%d" % i) for i in range(11)]
    for name, data in answers:
        writes.write(Caller(name, log), data)
    assert log == []
    writes.release()
    writes.release()
    assert log == answers
