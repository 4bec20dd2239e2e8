"""Pages of other origins, over both paths: the headers that browsers get, and none where CORS is off."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.transport.cors import Cors
from service.transport.grpc.codes import METADATA
from tests.support.models import graphs
from tests.support.servers import ServerPath, Serving, settings_for
from tests.support.wires import INFER, Wire, body_of, request_bytes

PAGE, OTHER, STRANGER = "https://page.example", "http://localhost:8080", "https://page.example.evil.example"
EXPOSED = {
    "access-control-expose-headers": "Inference-Header-Content-Length, X-Request-Id, Server-Timing, Traceresponse, "
    "Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate"
}
GOOD: dict[str, Any] = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
ROUTES = (
    *(INFER, "/v2/models/double/versions/1/infer", "/v2/models/double/generate_stream", "/v1/models/double:predict"),
    *("/classify", "/v2/models/double", "/v2/repository/index", "/readyz", "/metrics", "/", "/docs", "/nowhere"),
)
ANSWERS: dict[str, tuple[str, str, Any, int]] = {
    "tensors": ("POST", INFER, GOOD, 200),
    "malformed": ("POST", INFER, {}, 400),
    "unknown model": ("POST", "/v2/models/nobody/infer", GOOD, 404),
    "failure": ("POST", "/v2/models/exhausting/generate", {"x": 9}, 500),
    "stream": ("POST", "/v2/models/double/generate_stream", {"x": [1, 2, 3]}, 200),
    "too large": ("POST", INFER, "x" * 5000, 413),
    "wrong method": ("GET", INFER, None, 405),
    "metadata": ("GET", "/v2/models/double", None, 200),
    "unknown route": ("GET", "/nowhere", None, 404),
}


@pytest.fixture(scope="module")
def server(server_path: ServerPath, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    root = tmp_path_factory.mktemp("store")
    graphs.write_plain(root, "double", graphs.double())
    graphs.write_plain(root, "exhausting", graphs.exhausting())
    settings = settings_for(root, max_body_bytes=4096, cors_origins=(PAGE, OTHER))
    with Serving(settings, server_path) as serving:
        yield serving


def ask(client: httpx.Client, case: tuple[str, str, Any, int], **headers: str) -> httpx.Response:
    method, path, body, status = case
    response = client.request(method, path, json=body, headers=headers)
    assert response.status_code == status, response.text
    return response


def told(response: httpx.Response) -> dict[str, str]:
    """The headers for browsers, without ``Vary``."""
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-")}


def preflight(client: httpx.Client, path: str, origin: str, **more: str) -> httpx.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST", **more}
    return client.options(path, headers=headers)


@pytest.mark.parametrize("case", ANSWERS.values(), ids=ANSWERS.keys())
def test_only_a_named_origin_may_read_an_answer(client: httpx.Client, case: tuple[str, str, Any, int]) -> None:
    """Answers, errors and streams name the origin if it is allowed. Other origins get no such header."""
    of_page = {"access-control-allow-origin": PAGE, **EXPOSED}
    for origin, expected in ((PAGE, of_page), (STRANGER, {}), ("null", {}), (None, {})):
        response = ask(client, case, **({"Origin": origin} if origin else {}))
        assert (told(response), response.headers["vary"]) == (expected, "Origin")


def test_preflight_of_a_stranger_is_refused(client: httpx.Client) -> None:
    """A preflight of an origin that is not allowed is 403, and the error names the setting."""
    for path in ROUTES:
        response = preflight(client, path, STRANGER, **{"X-Request-Id": "mine"})
        assert (response.status_code, told(response)) == (403, {})
        assert f"origin {STRANGER!r}: expected one that SLUICE_CORS_ORIGINS names" in response.json()["error"]
        assert response.json()["request_id"] == response.headers["x-request-id"] == "mine"


def test_options_without_a_question_are_no_preflight(client: httpx.Client) -> None:
    """OPTIONS without the headers of a preflight is 405."""
    response = client.options(INFER, headers={"Origin": PAGE})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.headers["access-control-allow-origin"] == PAGE
    assert client.options(INFER, headers={"Access-Control-Request-Method": "POST"}).status_code == 405


@pytest.mark.parametrize("origin", [PAGE, OTHER])
def test_preflight_is_answered_on_every_route(client: httpx.Client, origin: str) -> None:
    """A preflight is answered on every route, known or not. Headers are allowed if they are valid names."""
    asked = "content-type,inference-header-content-length, x-key"
    for path in ROUTES:
        response = preflight(client, path, origin, **{"Access-Control-Request-Headers": asked})
        assert (response.status_code, response.content) == (200, b"")
        assert told(response) == {
            "access-control-allow-origin": origin,
            "access-control-allow-methods": "GET, HEAD, POST",
            "access-control-allow-headers": asked,
            "access-control-max-age": "3600",
            **EXPOSED,
        }
        assert response.headers["vary"] == "Origin, Access-Control-Request-Headers"
    response = preflight(client, INFER, PAGE, **{"Access-Control-Request-Headers": "a b; c"})
    assert (response.status_code, "access-control-allow-headers" in response.headers) == (200, False)


def test_each_request_of_a_connection_is_told_its_own(server: Serving) -> None:
    """On one connection each answer is for the origin of its own request, also when heads come again."""
    with Wire(server) as wire:
        for origin in (PAGE, PAGE, OTHER, STRANGER, PAGE):
            wire.send(request_bytes(body_of(1), INFER, f"Origin: {origin}"))
            _, headers, _ = wire.read()
            assert headers.get("access-control-allow-origin") == (None if origin == STRANGER else origin)


@pytest.mark.parametrize(("origins", "allowed", "status"), [((PAGE, "*"), "*", 200), ((), None, 405)], ids=["*", "off"])
def test_setting_decides_for_all_origins(
    server: Serving, server_path: ServerPath, origins: tuple[str, ...], allowed: str | None, status: int
) -> None:
    """With * every answer and preflight allows all origins; without the setting none does."""
    settings = server.worker.settings.replace(cors_origins=origins)
    with Serving(settings, server_path) as other, other.client() as client:
        for case in ANSWERS.values():
            response = ask(client, case, Origin=STRANGER)
            assert response.headers.get("access-control-allow-origin") == allowed
            assert not {"vary", "access-control-allow-credentials"} & response.headers.keys()
        response = preflight(client, INFER, "null")
        assert (response.status_code, response.headers.get("access-control-allow-origin")) == (status, allowed)


@pytest.mark.parametrize(
    ("setting", "origin"),
    [
        ("https://page.example:443", "https://page.example"),
        ("http://page.example:80", "http://page.example"),
        ("HTTPS://Page.Example", "https://page.example"),
        ("app://page", "app://page"),
    ],
)
def test_origins_are_compared_as_browsers_write_them(setting: str, origin: str) -> None:
    """Origins are compared in lower case and without the default port."""
    headers = dict(Cors([setting]).headers_for({b"origin": origin.encode()}))
    assert headers[b"access-control-allow-origin"] == origin.encode()


def test_pages_may_read_what_callers_over_grpc_get() -> None:
    """Every header that a caller over gRPC gets as metadata is one that a page may read, that of its trace too."""
    headers = dict(Cors([PAGE]).headers_for({b"origin": PAGE.encode()}))
    exposed = headers[b"access-control-expose-headers"].lower().split(b", ")
    assert set(METADATA) <= set(exposed)
