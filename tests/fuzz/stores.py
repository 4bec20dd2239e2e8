"""Damages the small files of a store: as bytes, as JSON, or as something that is no file."""

import copy
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

Damage = Callable[[bytes, Random], bytes]

_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 1 << 31, 1 << 63, 1 << 64, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "1", "m", "stable", "main.onnx", "manifest.json", "model.sig", "../m", "/etc/passwd", "..", ".", "a/b", "\0"),
    *("\ud800", "\x1b[31m", "\u202e", "é" * 300, "a" * 100_000, "$(id)", "{x}", "%s", "\n", "file:///etc/passwd"),
    *([], {}, [[]], [1], ["a"], [None], {"": 1}, {"a": {}}, [1] * 5000, {"stable": 1}, {"sha256": "0" * 64}),
)
_TOKENS = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"\0", b"\xff", b"\xc3", b"null", b"NaN"),
    *(b"Infinity", b"1e999", b"01", b"\xef\xbb\xbf", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000),
    *(b'"\x1b]0;x\x07"', b'"a":1,"a":2,', b"//", b"'", b"\r", b"\x80" * 100, b"=" * 3),
)


def damage(content: bytes, random: Random) -> bytes:
    """Damage a file that holds JSON once to three times."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        content = random.choice((change_value, change_value, remove, add, nest, change_bytes, flip, cut))(
            content, random
        )
    return content


def change_value(content: bytes, random: Random) -> bytes:
    def change(holder: Any, key: Any) -> None:
        value = holder[key]
        is_text = isinstance(value, str) and value and random.random() < 0.3
        holder[key] = _spoil(value, random) if is_text else random.choice(_VALUES)

    return _change(content, random, change)


def _spoil(text: str, random: Random) -> str:
    at = random.randrange(len(text))
    return text[:at] + random.choice(("", "A", "/", "=", "é", "\0", "0")) + text[at + 1 :]


def remove(content: bytes, random: Random) -> bytes:
    def change(holder: Any, key: Any) -> None:
        del holder[key]

    return _change(content, random, change)


def add(content: bytes, random: Random) -> bytes:
    def change(holder: Any, key: Any) -> None:
        if isinstance(holder, dict):
            holder[random.choice(("", "x", "stable", "_type", "é", "__class__", str(key).upper()))] = random.choice(
                _VALUES
            )
        else:
            holder.extend(copy.deepcopy(holder) * random.choice((1, 2, 50)))

    return _change(content, random, change)


def nest(content: bytes, random: Random) -> bytes:
    def change(holder: Any, key: Any) -> None:
        for _ in range(random.choice((1, 2, 200))):
            holder[key] = random.choice(([holder[key]], {"a": holder[key]}))

    return _change(content, random, change)


def _change(content: bytes, random: Random, change: Callable[[Any, Any], None]) -> bytes:
    """Change one place of the JSON; bytes that are none are flipped."""
    try:
        found = {"": json.loads(content)}
        places = list(_places(found))
        if len(places) > 1 and random.random() < 0.9:
            places = places[1:]  # seldom the whole
        change(*random.choice(places))
        return json.dumps(found.get("")).encode()
    except (ValueError, RecursionError):
        return flip(content, random)


def _places(holder: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key])


def change_bytes(content: bytes, random: Random) -> bytes:
    at = random.randrange(len(content) + 1)
    end = at + random.choice((0, 0, 1, 4, 50))
    return content[:at] + random.choice(_TOKENS) + content[end:]


def flip(content: bytes, random: Random) -> bytes:
    changed = bytearray(content or b"\0")
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def be_folder(path: Path) -> None:
    path.mkdir()
    (path / path.name).touch()


def be_ring(path: Path) -> None:
    path.symlink_to(path.name)


def be_link_out(path: Path) -> None:
    path.symlink_to("/proc/self/environ")


def be_broken_link(path: Path) -> None:
    path.symlink_to("nothing")


def be_endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def be_pipe(path: Path) -> None:
    os.mkfifo(path)


def be_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        before = Path.cwd()
        os.chdir(path.parent)  # the path of a socket is short
        try:
            listener.bind(path.name)
        finally:
            os.chdir(before)


def be_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 42)


KINDS = (be_folder, be_ring, be_link_out, be_broken_link, be_endless, be_pipe, be_socket, be_huge)
"""What may lie where a file is expected. Each makes it at a path."""
