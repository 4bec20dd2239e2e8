"""What is done to a request to damage it. Each mutation takes a request and a seeded source of chance."""

import copy
import gzip
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tests.fuzz.requests import LENGTH, MODELS, Request, make_request

Mutation = Callable[[Request, Random], None]

_LEAST_TIMEOUT_US = 60_000_000
"""A shorter one may really pass while others are served, and then 504 is the right answer."""
_NUMBERS = (0, -1, 1, 2, 3, 7, 64, 65, 255, 256, 1 << 15, 1 << 31, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, 1 << 63)
_VALUES: tuple[Any, ...] = (
    *_NUMBERS,
    *(-(1 << 63), 1 << 64, 10**40, 0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), float("-inf")),
    *(None, True, False, "", "x", "y", "1", "FP32", "FP16", "BF16", "BYTES", "INT8", "\0", "\ud800", "é" * 300),
    *([], {}, [[]], [1], [1, 2], [[1], [2, 3]], ["a"], [None], [True, 1], {"name": "x"}, {"binary_data_size": 8}),
)
_KEYS = (
    *("id", "name", "shape", "datatype", "data", "parameters", "inputs", "outputs", "", "x", "triton_x", "headers"),
    *("binary_data_size", "binary_data", "binary_data_output", "classification", "priority", "sequence_end"),
    *("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"),
)
_TOKENS = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"\0", b"\xff", b"\xc3", b"null", b"NaN"),
    *(b"Infinity", b"-", b"1e999", b"1e-999", b".", b"0x1", b"01", b" " * 50, b'"data":[', b'"data":', b"/*", b"\n"),
    *(b"9" * 400, b"[" * 200, b'{"a":' * 200, b'"inputs":[]', b"true", b"\xef\xbb\xbf", b"-0", b"1" + b"0" * 5000),
)
_HEADER_VALUES = (
    *("", " ", "0", "-1", "1e3", "abc", "close", "1, 2", "0x10", "9" * 30, "a" * 3000, ";q=", "*", "é", "1.5", "+4"),
)
_HEADER_NAMES = (
    *("Content-Type", "Accept", "Accept-Encoding", "X-Request-Id", "Cookie", "Range", "If-None-Match", "TE", LENGTH),
    *("Traceparent", "Expect", "Upgrade", "Connection", "Forwarded", "X-Forwarded-For", "Authorization", "Trailer"),
)
_PATHS = (
    *("/v2/models//infer", "/v2/models/x/versions//infer", "/v2/models/x/versions/-1/infer", "/v2/models/%2e%2e/infer"),
    *("/v2/models/floats/infer/", "/v2/models/floats/versions/99999999999999999999/infer", "/v2/models/floats/Infer"),
    *("/v2/models/floats/infer?a=b&&=%", "//v2/models/floats/infer", "/v2/models/%66loats/infer", "/v2/models/%/infer"),
    *("/v2/models/%ff%fe/infer", "/v2/models/floats%00/infer", "/v2/models/floats/versions/latest/infer", "*"),
    *("/v2/models/floats/versions/1.0/infer", "/v2/models/" + "a" * 3000 + "/infer", "http://h/v2/models/floats/infer"),
)
_METHODS = ("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")


def mutate(random: Random) -> Request:
    """A request, damaged once to four times; seldom not at all."""
    request = make_request(random)
    for _ in range(random.choice((0, 1, 1, 1, 1, 2, 2, 3, 4))):
        change = random.choice(_MUTATIONS)
        change(request, random)
        request.changes.append(change.__name__)
    if random.random() < 0.05:
        request.damage = random.choice((_flip_head, _cut))(random)
        request.is_cut = True
        request.changes.append("damage")
    return request


# JSON


def change_value(request: Request, random: Random) -> None:
    holder, key = random.choice(list(_places(request.header)))
    holder[key] = _value(random)
    _spare_deadlines(request)


def remove_field(request: Request, random: Random) -> None:
    holder, key = random.choice(list(_places(request.header)))
    del holder[key]


def add_field(request: Request, random: Random) -> None:
    objects = [request.header, *(h[k] for h, k in _places(request.header) if isinstance(h[k], dict))]
    holder = random.choice([item for item in objects if isinstance(item, dict)] or [{}])
    holder[random.choice(_KEYS)] = _value(random)


def add_parameter(request: Request, random: Random) -> None:
    if isinstance(request.header, dict) and isinstance(request.header.setdefault("parameters", {}), dict):
        request.header["parameters"][random.choice(("priority", "timeout", *_KEYS))] = _value(random)
        _spare_deadlines(request)


def ask_for_classes(request: Request, random: Random) -> None:
    if isinstance(request.header, dict):
        name = random.choice(("y", "total", "negative", "q"))
        request.header["outputs"] = [{"name": name, "parameters": {"classification": _value(random)}}]


def repeat_items(request: Request, random: Random) -> None:
    arrays = [h[k] for h, k in _places(request.header) if isinstance(h[k], list) and h[k]]
    if arrays:
        array = random.choice(arrays)
        array.extend([random.choice(array)] * random.choice((1, 2, 255, 300)))


def nest(request: Request, random: Random) -> None:
    holder, key = random.choice(list(_places(request.header)))
    value = holder[key]
    for _ in range(random.choice((1, 2, 99, 101, 150))):
        value = [value]
    holder[key] = value


def change_text(request: Request, random: Random) -> None:
    request.text = _damage(request.json_text(), random, _TOKENS)
    if isinstance(request.header_bytes, int) and request.header_bytes and random.random() < 0.7:
        request.header_bytes = len(request.text)


# Lengths and tensors


def fit_header_length(request: Request, random: Random) -> None:
    """After other changes: so that what they did is found by the parser and not by its length."""
    request.header_bytes = len(request.json_text())


def change_header_length(request: Request, random: Random) -> None:
    size = len(request.json_text())
    request.header_bytes = random.choice((0, 1, size - 1, size + 1, size + len(request.tail), *_HEADER_VALUES))


def change_tensors(request: Request, random: Random) -> None:
    request.tail = _damage(request.tail, random, (b"\xff" * 4, b"\0" * 8, b"\x7f", bytes(300), b"\xff\xff\xff\x7f"))


# HTTP


def change_path(request: Request, random: Random) -> None:
    request.path = random.choice((*_PATHS, *(f"/v2/models/{name}/infer" for name in MODELS)))


def change_method(request: Request, random: Random) -> None:
    request.method = random.choice(_METHODS)


def add_headers(request: Request, random: Random) -> None:
    for _ in range(random.choice((1, 1, 2, 50))):
        request.headers.append((random.choice(_HEADER_NAMES), random.choice(_HEADER_VALUES)))


def send_chunks(request: Request, random: Random) -> None:
    request.chunks = random.choice((1, 7, 100, 100_000))


def change_length(request: Request, random: Random) -> None:
    """The rest of the body is then no request, or the server waits for more than will come."""
    request.length = random.choice(("0", "1", "7", "100", "100000", *_HEADER_VALUES))
    request.is_cut = True


def change_transfer(request: Request, random: Random) -> None:
    coding = random.choice(("chunked", "gzip, chunked", "identity", "chunked, chunked", "xchunked", *_HEADER_VALUES))
    request.headers.append(("Transfer-Encoding", coding))
    request.is_cut = True


def expect_continue(request: Request, random: Random) -> None:
    request.headers.append(("Expect", "100-continue"))


# Compression


def compress(request: Request, random: Random) -> None:
    _pack(request, random, lambda body, pack: pack(body))


def damage_compressed(request: Request, random: Random) -> None:
    seed = random.getrandbits(32)
    _pack(request, random, lambda body, pack: _damage(pack(body), Random(seed), (b"\0", b"\xff", b"\x1f\x8b")))


def compress_in_name_only(request: Request, random: Random) -> None:
    request.headers.append(("Content-Encoding", random.choice(("gzip", "deflate", "br", "", "identity", "gzip, gzip"))))


def send_bomb(request: Request, random: Random) -> None:
    size = random.choice((1 << 16, 1 << 21, 1 << 23))
    _pack(request, random, lambda body, pack: pack(body + bytes(size)))


def ask_compressed(request: Request, random: Random) -> None:
    request.headers.append(("Accept-Encoding", random.choice(("gzip", "deflate;q=0.5, gzip;q=0", "*", "gzip;q=2"))))


_MUTATIONS: tuple[Mutation, ...] = (
    *(change_value, change_value, change_value, remove_field, add_field, add_parameter, ask_for_classes, repeat_items),
    *(nest, change_text, change_text, fit_header_length, fit_header_length, change_header_length, change_tensors),
    *(change_path, change_method, add_headers, send_chunks, change_length, change_transfer),
    *(compress, damage_compressed, compress_in_name_only, send_bomb, ask_compressed),
    expect_continue,
)


def _value(random: Random) -> Any:
    return copy.deepcopy(random.choice(_VALUES))  # others may change it


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (holder, key) inside, whose value can be replaced; never none."""
    yield from _inner_places(value)
    yield {"nothing": 0}, "nothing"


def _inner_places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys: list[Any] = [*value] if isinstance(value, dict) else [*range(len(value))] if isinstance(value, list) else []
    for key in keys[:20]:
        yield value, key
        if len(keys) > 1 or not isinstance(value, list):  # not into what was nested deeply
            yield from _inner_places(value[key])


def _spare_deadlines(request: Request) -> None:
    parameters = request.header.get("parameters") if isinstance(request.header, dict) else None
    if isinstance(parameters, dict) and isinstance(timeout := parameters.get("timeout"), (int, float)):
        parameters["timeout"] = timeout if timeout <= 0 else max(timeout, _LEAST_TIMEOUT_US)


def _damage(content: bytes, random: Random, tokens: tuple[bytes, ...]) -> bytes:
    """Flip, cut, repeat or insert, once to five times."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 5)):
        at = random.randrange(len(changed) + 1)
        end = min(len(changed), at + random.randint(1, 20))
        kind = random.randrange(4)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            del changed[at:end]
        elif kind == 2:
            changed[at:at] = changed[at:end]
        else:
            changed[at:at] = random.choice(tokens)
    return bytes(changed)


def _pack(request: Request, random: Random, work: Callable[[bytes, Callable[[bytes], bytes]], bytes]) -> None:
    coding, pack = random.choice((("gzip", _gzip), ("deflate", zlib.compress)))
    request.headers.append(("Content-Encoding", coding))
    request.pack = lambda body: work(body, pack)


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, 1, mtime=0)


def _flip_head(random: Random) -> Callable[[bytes], bytes]:
    """Any byte of the first hundred: the request line or a header may be none afterwards."""
    at, bit = random.randrange(100), 1 << random.randrange(8)

    def flip(message: bytes) -> bytes:
        i = at % len(message)
        return message[:i] + bytes([message[i] ^ bit]) + message[i + 1 :]

    return flip


def _cut(random: Random) -> Callable[[bytes], bytes]:
    """The caller goes in the middle of the request."""
    share = random.random()
    return lambda message: message[: max(1, int(share * len(message)))]
