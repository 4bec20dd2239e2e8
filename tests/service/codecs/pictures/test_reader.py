"""Pictures of requests: the texts that carry them, and whose fault it is that one cannot be read."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.tasks import Image
from service.codecs.pictures.reader import decode_base64, decode_pixels
from service.errors import BodyTooLarge, InvalidInput, UnsupportedMedia

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")


def test_what_cannot_be_read_is_an_unsupported_medium() -> None:
    """The caller is at fault, and is told which picture it was."""
    with pytest.raises(UnsupportedMedia, match=r"^body: expected a "):
        decode_pixels(PNG[:-30], Image(input="x", channels=1), 10, "body")
    with pytest.raises(BodyTooLarge, match=r"^body: expected at most 0 pixels, got 1 x 1$"):
        decode_pixels(PNG, Image(input="x", channels=1), 0, "body")


@pytest.mark.parametrize("text", ["%", "a", "abc=d", "YWJj\n", "é", "data:image/png;base64,YWJj"])
def test_text_that_is_no_base64_is_refused(text: str) -> None:
    """Anything but clean base64 is refused, named, and shown in part."""
    with pytest.raises(InvalidInput, match=r"^inputs\[3\]: expected a base64 text, got '"):
        decode_base64(text, "inputs[3]")


@settings(deadline=None, max_examples=50)
@given(content=st.binary(max_size=64))
def test_base64_is_decoded(content: bytes) -> None:
    """Bytes that were encoded come back."""
    assert decode_base64(base64.b64encode(content).decode(), "x") == content
