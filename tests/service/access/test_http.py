"""Ways in over HTTP that are tried and refused, on the fast path and through ASGI."""

import json
from typing import Any

import httpx
import pytest

from service.access.credentials import hash_credential
from service.access.routes import find_scope
from tests.service.access.asking import KEYS, Clock, header_of, settings_with_keys
from tests.support.answers import assert_error
from tests.support.grpc_servers import GrpcServing
from tests.support.servers import ServerPath, Serving
from tests.support.wires import INFER, Wire, body_of, request_bytes

KEY = KEYS["infer"]
BODY = body_of(2)
OPEN = {
    "/",
    "/live",
    "/docs",
    "/docs.json",
    "/web/{file:path}",
    "/livez",
    "/readyz",
    "/v2/health/live",
    "/v2/health/ready",
}
"""The routes that need no key."""

NO_KEYS: dict[str, tuple[str, ...]] = {
    "none": (),
    "empty": ("X-API-Key:",),
    "blank": ("X-API-Key:    ",),
    "no scheme": (f"Authorization: {KEY}",),
    "scheme without a key": ("Authorization: Bearer",),
    "scheme and blanks": ("Authorization: Bearer    ",),
    "another scheme": (f"Authorization: Basic {KEY}",),
    "scheme with more letters": (f"Authorization: BearerX {KEY}",),
    "two keys in one": (f"Authorization: Bearer wrong {KEY}",),
    "list of keys": (f"X-API-Key: wrong, {KEY}",),
    "good one, then a bad one": (f"Authorization: Bearer {KEY}", "Authorization: Bearer wrong"),
    "bad one, then a good one": ("Authorization: Bearer wrong", f"Authorization: Bearer {KEY}"),
    "the same one twice": (f"Authorization: Bearer {KEY}", f"Authorization: Bearer {KEY}"),
    "two fields": (f"Authorization: Bearer {KEY}", f"X-API-Key: {KEYS['admin']}"),
    "one with a foreign scheme beside it": ("Authorization: Basic YTpi", f"X-API-Key: {KEY}"),
    "cut": (f"X-API-Key: {KEY[:-1]}",),
    "longer": (f"X-API-Key: {KEY}a",),
    "other case": (f"X-API-Key: {KEY.swapcase()}",),
    "in quotes": (f'X-API-Key: "{KEY}"',),
    "its hash": (f"X-API-Key: {hash_credential(KEY.encode()).hex()}",),
    "field with underscores": (f"X_API_Key: {KEY}",),
    "cookie": (f"Cookie: X-API-Key={KEY}; authorization=Bearer {KEY}",),
    "for a proxy": (f"Proxy-Authorization: Bearer {KEY}",),
    "subprotocol": (f"Sec-WebSocket-Protocol: sluice, sluice-key.{KEY}",),
    "name of a key": ("X-API-Key: infer",),
    "claims of a proxy": ("X-Forwarded-User: admin", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1"),
    "foreign letters": ("X-API-Key: clé",),
    "very long": (f"X-API-Key: {'a' * 60_000}",),
}

PATHS = (
    *(INFER, INFER + "/", INFER + "//", "//v2/models/double/infer", "/v2//models/double/infer"),
    *("/v2/models/double%2Finfer", "/%76%32/models/double/infer", "/v2/models/double/versions/1/infer"),
    *("/v2/models/double/infer?", "/v2/models/double/infer;x=/livez", "/livez/../v2/models", "/livez%2f..%2fmetrics"),
    *("/web/../metrics", "/web/%2e%2e/metrics", "/web/..%2fmetrics", "/METRICS", "/metrics", "/metrics/", "/%6detrics"),
    *("/models", "/models/", "/v2", "/v2/models", "/v1/models", "/v2/models/stats", "/v2/models/double/config"),
    *("/v2/repository/index", "/v2/repository/models/double/unload", "/v2/repository/models/double%2Funload"),
    *("/v2/logging", "/v2/trace/setting", "/v2/models/double/trace/setting", "/schema.json", "/nowhere", "/livez/x"),
    *("/readyz?/../metrics", "http://evil.example/v2/models", "/livez%00/metrics", "/livez/%2e%2e/models"),
)


def ask(client: httpx.Client, **headers: str) -> httpx.Response:
    return client.post(INFER, content=BODY, headers={name.replace("_", "-"): text for name, text in headers.items()})


@pytest.mark.parametrize("headers", NO_KEYS.values(), ids=NO_KEYS)
def test_request_without_exactly_one_good_key_is_refused(wire: Wire, headers: tuple[str, ...]) -> None:
    """The answer is 401 and names the scheme, whatever else the header has; the key is not repeated."""
    head = request_bytes(BODY, INFER, *headers).decode().encode("latin-1")
    wire.send(head)
    status, told, body = wire.read()
    assert (status, told["www-authenticate"].split(",")[0]) == (401, 'Bearer realm="sluice"')
    assert KEY[:12] not in body.decode()


@pytest.mark.parametrize(
    "field",
    [f"x-api-KEY: {KEY}", f"AUTHORIZATION: bEaReR {KEY}", f"Authorization:Bearer   {KEY}  ", f"X-Api-Key:\t{KEY}"],
)
def test_case_of_the_field_and_scheme_does_not_matter(wire: Wire, field: str) -> None:
    """RFC 9110 makes both case-insensitive, and ignores blanks around a value."""
    wire.send(request_bytes(BODY, INFER, field))
    assert wire.read_y() == 4


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", PATHS)
def test_no_way_to_write_a_path_goes_around_the_guard(server: GrpcServing, path: str, method: str) -> None:
    """Doubled slashes, encoded letters, dots, parameters and slashes at the end change nothing: it is 401."""
    with Wire(server) as wire:
        wire.send(request_bytes(BODY if method == "POST" else b"", path, method=method))
        status, _, body = wire.read()
    expected = {401} if not path.startswith("/readyz?") else {200, 405}
    assert status in expected, body
    assert b"sluice_requests" not in body
    assert b"platform" not in body


@pytest.mark.parametrize("place", ["api_key=", "X-API-Key=", "authorization=Bearer%20", "access_token="])
def test_key_in_the_address_does_not_count(client: httpx.Client, place: str) -> None:
    """It would land in logs and histories."""
    assert_error(client.post(f"{INFER}?{place}{KEY}", content=BODY), 401, "expected a key as")
    assert_error(client.get(f"/models?{place}{KEY}"), 401, "expected a key as")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
def test_other_methods_are_no_way_around(client: httpx.Client, method: str) -> None:
    """Each is asked for a key too."""
    assert {client.request(method, path).status_code for path in ("/models", "/metrics", INFER)} == {401}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-HTTP-Method-Override": "GET"},
        {"X-Method-Override": "POST"},
        {"X-Original-URL": "/livez", "X-Rewrite-URL": "/livez"},
        {"X-Forwarded-Prefix": "/livez"},
    ],
)
def test_headers_that_other_servers_obey_change_nothing(client: httpx.Client, headers: dict[str, str]) -> None:
    """Neither the method nor the path of a request comes from them."""
    assert_error(client.post("/v2/logging", json={}, headers=headers), 401, "expected a key as")
    assert_error(client.get("/models", headers=headers), 401, "expected a key as")
    assert client.post("/livez", headers={**headers, "X-Original-URL": "/models"}).status_code == 405


def test_every_route_but_the_open_ones_needs_a_key(server: GrpcServing, client: httpx.Client) -> None:
    """The routes are those of the running server, so a new one is asked for a key too."""
    tables: Any = server.worker.information
    paths = {route.path for route in tables.routes} | {path for path in server.worker.handler.starts if path[0] == "/"}
    assert paths >= OPEN
    for path in sorted(paths):
        concrete = path.replace("{file:path}", "style.css").format(model="double", version="1", region="r")
        found = {client.request(method, concrete).status_code for method in ("GET", "POST")}
        assert (401 not in found) if path in OPEN else found == {401}, path


def test_open_routes_say_nothing_of_the_models(client: httpx.Client) -> None:
    """Pages, documents and probes are the same whatever the store has."""
    for path in ("/", "/live", "/docs", "/docs.json", "/livez", "/readyz", "/v2/health/ready", "/web/style.css"):
        answer = client.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 200, path
        assert "double" not in answer.text.replace("doubled", ""), path


@pytest.mark.parametrize(
    ("key", "route", "status"),
    [
        ("infer", "POST " + INFER, 200),
        ("infer", "GET /models", 200),
        ("infer", "POST /v2/repository/index", 200),
        ("infer", "GET /metrics", 403),
        ("infer", "GET /v2/logging", 403),
        ("infer", "POST /v2/logging", 403),
        ("infer", "POST /v2/repository/models/double/load", 403),
        ("infer", "POST /v2/repository/models/double%2Fload", 403),
        ("infer", "POST /v2/models/double/trace/setting", 403),
        ("metrics", "GET /metrics", 200),
        ("metrics", "POST " + INFER, 403),
        ("metrics", "GET /models", 403),
        ("metrics", "POST /v2/logging", 403),
        ("admin", "POST /v2/logging", 200),
        ("admin", "GET /v2/trace/setting", 200),
        ("admin", "POST /v2/repository/models/double/load", 200),
        ("admin", "POST " + INFER, 403),
        ("admin", "GET /metrics", 403),
    ],
)
def test_key_opens_only_what_its_scopes_name(
    client: httpx.Client, clock: Clock, key: str, route: str, status: int
) -> None:
    """A 403 names the key and the scope that it lacks."""
    method, path = route.split(" ")
    content = BODY if path == INFER else b"{}" if method == "POST" else None
    answer = client.request(method, path, content=content, headers=header_of(key))
    assert answer.status_code == status, answer.text
    if status == 403:
        needed = find_scope(path.replace("%2F", "/"))
        assert_error(answer, 403, f"key {key!r}: expected one with the scope {needed}")
        assert f'scope="{needed}"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    "head",
    [
        f"POST {INFER} HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n",
        f"POST {INFER} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n",
        f"POST {INFER} HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        "POST /v2/logging HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n",
        f"POST {INFER} HTTP/1.0\r\nContent-Length: 1000\r\n\r\n",
        f"POST {INFER} HTTP/1.1\r\nHost: t\r\nContent-Length: 99\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
    ids=["length", "chunks", "100-continue", "administration", "HTTP/1.0", "upgrade"],
)
def test_refusal_comes_before_the_body(wire: Wire, head: str) -> None:
    """A caller without a key is answered when its header is there, and its connection ends."""
    wire.send(head.encode())
    status, headers, _ = wire.read()
    assert (status, headers.get("connection")) == (401, "close")
    assert wire.is_closed_by_server()


def test_body_that_is_too_large_is_not_a_way_to_learn_the_limit(wire: Wire) -> None:
    """Without a key the answer is 401, whatever the length of the body."""
    wire.send(f"POST {INFER} HTTP/1.1\r\nHost: t\r\nContent-Length: {10**12}\r\n\r\n".encode())
    assert wire.read()[0] == 401


def test_header_over_the_limit_is_refused_as_such(wire: Wire) -> None:
    """A credential of more than 64 KiB is a header that is too large, before anything is compared."""
    wire.send(request_bytes(BODY, INFER, f"X-API-Key: {'a' * 70_000}"))
    assert wire.read()[0] == 431


def test_limits_are_told_and_kept(client: httpx.Client, clock: Clock) -> None:
    """The third request of a second is 429 with the time to wait; each answer has what is left."""
    answers = [ask(client, **header_of("limited")) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"requests";q=2;w=1, "rows-per-day";q=5;w=86400;qu="rows"'
    assert answers[0].headers["ratelimit"] == '"requests";r=1;t=1, "rows-per-day";r=4;t=86400'
    assert (answers[2].headers["retry-after"], answers[2].headers["ratelimit"][:18]) == ("1", '"requests";r=0;t=1')
    assert_error(answers[2], 429, "key 'limited': expected at most 2 requests in 1 s")
    assert client.get("/models", headers=header_of("limited")).status_code == 429
    assert ask(client, **header_of("other")).status_code == 200
    clock.move(0.5)
    found = client.get("/models", headers=header_of("limited"))
    assert (found.status_code, found.headers["ratelimit"][:18]) == (200, '"requests";r=0;t=1')


@pytest.mark.parametrize("route", ["infer", "predict"])
def test_rows_are_counted_before_they_run(client: httpx.Client, clock: Clock, route: str) -> None:
    """A request with more rows than are left of the day is 429, by both protocols, and takes nothing."""

    def send(rows: int) -> httpx.Response:
        clock.move(1)
        if route == "predict":
            body: Any = {"instances": [{"x": [1, 2, 3]}] * rows}
            return client.post("/v1/models/double:predict", json=body, headers=header_of("limited"))
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 3], "data": [1] * 3 * rows}]}
        return client.post(INFER, json=body, headers=header_of("limited"))

    answers = [send(rows) for rows in (3, 3, 2, 1)]
    assert [answer.status_code for answer in answers] == [200, 429, 200, 429], answers[1].text
    assert "expected at most 5 rows in 86400 s" in answers[1].json()["error"]
    assert int(answers[1].headers["retry-after"]) == 86_399
    clock.move(86_400)
    assert send(3).status_code == 200


def test_new_head_and_known_binary_request_are_charged_alike(client: httpx.Client, clock: Clock) -> None:
    """A request whose JSON part came before takes the short way, which counts its rows too."""
    part = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}}]}
    text = json.dumps(part).encode()
    headers = {**header_of("limited"), "Inference-Header-Content-Length": str(len(text))}
    found = []
    for _ in range(3):
        clock.move(1)
        found.append(client.post(INFER, content=text + bytes(24), headers=headers).status_code)
    assert found == [200, 200, 429]


def test_prefix_of_all_routes_is_no_way_around(plain_store: Any, tmp_path: Any, server_path: ServerPath) -> None:
    """With a base path, neither the routes below it nor those without it are open."""
    settings = settings_with_keys(plain_store, tmp_path / "keys.toml", base_path="/team")
    with Serving(settings, server_path) as server, server.client() as client:
        for path in ("/team/models", "/team//models", "/models", "/team/../models", "/teamx/models", "/team/metrics/"):
            assert client.get(path).status_code == 401, path
        assert client.post("/team" + INFER, content=BODY).status_code == 401
        assert client.post("/team" + INFER, content=BODY, headers=header_of("infer")).status_code == 200
        assert client.get("/team/livez").status_code == 200


def test_preflight_needs_no_key_but_lets_no_stranger_in(
    plain_store: Any, tmp_path: Any, server_path: ServerPath
) -> None:
    """Browsers send no key with it. It allows Authorization to named origins only, and the request itself needs one."""
    page = "https://page.example"
    settings = settings_with_keys(plain_store, tmp_path / "keys.toml", cors_origins=(page,))
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with Serving(settings, server_path) as server, server.client() as client:
        good = client.options(INFER, headers={**asked, "Origin": page})
        assert (good.status_code, good.headers["access-control-allow-headers"]) == (200, "authorization")
        assert "access-control-allow-credentials" not in good.headers
        assert client.options(INFER, headers={**asked, "Origin": "https://evil.example"}).status_code == 403
        refused = client.post(INFER, content=BODY, headers={"Origin": page})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, page)
        assert "WWW-Authenticate" in refused.headers["access-control-expose-headers"]


def test_refusals_are_counted(client: httpx.Client) -> None:
    """The metrics tell how many callers came without a key or a scope, without anything that they sent."""
    ask(client)
    client.get("/metrics", headers=header_of("infer"))
    text = client.get("/metrics", headers=header_of("metrics")).text
    assert 'sluice_rejected_total{model="",reason="unauthenticated"}' in text
    assert 'sluice_rejected_total{model="",reason="missing_scope"}' in text
    assert KEY not in text
