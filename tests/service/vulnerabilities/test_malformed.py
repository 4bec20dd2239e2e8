"""Requests that are malformed, huge or deep.

Published for Triton: CVE-2025-23310, CVE-2025-23311 (stack: bodies in tiny chunks), CVE-2025-33201 (large bodies),
CVE-2026-24146 (very many outputs), CVE-2026-24173, CVE-2024-0100 and CVE-2025-23268 (lengths that overflow or are not
checked); for BentoML: CVE-2024-9056 (the boundary of a form); for all: JSON that is deep.
"""

import json
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.service.vulnerabilities.conftest import Target, X
from tests.support.wires import Wire

INFER = "/v2/models/double/infer"
CHUNKS = 600_000
"""Of one byte: 3.6 MB on the wire, which was enough for Triton's stack."""


def in_chunks(path: str, count: int) -> Iterator[bytes]:
    head = (f"POST {path} HTTP/1.1", "Host: a", "Content-Type: application/json", "Transfer-Encoding: chunked", "", "")
    yield "\r\n".join(head).encode()
    for _ in range(count // 10_000):
        yield b"1\r\n \r\n" * 10_000
    yield b"0\r\n\r\n"


@pytest.mark.parametrize("path", [INFER, "/classify", "/v2/repository/index", "/v2/logging", "/nothing"])
def test_a_body_in_very_many_chunks_is_answered(target: Target, path: str) -> None:
    """A body of a chunk for each byte is read like any other, on the fast path and on the ASGI path."""
    with Wire(target.server) as wire:
        try:
            wire.send(*in_chunks(path, CHUNKS))
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was refused before its end
        else:
            status, _ = wire.read_head()
            assert status in (200, 400, 403, 404, 413, 415)
    target.check_alive()


@pytest.mark.parametrize("depth", [1_000, 1_000_000])
@pytest.mark.parametrize("path", [INFER, "/classify", "/v2/repository/index", "/v2/trace/setting"])
def test_deep_json_is_refused(target: Target, path: str, depth: int) -> None:
    """Arrays and objects within each other end no stack."""
    for opening in (b"[", b'{"inputs":', b'{"a":[{"b":'):
        body = opening * (depth // len(opening))
        target.check(target.client.post(path, content=body, headers={"content-type": "application/json"}))


def test_very_many_outputs_are_refused(target: Target) -> None:
    """A request that names more inputs or outputs than a model has is refused, not given memory for each."""
    for field in ("inputs", "outputs"):
        body = {"inputs": [X], field: [{**X, "name": f"y{i}"} for i in range(20_000)]}
        target.check(target.client.post(INFER, json=body))
        same = {"inputs": [X], field: [{**X, "name": "y"}] * 20_000}
        target.check(target.client.post(INFER, json=same))


@pytest.mark.parametrize(
    "shape",
    [
        *([1 << 62, 4], [1 << 32, 1 << 32], [(1 << 63) - 1, 3], [1 << 64, 3], [-1, 3], [0, 1 << 63]),
        *([1] * 10_000, [1, 3.0], ["1", 3], [True, 3], [], [1e300, 3]),
    ],
    ids=str,
)
def test_a_shape_that_overflows_is_refused(target: Target, shape: list[object]) -> None:
    """The product of a shape is not computed in so many bits that it wraps, as JSON and as bytes."""
    target.check(target.client.post(INFER, json={"inputs": [{**X, "shape": shape}]}))
    x = {"name": "x", "datatype": "FP32", "shape": shape, "parameters": {"binary_data_size": 12}}
    head = json.dumps({"inputs": [x]}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    target.check(target.client.post(INFER, content=head + bytes(12), headers=headers))


@pytest.mark.parametrize("size", [13, 1 << 31, 1 << 32, 1 << 63, (1 << 64) + 12, -12, 1e30, "12"])
def test_a_length_that_lies_is_refused(target: Target, size: object) -> None:
    """The length of binary data, of the JSON before them and of a text in them is compared with what came."""
    x = {"name": "x", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [x]}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    target.check(target.client.post(INFER, content=head + bytes(12), headers=headers))
    lying = {"inference-header-content-length": str(size)}
    target.check(target.client.post(INFER, content=b"{}", headers=lying))
    text = struct.pack("<I", 0xFFFF_FFFF) + b"a"
    texts = {"name": "x", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": len(text)}}
    head = json.dumps({"inputs": [texts]}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    target.check(target.client.post(INFER, content=head + text, headers=headers))


@pytest.mark.parametrize("tail", [b"", b"\r\n", b"-" * 1_000_000, b"\r\n--a" * 100_000])
def test_a_form_whose_boundary_is_followed_by_rubbish_is_refused(target: Target, tail: bytes) -> None:
    """What follows the boundary of a form takes no more time than its bytes, and long boundaries are refused."""
    body = b'--a\r\nContent-Disposition: form-data; name="inputs"; filename="a"\r\n\r\nx\r\n--a' + tail
    for boundary in ("a", "-" * 5_000, "", "a; charset=" + "b" * 5_000):
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        target.check(target.client.post("/classify", content=body, headers=headers))


def test_a_body_that_is_announced_as_huge_takes_no_memory(target: Target) -> None:
    """A body over the limit is refused by its length, before a byte of it has come."""
    for length in (1 << 40, 1 << 63, 10**30):
        with socket.create_connection(("127.0.0.1", target.server.port), timeout=20) as connection:
            connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode())
            assert connection.recv(4096).split()[1] in (b"400", b"413")
    target.check_alive()
