"""Pages of others in a browser that can reach the server.

Published for Ray: CVE-2025-62593 (a page of another origin starts jobs, by a name that is resolved to this machine),
CVE-2026-27482 (DELETE was not looked at); for all servers that trust callers on this machine.
"""

import pytest

from tests.service.vulnerabilities.conftest import Target, X
from tests.support.wires import Wire, request_bytes

CHANGES = (
    *("/v2/repository/models/double/load", "/v2/repository/models/double/unload"),
    *("/v2/logging", "/v2/trace/setting", "/v2/models/double/trace/setting"),
)
SIMPLE = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a")
"""Types that a page may send to another origin without being asked."""
BROWSER = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def ask(target: Target, method: str, path: str, *headers: str) -> int:
    """The status; ``{port}`` in a header is that of the server."""
    request = request_bytes(b"{}", path, BROWSER, *headers, method=method).replace(b"Host: test\r\n", b"")
    with Wire(target.server) as wire:
        wire.send(request.replace(b"{port}", str(target.server.port).encode()))
        return wire.read_head()[0]


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("media_type", SIMPLE)
def test_a_page_of_another_origin_changes_nothing(changeable: Target, path: str, media_type: str) -> None:
    """A form or a text that a page sends to 127.0.0.1 is refused, with and without what browsers say of its origin."""
    for said in ((), ("Origin: http://evil.example",), ("Origin: null",), ("Sec-Fetch-Site: cross-site",)):
        headers = ("Host: 127.0.0.1:{port}", f"Content-Type: {media_type}", *said)
        if said or "form-urlencoded" not in media_type:  # which `curl -d` sends, without an origin
            assert ask(changeable, "POST", path, *headers) in (403, 415)
    changeable.check_alive()


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "GET", "HEAD", "OPTIONS", "TRACE"])
def test_another_method_is_no_way_past_the_check(changeable: Target, path: str, method: str) -> None:
    """No change is made by another method than POST."""
    for origin in ("http://evil.example", "http://evil.example:{port}"):
        status = ask(changeable, method, path, "Host: evil.example:{port}", f"Origin: {origin}")
        assert status == 405 or (status == 200 and method in ("GET", "HEAD"))
    changeable.check_alive()


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1"])
def test_a_name_that_was_bound_to_this_machine_changes_nothing(changeable: Target, path: str, name: str) -> None:
    """A page whose own name is resolved to 127.0.0.1 has the origin of the server, but not a name of this machine."""
    own = (f"Host: {name}:{{port}}", "Content-Type: application/json")
    for said in ((f"Origin: http://{name}:{{port}}", "Sec-Fetch-Site: same-origin"), ()):
        assert ask(changeable, "POST", path, *own, *said) == 403
    changeable.check_alive()


def test_a_page_of_another_origin_reads_nothing(target: Target) -> None:
    """By default no answer may be read by a page of another origin, and no page may ask for more than a form can."""
    for method, headers in (
        ("GET", {"origin": "http://evil.example"}),
        ("OPTIONS", {"origin": "http://evil.example", "access-control-request-method": "POST"}),
        ("POST", {"origin": "http://evil.example"}),
    ):
        reply = target.client.request(method, "/v2/models/double/infer", headers=headers, json={"inputs": [X]})
        assert "access-control-allow-origin" not in reply.headers
    target.check_alive()


def test_a_page_of_another_origin_opens_no_stream(target: Target) -> None:
    """Browsers let any page open a WebSocket; the server asks where it comes from."""
    key = (
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: " + "A" * 22 + "==",
    )
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        status = ask(target, "GET", "/v2/models/double/stream", "Host: 127.0.0.1:{port}", f"Origin: {origin}", *key)
        assert status != 101
    target.check_alive()
