"""gRPC over TLS, by tritonclient: who is let in and who is not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.support.certificates import Authority
from tests.support.grpc_servers import GrpcServing, ones, settings_of
from tests.support.models import graphs


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module", params=[False, True], ids=["tls", "mutual tls"])
def tls_server(
    request: pytest.FixtureRequest, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GrpcServing]:
    store = graphs.write_plain(tmp_path_factory.mktemp("store"), "double", graphs.double())
    certificate, key = authority.issue("server")
    client_ca = authority.certificate if request.param else None
    settings = settings_of(store, tls_certificate=certificate, tls_key=key, tls_client_ca=client_ca)
    with GrpcServing(settings) as server:
        yield server


def ask(server: GrpcServing, **options: Any) -> list[list[float]]:
    with triton.InferenceServerClient(server.url, **options) as client:
        assert client.is_model_ready("double", client_timeout=20)
        values: list[list[float]] = client.infer("double", ones(), client_timeout=20).as_numpy("y").tolist()
        return values


def files(authority: Authority, identity: tuple[Path, Path] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"ssl": True, "root_certificates": str(authority.certificate)}
    if identity is not None:
        found |= {"certificate_chain": str(identity[0]), "private_key": str(identity[1])}
    return found


def test_plain_text_is_refused(tls_server: GrpcServing) -> None:
    """A client that does not begin with a handshake gets UNAVAILABLE, and the port goes on serving."""
    with pytest.raises(InferenceServerException) as caught:
        ask(tls_server)
    assert caught.value.status() == "StatusCode.UNAVAILABLE"


def test_client_that_trusts_another_authority_is_not_served(tls_server: GrpcServing, stranger: Authority) -> None:
    """It is the client that ends the handshake: the certificate is not one of its authority's."""
    with pytest.raises(InferenceServerException) as caught:
        ask(tls_server, **files(stranger))
    assert caught.value.status() == "StatusCode.UNAVAILABLE"


def test_client_without_the_certificate_that_is_asked_for_is_refused(
    tls_server: GrpcServing, authority: Authority, stranger: Authority
) -> None:
    """With an authority of clients those without a certificate of it are refused; without one all are served."""
    theirs = stranger.issue("client")
    if tls_server.worker.settings.tls_client_ca is None:
        assert ask(tls_server, **files(authority)) == [[2, 2, 2]]
        return
    for identity in (None, theirs):
        with pytest.raises(InferenceServerException) as caught:
            ask(tls_server, **files(authority, identity))
        assert caught.value.status() == "StatusCode.UNAVAILABLE"


def test_client_with_a_certificate_is_served(tls_server: GrpcServing, authority: Authority) -> None:
    """Questions and tensors go over TLS, for a client with a certificate of the authority also where none is needed."""
    assert ask(tls_server, **files(authority, authority.issue("client"))) == [[2, 2, 2]]
