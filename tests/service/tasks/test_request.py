"""What callers send to a task route."""

import json
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codecs.pictures.reader import RowFile
from service.errors import InvalidInput
from service.tasks.request import FromText, TaskOptions, TaskRequest, prefers_picture, read_request, takes_long

PNG = b"\x89PNG not looked into here"

INTEGERS = st.integers(-(2**63), 2**64 - 1)  # JSON parsers read others as floats


class Options(TaskOptions):
    number: int = 0
    parts: Annotated[list[int | str] | None, FromText] = None


def read(
    body: bytes = b"{}", content_type: str = "application/json", query: bytes = b"", accept: str = "*/*"
) -> TaskRequest:
    return read_request(body, content_type, query, accept)


def form(*parts: tuple[str, bytes]) -> tuple[bytes, str]:
    """A multipart body of (headers after form-data, content), and its content type."""
    body = b"".join(
        b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    )
    return body + b"--b--\r\n", "multipart/form-data; boundary=b"


def file(name: str, media_type: str, content: bytes = PNG) -> tuple[str, bytes]:
    return f'name="{name}"; filename="{name}.png"\r\nContent-Type: {media_type}', content


@pytest.mark.parametrize(
    ("body", "content_type", "query", "complaint"),
    [
        (b"", "application/json", b"", "body: expected JSON"),
        (b"[]", "application/json", b"", "body: expected a JSON object, got an array"),
        (b'{"inputs": 3}', "application/json", b"", "inputs: expected an array of rows, got a number"),
        (b'{"inputs": {}}', "application/json", b"", "inputs: expected an array of rows, got an object"),
        (b'{"inputs": "abc"}', "application/json", b"", "inputs: expected an array of rows, got a string"),
        (*form(('name="inputs"', b"[1]")), b"", "inputs: expected them in a JSON body"),
        (b"{}", "application/json", b"inputs=1", "inputs: expected"),
        (b"{}", "application/json", b"%66=%ff", "query: expected"),
        (b"{}", "application/json", b"&".join(b"f%d=1" % i for i in range(101)), "query: expected"),
        (b'{"top_k": 1}', "application/json", b"top_k=2", "top_k: expected once, got it twice"),
        (b"{}", "application/json", b"top_k=2&top_k=3", "top_k: expected once, got it twice"),
        (PNG, "image/png", b"top_k=2&top_k=2", "top_k: expected once, got it twice"),
        (*form(('name="top_k"', b"1")), b"top_k=1", "top_k: expected once, got it twice"),
    ],
)
def test_malformed_request_is_refused(body: bytes, content_type: str, query: bytes, complaint: str) -> None:
    """A body is a JSON object whose rows are an array, fields are UTF-8, not too many, and each is given once."""
    with pytest.raises(InvalidInput, match=f"^{complaint}"):
        read(body, content_type, query)


@pytest.mark.parametrize("media_type", ["", "application/octet-stream", "application/json", "text/plain", "image/webp"])
@pytest.mark.parametrize(
    "start",
    [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"II*\0", b"MM\0*", b"BM"],
)
def test_first_bytes_say_that_a_body_is_a_picture(start: bytes, media_type: str) -> None:
    """The content type may be missing or wrong; no JSON begins like a picture."""
    assert read(start, media_type) == TaskRequest({}, [RowFile(start, "body")], True, False)


@pytest.mark.parametrize("media_type", ["", "application/json", "text/plain", "video/ogg"])
@pytest.mark.parametrize("start", [b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS", b"ID3\4", b"\xff\xfb\x90\x64"])
def test_first_bytes_say_that_a_body_is_a_sound(start: bytes, media_type: str) -> None:
    """Of WAV, FLAC, OGG and MP3. A content type of audio says it too."""
    wanted = TaskRequest({}, [RowFile(start, "body")], True)
    assert read(start, media_type) == wanted
    assert read(b"{}", "audio/x-wav; q=1").rows == [RowFile(b"{}", "body")]
    assert read(*form(('name="a"\r\nContent-Type: audio/wav', start))).rows == [RowFile(start, "file 0 (a)")]


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("audio/wav", True),
        ("audio/*", True),
        ("audio/x-wav, application/json;q=0.9", True),
        ("audio/wav;q=0", False),
        ("audio/wav, application/json", False),
        ("audio/mpeg", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_accept_says_that_a_sound_is_wanted(accept: str, wanted: bool) -> None:
    """If it prefers WAV to JSON."""
    assert read(b"{}", accept=accept).wants_sound is wanted


@pytest.mark.parametrize("media_type", ["image/gif", "image/svg+xml", "image/*", "IMAGE/TIFF; q=1"])
def test_content_type_says_that_a_body_is_meant_as_a_picture(media_type: str) -> None:
    """Whatever it holds is a row, and so is each file of a form, which is named by number and name."""
    assert read(b"{}", media_type).rows == [RowFile(b"{}", "body")]
    request = read(*form(file("a", "image/png"), file("b", "text/plain", b"{}")))
    assert request.rows == [RowFile(PNG, "file 0 (a.png)"), RowFile(b"{}", "file 1 (b.png)")]


def test_json_object_is_fields_and_rows() -> None:
    """Rows are taken out of the fields; what is left are the options, to which a query string adds texts."""
    assert read(b'{"inputs": [[1]], "top_k": 3}') == TaskRequest({"top_k": 3}, [[1]], False, False)
    assert read(b'{"seed": 1}').rows is None
    assert read(b'{"seed": 1}', query=b"number=3") == TaskRequest({"seed": 1, "number": "3"}, None, True, False)


@pytest.mark.parametrize(
    ("start", "expected"), [(b"{", True), (b"--form", True), (b"\xff\xd8\xff", False), (b"OggS", False)]
)
def test_large_file_is_read_as_fast_as_a_small_one(start: bytes, expected: bool) -> None:
    """Large JSON and forms take long to read. A picture or sound is not looked at yet, and a small body never is."""
    assert takes_long(start.ljust(1 << 17)) is expected
    assert not takes_long(start)


@pytest.mark.parametrize("content_type", ["", "application/x-www-form-urlencoded", "text/plain"])
def test_unknown_content_type_is_read_as_json(content_type: str) -> None:
    """`curl -d` sends JSON under the name of a form."""
    assert read(b'{"inputs": [1]}', content_type).rows == [1]


def test_body_of_plain_text_is_one_row() -> None:
    """In UTF-8, with options in the query string. A JSON object is a request: browsers give JSON this type."""
    found = read("[Zürich] is {big}".encode(), "text/plain; charset=UTF-8", b"top_k=2")
    assert found == TaskRequest({"top_k": "2"}, ["[Zürich] is {big}"], True, False)
    assert read(b"{big}", "text/plain").rows == ["{big}"]
    assert read(b' {"inputs": [1]}', "text/plain").rows == [1]
    with pytest.raises(InvalidInput, match=r"^body: expected a text in UTF-8, got other bytes"):
        read(b"\xff\xfe", "text/plain")


def test_files_called_compare_are_what_rows_are_compared_with() -> None:
    """They are an option, like the array of that name in JSON."""
    found = read(*form(file("a", "image/png"), file("compare", "image/png", b"1"), file("compare", "image/png", b"2")))
    assert [row.content for row in found.rows or ()] == [PNG]
    assert [row.content for row in found.fields["compare"]] == [b"1", b"2"]
    with pytest.raises(InvalidInput, match="compare: expected once, got it twice"):
        read(*form(file("compare", "image/png")), query=b"compare=[1]")


def test_files_of_a_form_are_rows_in_order() -> None:
    """A picture as the body, and files of a form in their order, are rows; query and other fields are the options."""
    body, content_type = form(
        file("b", "image/png", b"1"), ('name="top_k"', b"3"), file("a", "application/octet-stream", b"2")
    )
    request = read(body, content_type, b"model=m")
    assert [row.content for row in request.rows or []] == [b"1", b"2"]
    assert (request.fields, request.loose) == ({"top_k": "3", "model": "m"}, True)
    assert read(*form(('name="count"', b"3"))).rows is None
    request = read(PNG, "Image/PNG; x=y", b"top_k=3&model=a%20b&note=")
    assert request == TaskRequest({"top_k": "3", "model": "a b", "note": ""}, [RowFile(PNG, "body")], True, False)


@pytest.mark.parametrize(
    ("fields", "loose", "complaint"),
    [
        ({"number": "3"}, False, r"number: expected a valid integer \(got '3'\)"),
        ({"number": 2.5}, False, r"number: .*integer.* \(got 2.5\)"),
        ({"number": True}, False, "number: expected a valid integer"),
        ({"model": 3}, False, "model: expected a valid string"),
        ({"version": 1.5}, False, "version"),
        ({"version": True}, False, "version"),
        ({"number": "x"}, True, "number: .*integer"),
        ({"parts": "1,2"}, False, "parts: expected a valid list"),
        ({"parts": "[1"}, True, "parts: .*expected JSON"),
        ({"stream": 1}, False, "stream: expected a valid boolean"),
        ({"other": 1}, False, "other: unknown field"),
        ({"other": None}, False, "other: unknown field"),
    ],
)
def test_faulty_option_is_refused_by_name(fields: dict[str, Any], loose: bool, complaint: str) -> None:
    """Numbers as texts are fine in a query string and a fault in JSON; what is unknown is a fault in both."""
    with pytest.raises(InvalidInput, match=complaint):
        Options.parse(fields, loose)


def test_option_that_is_null_is_as_absent() -> None:
    """Programs that write what they do not use as null get the defaults."""
    assert Options.parse(dict.fromkeys(("model", "stream", "number", "parts"))) == Options()


def test_texts_say_the_same_as_json() -> None:
    """Lists are JSON or parts between commas."""
    strict = Options.parse({"number": 3, "parts": ["a", "b"], "stream": True, "version": "2"})
    for parts in ("a, b", '["a", "b"]'):
        texts = {"number": "3", "parts": parts, "stream": "true", "version": "2"}
        assert Options.parse(texts, loose=True) == strict


@pytest.mark.parametrize(
    ("accept", "picture"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("image/jpeg", False),
        ("image/png", True),
        ("IMAGE/PNG", True),
        ("image/*", True),
        ("image/png, */*", True),
        ("image/png, application/json", False),
        ("image/png;q=0.9, application/json;q=0.8", True),
        ("image/png;q=0.8, application/json;q=0.9", False),
        ("image/png;q=0", False),
        ("image/png;q=0, application/json;q=0", False),
        ("image/*, image/png;q=0", False),
        ("image/png;q=x", False),
        ("image/avif,image/webp,image/*,*/*;q=0.8", True),
        ("text/html,application/xhtml+xml,image/avif,image/png,*/*;q=0.8", True),
    ],
)
def test_accept_decides_by_quality_then_by_exactness(accept: str, picture: bool) -> None:
    """The answer is JSON unless the header prefers a picture, or likes both and names the picture more exactly."""
    assert prefers_picture(accept) is picture
    assert read(accept=accept).wants_picture is picture


@given(st.text(max_size=60))
def test_any_accept_header_is_understood(accept: str) -> None:
    """A header that is not a list of media types never fails a request."""
    prefers_picture("image/png" + accept)


@given(st.dictionaries(st.text(min_size=1).filter(lambda name: name != "inputs"), INTEGERS, max_size=5))
def test_json_fields_come_through_unchanged(fields: dict[str, int]) -> None:
    """Fields keep their names and values."""
    assert read(json.dumps({**fields, "inputs": [0]}).encode()) == TaskRequest(fields, [0], False, False)
