"""The files of TLS, as they are read when the server starts."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import Settings, SettingsError
from service.transport.fast.loop import loop_factory
from service.transport.tls import read_identity
from tests.support.connections.certificates import Authority
from tests.support.processes import REPOSITORY


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"TLS_CERTIFICATE": "a.pem"}, "SLUICE_TLS_CERTIFICATE is set: expected SLUICE_TLS_KEY too"),
        ({"TLS_KEY": "a.pem"}, "SLUICE_TLS_KEY is set: expected SLUICE_TLS_CERTIFICATE too"),
        ({"TLS_CLIENT_CA": "a.pem"}, "SLUICE_TLS_CLIENT_CA is set: expected SLUICE_TLS_KEY too"),
    ],
)
def test_half_an_identity_is_refused(given: dict[str, str], text: str) -> None:
    """A certificate without a key, a key without a certificate, and an authority without both are refused."""
    with pytest.raises(SettingsError, match=text):
        Settings.from_environ({f"SLUICE_{name}": value for name, value in given.items()})


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key", "tls_client_ca"])
@pytest.mark.parametrize("what", ["missing", "folder", "other bytes"])
def test_file_that_cannot_be_used_is_named(authority: Authority, tmp_path: Path, name: str, what: str) -> None:
    """The error names the setting, its value and what was expected of the file."""
    path = tmp_path / "file.pem"
    if what == "folder":
        path.mkdir()
    elif what == "other bytes":
        path.write_bytes(b"no PEM at all")
    certificate, key = authority.issue("whole")
    files = {"tls_certificate": certificate, "tls_key": key, "tls_client_ca": authority.certificate, name: path}
    with pytest.raises(SettingsError) as caught:
        read_identity(Settings().replace(**files))
    assert f"SLUICE_{name.upper()}={path}" in str(caught.value)
    expected = {"missing": "No such file", "folder": "Is a directory", "other bytes": "expected "}
    assert expected[what] in str(caught.value)


@pytest.mark.parametrize("passphrase", [None, "a secret"], ids=["key of another", "key with a passphrase"])
def test_key_that_cannot_be_used_is_refused(authority: Authority, passphrase: str | None) -> None:
    """A key of another certificate and a key with a passphrase are refused."""
    certificate, key = authority.issue("one", passphrase=passphrase)
    if passphrase is None:
        _, key = authority.issue("two")
    expected = "expected PEM files of a certificate chain and of its key without a passphrase"
    with pytest.raises(SettingsError, match=expected):
        read_identity(Settings(tls_certificate=certificate, tls_key=key))


def test_identity_is_what_the_files_hold(authority: Authority) -> None:
    """The identity has the bytes of the files; without settings there is none."""
    certificate, key = authority.issue("held")
    identity = read_identity(Settings(tls_certificate=certificate, tls_key=key, tls_client_ca=authority.certificate))
    assert identity == (certificate.read_bytes(), key.read_bytes(), authority.certificate.read_bytes())
    plain = read_identity(Settings(tls_certificate=certificate, tls_key=key))
    assert plain == (certificate.read_bytes(), key.read_bytes(), None)
    assert read_identity(Settings()) is None


def test_missing_file_ends_the_start_with_its_name(tmp_path: Path) -> None:
    """`sluice serve` ends with code 2 and the name of the setting, before any worker is started."""
    missing = str(tmp_path / "none.pem")
    environ = {**os.environ, "SLUICE_TLS_CERTIFICATE": missing, "SLUICE_TLS_KEY": missing}
    command = [sys.executable, "-m", "sluice", "serve"]
    done = subprocess.run(command, env=environ, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"SLUICE_TLS_CERTIFICATE={missing}: expected a file that can be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_handshake_that_does_not_end_is_broken_off(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that connects and does not begin a handshake is disconnected after the time of a header."""
    monkeypatch.setenv("SLUICE_HEADER_TIMEOUT_S", "0.2")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("patient"))

    async def connect_silently() -> bytes:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=context)
        plain = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        plain.close()
        async with server:
            with socket.socket() as silent:
                silent.setblocking(False)
                await loop.sock_connect(silent, server.sockets[0].getsockname())
                async with asyncio.timeout(30):
                    return await loop.sock_recv(silent, 1)

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert runner.run(connect_silently()) == b""
