"""Connections that stay open: each request is looked at, also where its head is not parsed again."""

from pathlib import Path

import pytest

from tests.service.access.asking import KEYS, Clock, guard_of, render_keys
from tests.support.grpc_servers import GrpcServing
from tests.support.wires import INFER, Wire, body_of, request_bytes

BODY = body_of(2)


def request_of(name: str, version: str = "1.1") -> bytes:
    return request_bytes(BODY, INFER, f"X-API-Key: {KEYS[name]}", version=version)


def status_of(wire: Wire, request: bytes) -> int:
    wire.send(request)
    return wire.read()[0]


def rewrite(server: GrpcServing, clock: Clock, file: Path, text: str) -> None:
    """Change the file of keys, and let the time pass after which it is looked at."""
    file.write_text(text)
    clock.move(1)


@pytest.fixture
def whole_file(keys_file: Path) -> Path:
    """The file with all keys, before and after the test."""
    keys_file.write_text(render_keys())
    return keys_file


GOOD, KEYLESS = request_of("infer"), request_bytes(BODY)


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [((GOOD, KEYLESS, GOOD), [200, 401]), ((KEYLESS, GOOD), [401]), ((request_bytes(GOOD),), [401])],
    ids=["behind a good one", "before a good one", "a good one in its body"],
)
def test_connection_ends_with_a_refusal(
    server: GrpcServing, clock: Clock, sent: tuple[bytes, ...], statuses: list[int]
) -> None:
    """Each pipelined request needs a key. What follows a refused one, also in its body, is not answered."""
    with Wire(server) as wire:
        wire.send(*sent)
        assert [wire.read()[0] for _ in statuses] == statuses
        assert wire.is_closed_by_server()


@pytest.mark.parametrize("before", [1, 3])
def test_other_key_on_the_same_connection_is_looked_at(server: GrpcServing, clock: Clock, before: int) -> None:
    """A head of the same length with an unknown key is refused, however often a good one came before."""
    good = request_of("infer")
    bad = good.replace(KEYS["infer"].encode(), KEYS["infer"].swapcase().encode())
    assert len(good) == len(bad)
    with Wire(server) as wire:
        assert [status_of(wire, good) for _ in range(before)] == [200] * before
        assert status_of(wire, bad) == 401


def test_key_that_is_removed_is_refused_on_an_open_connection(
    server: GrpcServing, clock: Clock, whole_file: Path
) -> None:
    """The next request with it is refused, though its head is that of the requests before."""
    with Wire(server) as wire, Wire(server) as another:
        assert [status_of(wire, request_of("infer")) for _ in range(3)] == [200] * 3
        assert status_of(another, request_of("other")) == 200
        rewrite(server, clock, whole_file, render_keys("other"))
        assert status_of(wire, request_of("infer")) == 401
        assert status_of(another, request_of("other")) == 200
    rewrite(server, clock, whole_file, render_keys())


def test_scope_that_is_removed_is_refused_on_an_open_connection(
    server: GrpcServing, clock: Clock, whole_file: Path
) -> None:
    """A key whose scopes have changed is no longer good for what it was."""
    with Wire(server) as wire:
        assert [status_of(wire, request_of("other")) for _ in range(2)] == [200] * 2
        rewrite(server, clock, whole_file, render_keys("other", other={"scopes": ["metrics"]}))
        assert status_of(wire, request_of("other")) == 403
    rewrite(server, clock, whole_file, render_keys())


def test_key_that_expires_is_refused_on_an_open_connection(server: GrpcServing, clock: Clock) -> None:
    """Its last second counts, and nothing after it."""
    with Wire(server) as wire:
        clock.move(999)
        assert [status_of(wire, request_of("expiring")) for _ in range(2)] == [200] * 2
        clock.move(1)
        wire.send(request_of("expiring"))
        status, _, body = wire.read()
    assert (status, b"key 'expiring' has expired" in body) == (401, True)


def test_limit_counts_requests_with_a_known_head(server: GrpcServing, clock: Clock) -> None:
    """Repeated heads use up the limit as others do."""
    with Wire(server) as wire:
        assert [status_of(wire, request_of("limited")) for _ in range(3)] == [200, 200, 429]


def test_added_key_counts_without_a_restart(server: GrpcServing, clock: Clock, whole_file: Path) -> None:
    """It counts within a second of the change."""
    rewrite(server, clock, whole_file, render_keys("other"))
    with Wire(server) as wire:
        assert status_of(wire, request_of("infer")) == 401
    rewrite(server, clock, whole_file, render_keys())
    with Wire(server) as wire:
        assert status_of(wire, request_of("infer")) == 200


@pytest.mark.parametrize(
    "text", ["[ci\n", '[ci]\nsha256 = "x"\nscopes = ["infer"]', None], ids=["TOML", "hash", "none"]
)
def test_file_that_cannot_be_used_changes_nothing(
    server: GrpcServing, clock: Clock, whole_file: Path, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    """The previous keys stay valid, strangers are still refused, and the log says what is wrong."""
    if text is None:
        whole_file.unlink()
        clock.move(1)
    else:
        rewrite(server, clock, whole_file, text)
    with Wire(server) as wire:
        assert status_of(wire, request_of("infer")) == 200
        assert status_of(wire, request_bytes(BODY)) == 401
    assert "cannot be used, the previous keys stay valid" in caplog.text
    assert '"event": "keys refused"' in caplog.text
    rewrite(server, clock, whole_file, render_keys())


def test_file_is_looked_at_once_a_second(server: GrpcServing, clock: Clock, whole_file: Path) -> None:
    """Between two looks a request costs no call of the system."""
    watched = guard_of(server)._keys._watched
    assert watched is not None
    with Wire(server) as wire:
        assert status_of(wire, request_of("infer")) == 200
        looked_at = watched._next_look
        clock.move(0.9)
        assert status_of(wire, request_of("infer")) == 200
        assert watched._next_look == looked_at
        clock.move(0.2)
        assert status_of(wire, request_of("infer")) == 200
        assert watched._next_look > looked_at


def test_http_1_0_needs_a_key_too(server: GrpcServing, clock: Clock) -> None:
    """With a key it is answered, without one it is refused."""
    with Wire(server) as wire:
        assert status_of(wire, request_bytes(BODY, version="1.0")) == 401
    with Wire(server) as wire:
        assert status_of(wire, request_of("infer", version="1.0")) == 200
