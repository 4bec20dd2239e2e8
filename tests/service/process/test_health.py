"""`sluice health`, as a container asks."""

from pathlib import Path

import pytest

from service.process.health import ask_ready, read_server_flags
from service.settings import Settings
from tests.support.connections.certificates import Authority
from tests.support.models import graphs
from tests.support.servers import ASGI, Serving, settings_for


@pytest.fixture
def store(tmp_path: Path) -> Path:
    graphs.write_plain(tmp_path / "store", "double", graphs.double())
    return tmp_path / "store"


def test_base_path_and_port_are_followed(store: Path, tmp_path: Path) -> None:
    """The server is asked at the port and base path of its settings. The reason is what the route answers."""
    settings = settings_for(store, base_path="/team/sluice", host="0.0.0.0")  # noqa: S104
    with Serving(settings, ASGI) as server:
        assert ask_ready(settings.replace(port=server.port)) == ""
        assert ask_ready(settings.replace(port=server.port, base_path="")).startswith("404 ")
    assert "refused" in ask_ready(settings.replace(port=server.port))
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "model.onnx").write_bytes(b"no graph")
    settings = settings_for(tmp_path)
    with Serving(settings, ASGI) as server:
        assert ask_ready(settings.replace(port=server.port)).startswith("503 ")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_is_followed(store: Path, tmp_path: Path) -> None:
    """With a certificate the server is asked over TLS, whatever name the certificate is for."""
    certificate, key = Authority(tmp_path).issue("sluice.example")
    settings = settings_for(store, tls_certificate=certificate, tls_key=key)
    with Serving(settings, ASGI, tls=(certificate, key)) as server:
        assert ask_ready(settings.replace(port=server.port)) == ""
        assert ask_ready(Settings(port=server.port)) != ""


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["python", "/opt/sluice/bin/sluice", "serve", "--port", "8080"], ["--port", "8080"]),
        (["/sbin/docker-init", "--", "sluice", "serve", "--port=8080"], ["--port=8080"]),
        (["/sbin/init", "splash"], []),
    ],
)
def test_flags_of_a_container_are_found(tmp_path: Path, words: list[str], flags: list[str]) -> None:
    """Process 1 of a container is the server, or what starts it; elsewhere it is neither."""
    path = tmp_path / "cmdline"
    path.write_text("\0".join(words) + "\0")
    assert read_server_flags(path) == flags
    assert read_server_flags(tmp_path / "none") == []
