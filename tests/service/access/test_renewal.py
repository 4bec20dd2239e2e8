"""TLS: changed files count for new connections, and broken ones change nothing."""

import asyncio
import contextlib
import shutil
import socket
import ssl
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette

from service.process.channel import WorkerEnd
from service.process.server import WorkerServer
from service.settings import Settings
from service.transport.tls import LOOK_AGAIN_S, Identity, RenewedIdentity, use_identity
from tests.support.connections.certificates import Authority
from tests.support.grpc_servers import GrpcServing, settings_of


class Files:
    """The TLS files of a server, which a test replaces."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.certificate, self.key = folder / "served.pem", folder / "served-key.pem"
        self.pairs = [self.authority.issue(name) for name in ("first", "second", "third")]
        self.put(0)

    def put(self, number: int, key_of: int | None = None) -> None:
        """Put a pair in place; ``key_of``: the key of another one."""
        shutil.copy(self.pairs[number][0], self.certificate)
        shutil.copy(self.pairs[number if key_of is None else key_of][1], self.key)

    def settings(self) -> Settings:
        return Settings(tls_certificate=self.certificate, tls_key=self.key)

    def number_of(self, certificate: str) -> int:
        """Which pair a certificate in PEM is of."""
        found = [ssl.PEM_cert_to_DER_cert(path.read_text()) for path, _ in self.pairs]
        return found.index(ssl.PEM_cert_to_DER_cert(certificate))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def shown_by(context: ssl.SSLContext, files: Files) -> int:
    """The number of the pair that a server with this context shows to a new client."""
    client_context = ssl.create_default_context(cafile=str(files.authority.certificate))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
    server = context.wrap_bio(to_server, to_client, server_side=True)
    open_sides = [client, server]
    while open_sides:
        for side in list(open_sides):
            try:
                side.do_handshake()
                open_sides.remove(side)
            except ssl.SSLWantReadError:
                continue
    certificate = client.getpeercert(binary_form=True)
    assert certificate is not None
    return files.number_of(ssl.DER_cert_to_PEM_cert(certificate))


def make_server(files: Files) -> WorkerServer:
    config = uvicorn.Config(
        Starlette(), ssl_certfile=str(files.certificate), ssl_keyfile=str(files.key), log_config=None
    )
    config.load()
    ours, theirs = socket.socketpair()
    with ours:
        listener = socket.socket()
        settings = files.settings().replace(metrics_dir=files.certificate.parent)
        server = WorkerServer(config, settings, listener, WorkerEnd(theirs), lambda: pytest.fail("not asked"), 0)
        listener.close()
        theirs.close()
    return server


def test_next_connection_has_the_new_certificate(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are looked at when a connection comes, and at most every two seconds."""
    now = 100.0
    monkeypatch.setattr("service.process.server.time.monotonic", lambda: now)
    server = make_server(files)
    context = server.config.ssl
    assert context is not None
    server._renew_certificate()
    assert shown_by(context, files) == 0
    files.put(1)
    now += LOOK_AGAIN_S / 2
    server._renew_certificate()
    assert shown_by(context, files) == 0
    now += LOOK_AGAIN_S / 2
    server._renew_certificate()
    assert shown_by(context, files) == 1


@pytest.mark.parametrize("fault", ["key of another", "half a file", "no file", "no PEM"])
def test_broken_pair_changes_nothing(files: Files, caplog: pytest.LogCaptureFixture, fault: str) -> None:
    """It is logged without its contents, and the old one is still shown; a good pair counts again."""
    renewed = RenewedIdentity(files.settings())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert renewed.identity is not None
    use_identity(context, renewed.identity)
    files.put(1, key_of=2 if fault == "key of another" else None)
    if fault == "half a file":
        files.key.write_bytes(files.key.read_bytes()[:100])
    elif fault == "no file":
        files.certificate.unlink()
    elif fault == "no PEM":
        files.certificate.write_bytes(b"no PEM")
    assert renewed.renew(LOOK_AGAIN_S) is None
    assert "the changed TLS files cannot be used, the old ones stay in use" in caplog.text
    assert "PRIVATE" not in caplog.text
    assert shown_by(context, files) == 0
    files.put(1)
    found = renewed.renew(2 * LOOK_AGAIN_S)
    assert found is not None
    use_identity(context, found)
    assert shown_by(context, files) == 1


def test_failed_change_of_a_context_leaves_it_whole(files: Files) -> None:
    """A pair that does not fit is refused before it touches the context of the server."""
    renewed = RenewedIdentity(files.settings())
    files.put(2, key_of=1)
    assert renewed.renew(LOOK_AGAIN_S) is None
    assert renewed.identity is not None
    assert renewed.identity.certificate == files.pairs[0][0].read_bytes()


def test_no_tls_nothing_to_renew() -> None:
    """Without TLS no file is looked at."""
    renewed = RenewedIdentity(Settings())
    assert (renewed.identity, renewed.renew(1e9)) == (None, None)


def test_copies_in_memory_are_gone(files: Files) -> None:
    """No file of a key is left open."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    before = len(list(Path("/proc/self/fd").iterdir()))
    use_identity(context, Identity(files.certificate.read_bytes(), files.key.read_bytes(), None))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_grpc_shows_the_new_certificate(files: Files, plain_store: Path) -> None:
    """New channels get it, a broken pair changes nothing, and channels that are open go on."""
    settings = settings_of(plain_store, tls_certificate=files.certificate, tls_key=files.key, max_rows=8)
    with GrpcServing(settings) as server:
        assert server.worker.grpc is not None
        watched = server.worker.grpc._tls._files
        watched._every_s = 0.0
        watched._next_look = 0.0

        async def show() -> int:
            context = ssl.create_default_context(cafile=str(files.authority.certificate))
            context.set_alpn_protocols(["h2"])
            _, writer = await asyncio.open_connection("127.0.0.1", server.worker.grpc_port, ssl=context)
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return files.number_of(ssl.DER_cert_to_PEM_cert(shown))

        found = [asyncio.run(show())]
        files.put(1)
        found.append(asyncio.run(show()))
        files.put(2, key_of=0)
        found.append(asyncio.run(show()))
        files.put(2)
        found.append(asyncio.run(show()))
    assert found == [0, 1, 1, 2]
