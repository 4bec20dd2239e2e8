"""Changes to a server: who may make them where no keys are set, and where they are."""

import asyncio
import contextlib
import glob
import json
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.access.audit import AUDIT
from service.access.local import is_local, is_loopback
from service.workers import Workers, is_own_user
from tests.service.access.asking import KEYS, Clock, header_of
from tests.support.answers import assert_error
from tests.support.grpc_servers import GrpcServing
from tests.support.servers import FAST, Serving, settings_for

HOST = (b"host", b"localhost:3000")
CHANGES = (
    *("/v2/repository/models/double/load", "/v2/repository/models/double/unload"),
    *("/v2/logging", "/v2/trace/setting", "/v2/models/double/trace/setting"),
)


@pytest.fixture(scope="module")
def open_client(plain_store: Path) -> Iterator[httpx.Client]:
    """Of a server without keys that may be changed."""
    with Serving(settings_for(plain_store, control=True, max_rows=8), FAST) as server, server.client() as client:
        yield client


FOREIGN: dict[str, dict[str, str]] = {
    "name that leads here": {"Host": "evil.example"},
    "name that begins like ours": {"Host": "localhost.evil.example"},
    "address in a name": {"Host": "127.0.0.1.evil.example:3000"},
    "name in front of ours": {"Host": "evil.example@localhost"},
    "all addresses": {"Host": "0.0.0.0"},  # noqa: S104  # it leads here
    "page of its own name": {"Host": "evil.example", "Origin": "http://evil.example"},
    "page of another site": {"Origin": "https://evil.example"},
    "page without an origin": {"Origin": "null"},
    "page of another port": {"Origin": "http://127.0.0.1:1"},
    "other site, no origin": {"Sec-Fetch-Site": "cross-site"},
    "other port, no origin": {"Sec-Fetch-Site": "same-site"},
    "proxy": {"X-Forwarded-For": "10.0.0.1"},
    "proxy that claims to be here": {"X-Forwarded-For": "127.0.0.1"},
    "proxy, standard": {"Forwarded": "for=127.0.0.1;host=localhost"},
    "proxy, other names": {"X-Real-IP": "127.0.0.1"},
    "proxy that only says so": {"Via": "1.1 proxy"},
}


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_change_without_keys_needs_a_local_caller(
    open_client: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    """A page in a browser here and a caller behind a proxy here come from 127.0.0.1 too, and are refused."""
    answer = open_client.post(path, json={}, headers=headers)
    assert answer.status_code == 403, answer.text
    assert open_client.get("/v2/models/double/ready").status_code == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:3000", "LOCALHOST", "127.0.0.1:1", "[::1]", "[::1]:3000"])
def test_local_program_may_change_a_server_without_keys(open_client: httpx.Client, host: str) -> None:
    """It names this machine, by any port: a tunnel or container may have another."""
    assert open_client.post("/v2/logging", json={}, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("peer", "fields", "own", "expected"),
    [
        ("127.0.0.1", [HOST], "127.0.0.1", True),
        ("127.8.9.1", [HOST], "127.0.0.1", True),
        ("::1", [HOST], "::", True),
        ("::ffff:127.0.0.1", [HOST], "::", True),
        ("10.0.0.1", [HOST], "10.0.0.1", False),
        ("::ffff:10.0.0.1", [HOST], "::", False),
        ("", [HOST], "127.0.0.1", False),
        ("localhost", [HOST], "127.0.0.1", False),
        ("127.0.0.1", [], "127.0.0.1", False),
        ("127.0.0.1", [HOST, HOST], "127.0.0.1", False),
        ("127.0.0.1", [(b"host", b"sluice.lan")], "sluice.lan", True),
        ("127.0.0.1", [(b"host", b"SLUICE.lan:80")], "Sluice.Lan", True),
        ("127.0.0.1", [(b"host", b"0.0.0.0:3000")], "0.0.0.0", False),  # noqa: S104  # a page can name it
        ("::1", [(b"host", b"[fd00::1]:3000")], "fd00::1", True),
        ("127.0.0.1", [(b"host", b"")], "127.0.0.1", False),
        ("127.0.0.1", [HOST, (b"origin", b"http://localhost:3000")], "127.0.0.1", True),
        ("127.0.0.1", [HOST, (b"origin", b"http://localhost:3001")], "127.0.0.1", False),
        ("127.0.0.1", [HOST, (b"origin", b"http://localhost:3000"), (b"origin", b"http://evil")], "127.0.0.1", False),
        ("127.0.0.1", [HOST, (b"sec-fetch-site", b"same-origin")], "127.0.0.1", True),
        ("127.0.0.1", [HOST, (b"sec-fetch-site", b"none")], "127.0.0.1", True),
        ("127.0.0.1", [HOST, (b"sec-fetch-site", b"")], "127.0.0.1", False),
    ],
)
def test_who_is_local(peer: str, fields: Any, own: str, expected: bool) -> None:
    """The address, the name and what browsers and proxies add must all fit."""
    assert is_local(peer, fields, own) == expected


def test_address_is_of_this_machine_or_not() -> None:
    """What is no address is not of this machine."""
    assert [is_loopback(peer) for peer in ("127.0.0.1", "::1%lo", "0.0.0.1", "169.254.1.1", "a", "")] == [
        *(True, True, False, False, False, False)
    ]


@pytest.mark.parametrize("path", CHANGES)
def test_with_keys_being_local_is_not_enough(client: httpx.Client, clock: Clock, path: str) -> None:
    """Where keys are set, a caller on this machine needs one with the scope admin."""
    assert client.post(path, json={}).status_code == 401
    assert client.post(path, json={}, headers=header_of("infer")).status_code == 403
    assert client.post("/v2/logging", json={}, headers=header_of("admin")).status_code == 200


def test_key_does_not_open_what_the_settings_keep_shut(plain_store: Path, server: GrpcServing, clock: Clock) -> None:
    """Without SLUICE_CONTROL nobody changes the server, whatever the key."""
    administration = server.worker.administration
    administration._is_allowed = False
    try:
        with server.client() as client:
            assert_error(client.post("/v2/logging", json={}, headers=header_of("admin")), 403, "SLUICE_CONTROL=true")
    finally:
        administration._is_allowed = True


def test_key_from_a_foreign_page_changes_nothing(client: httpx.Client, clock: Clock) -> None:
    """A page of another site that has a key is still refused: its origin is not allowed."""
    headers = {**header_of("admin"), "Origin": "https://evil.example"}
    assert client.post("/v2/logging", json={}, headers=headers).status_code == 403


def audited(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == AUDIT]


def test_changes_are_in_the_audit_log(client: httpx.Client, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Each with who made it, from where, and what it was."""
    with caplog.at_level(logging.INFO, AUDIT):
        client.post("/v2/repository/models/double/load", headers={**header_of("admin"), "X-Request-Id": "mine"})
        client.post("/v2/logging", json={"log_info": True}, headers=header_of("admin"))
    load, change = audited(caplog)
    assert load == {
        "event": "admin",
        "caller": "admin",
        "peer": "127.0.0.1",
        "request_id": "mine",
        "do": "load",
        "model": "double",
        "version": None,
    }
    assert (change["do"], change["settings"]) == ("log", {"log_info": True})


def test_nobody_can_turn_off_the_audit_log(
    client: httpx.Client, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A change that shuts every level of the log leaves it open."""
    shut = dict.fromkeys(("log_info", "log_warning", "log_error"), False)
    opened = dict.fromkeys(shut, True)
    try:
        assert client.post("/v2/logging", json=shut, headers=header_of("admin")).status_code == 200
        client.post("/v2/trace/setting", json={}, headers=header_of("admin"))
        assert [each["do"] for each in audited(caplog)] == ["log", "trace"]
    finally:
        client.post("/v2/logging", json=opened, headers=header_of("admin"))


@pytest.mark.parametrize("sent", ['double%0a{"event":"admin"}', "double%0d%0aINFO%20forged", "%e2%80%a8x", "%1b[2J"])
def test_nobody_can_forge_a_line_of_the_audit_log(
    client: httpx.Client, clock: Clock, caplog: pytest.LogCaptureFixture, sent: str
) -> None:
    """What a caller sends is ASCII within a text of JSON, on one line."""
    client.post(f"/v2/repository/models/{sent}/load", headers=header_of("admin"))
    client.post(f"/v2/repository/models/{'x' * 5000}/load", headers=header_of("admin"))
    lines = [record.getMessage() for record in caplog.records if record.name == AUDIT]
    assert len(lines) == 2
    assert all(line.isascii() and line.isprintable() and len(line) < 600 for line in lines)
    assert [each["event"] for each in audited(caplog)] == ["admin", "admin"]


def test_guesses_do_not_fill_the_log(client: httpx.Client, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Ten refusals a second are logged; the next line says how many were not."""
    clock.move(10)
    for _ in range(25):
        client.get("/models", headers={"X-API-Key": "guess"})
    assert len(audited(caplog)) == 10
    clock.move(1)
    client.get("/metrics", headers=header_of("infer"))
    assert audited(caplog)[-1] == {
        "event": "refused",
        "reason": "missing_scope",
        "caller": "infer",
        "peer": "127.0.0.1",
        "suppressed": 15,
    }


def test_no_log_has_a_key(client: httpx.Client, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Neither good nor bad keys are in any line of any logger, at any level."""
    bad = "sluice_this-is-a-bad-key"
    with caplog.at_level(logging.DEBUG):
        for key in (KEYS["infer"], bad):
            for path in ("/models", "/metrics", "/v2/logging", "/nowhere"):
                client.get(path, headers={"X-API-Key": key})
                client.post(path, content=b"{", headers={"Authorization": f"Bearer {key}"})
    server_side = [record.getMessage() for record in caplog.records if not record.name.startswith("http")]
    assert server_side
    assert not any(key[:16] in line for line in server_side for key in (KEYS["infer"], bad))


class _Stranger:
    """The end of a Unix socket whose other end is another user's."""

    def __init__(self, user: int) -> None:
        self._user = user

    def get_extra_info(self, _: str) -> "_Stranger":
        return self

    def getsockopt(self, *_: int) -> bytes:
        return struct.pack("3i", 1, self._user, 1)


def test_socket_between_workers_is_closed_to_other_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can connect to it could load models: only this user, and root, may."""
    monkeypatch.setattr("os.getuid", lambda: 1000)
    found = [is_own_user(_Stranger(user)) for user in (1000, 0, 1001, 65534)]  # type: ignore[arg-type]  # a double
    assert found == [True, True, False, False]


async def _ask_as(folder: Path, done: list[Any]) -> bytes:
    async def apply(command: Any) -> str:
        done.append(command)
        return ""

    workers = Workers(folder, apply)
    await workers.open()
    try:
        [path] = glob.glob(f"{folder}/*.worker")  # once
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"do": "unload"}\n')
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = await reader.read()
        writer.close()
        return answer
    finally:
        await workers.close()


@pytest.mark.parametrize("is_own", [True, False])
def test_command_of_another_user_is_not_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_own: bool
) -> None:
    """The connection is closed before the command is read."""
    monkeypatch.setattr("service.workers.is_own_user", lambda _: is_own)
    done: list[Any] = []
    answer = asyncio.run(_ask_as(tmp_path, done))
    assert (answer, done) == ((b'""\n', [{"do": "unload"}]) if is_own else (b"", []))
