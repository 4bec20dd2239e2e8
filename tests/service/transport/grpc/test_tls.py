"""gRPC over TLS, by tritonclient: who is let in and who is not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.support.connections.certificates import Authority
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
    with triton.InferenceServerClient(server.grpc_url, **options) as client:
        assert client.is_model_ready("double", client_timeout=20)
        values: list[list[float]] = client.infer("double", ones(), client_timeout=20).as_numpy("y").tolist()
        return values


def files(authority: Authority, identity: tuple[Path, Path] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"ssl": True, "root_certificates": str(authority.certificate)}
    if identity is not None:
        found |= {"certificate_chain": str(identity[0]), "private_key": str(identity[1])}
    return found


@pytest.mark.parametrize("who", ["plain", "trusts another", "none", "of another", "ours"])
def test_who_fits_is_served(tls_server: GrpcServing, authority: Authority, stranger: Authority, who: str) -> None:
    """A client that speaks TLS and trusts us is served, with a certificate where an authority of clients is set."""
    options = {
        "plain": {},
        "trusts another": files(stranger),
        "none": files(authority),
        "of another": files(authority, stranger.issue("client")),
        "ours": files(authority, authority.issue("client")),
    }[who]
    needs_certificate = tls_server.worker.settings.tls_client_ca is not None
    if who == "ours" or (who in ("none", "of another") and not needs_certificate):
        assert ask(tls_server, **options) == [[2, 2, 2]]
        return
    with pytest.raises(InferenceServerException) as caught:
        ask(tls_server, **options)
    assert caught.value.status() == "StatusCode.UNAVAILABLE"
