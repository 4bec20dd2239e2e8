import sys

import pytest

from model_store.errors import StoreError
from model_store.sounds.formats import is_sound
from model_store.sounds.reading import require_library
from tests.support.sounds.encoding import KINDS, encode, sine


@pytest.mark.parametrize("kind", KINDS)
def test_sound_is_recognised_by_its_first_bytes(kind: str) -> None:
    """Sixteen of them are enough."""
    assert is_sound(encode(sine(0.1), kind=kind)[:16])


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"{",
        b'{"inputs": []}',
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBP",
        b"\xff\xfe{\0",
        b"\xff",
    ],
)
def test_other_content_is_no_sound(start: bytes) -> None:
    """JSON, pictures, and a text of UTF-16, which begins almost as an MP3."""
    assert not is_sound(start)


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    require_library("m version 1")
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(StoreError, match=r"m version 1: .* install sluice-serving\[sound\]"):
        require_library("m version 1")
