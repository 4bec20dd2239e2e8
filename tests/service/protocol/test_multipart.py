"""Forms with files: what is refused, what is bounded, and that everything else comes through byte by byte."""

import io
import sys
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidInput
from service.protocol.multipart import File, parse_multipart

TYPE = "multipart/form-data; boundary=frontier"
FIELD = b'Content-Disposition: form-data; name="k"'


def join(*parts: bytes, boundary: bytes = b"frontier") -> bytes:
    """A body of parts that are given with their headers."""
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def part(value: bytes = b"v", *headers: bytes, name: str = "k") -> bytes:
    disposition = b'Content-Disposition: form-data; name="%s"' % name.encode()
    return b"\r\n".join([disposition, *headers]) + b"\r\n\r\n" + value


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "multipart/form-data",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "a" * 71,
        'multipart/form-data; boundary="ends with a blank "',
        "multipart/form-data; boundary=a\r\nb",
        "multipart/form-data; boundary=\u1234",
        "multipart/form-data; boundary*=utf-8''a",
    ],
)
def test_boundary_that_is_missing_or_wrong_is_refused(content_type: str) -> None:
    """A boundary must have 1 to 70 of the characters of RFC 2046."""
    with pytest.raises(InvalidInput, match=r"^content-type: expected multipart/form-data; boundary="):
        parse_multipart(join(part()), content_type)


WHOLE = join(part(b"value"), part(b"\r\n--front", b"Content-Type: image/png", name="image"))
MALFORMED = {
    "empty": (b"", "closing boundary"),
    "JSON": (b'{"inputs": []}', "malformed"),
    "another boundary": (join(part(), boundary=b"other"), "malformed"),
    "longer boundary": (join(part(), part(), boundary=b"frontiers"), "line break after the boundary"),
    "blanks after a boundary": (join(part()).replace(b"\r\n--frontier--", b"\r\n--frontier  --"), "line break after"),
    "no closing boundary": (join(part())[: -len(b"\r\n--frontier--\r\n")], "closing boundary"),
    "header without a colon": (join(b"rubbish\r\n\r\nv"), "malformed"),
    "header name with a blank": (join(b"a b: c\r\n\r\nv"), "malformed"),
    "lines that end in LF": (join(part()).replace(b"\r\n", b"\n"), "malformed"),
    "no headers": (join(b"\r\nv"), "^part 1: expected the header Content-Disposition"),
    "no disposition": (join(part(), b"Content-Type: a/b\r\n\r\nv"), "^part 2: expected the header Content-Disposition"),
    "no name": (join(b"Content-Disposition: form-data\r\n\r\nv"), "^part 1: expected the header"),
    "attachment": (join(part().replace(b"form-data", b"attachment")), "^part 1: expected the header"),
    "header too long": (join(part(b"v", b"X-Long: " + b"a" * 4096)), "malformed.*header size"),
    "header name too long": (join(part(b"v", b"a" * 5000 + b": b")), "malformed.*header size"),
    "too many headers": (join(part(b"v", *[b"X-Many: %d" % i for i in range(8)])), "malformed.*header count"),
    "field of no text": (join(part(b"\xff\xfe")), "^k: expected UTF-8, got "),
    "name of no text": (join(part().replace(b'"k"', b'"\xff"')), "^part 1: name: expected UTF-8"),
    "field twice": (join(part(b"1"), part(b"2")), "^k: expected one field of this name, got two$"),
    "base64": (join(part(b"dg==", b"Content-Transfer-Encoding: BASE64")), r"^part 1 \(k\): .* got 'base64'$"),
}


@pytest.mark.parametrize(("body", "complaint"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_body_is_refused(body: bytes, complaint: str) -> None:
    """A malformed form is refused with what was expected."""
    with pytest.raises(InvalidInput, match=complaint):
        parse_multipart(body, TYPE)


def test_body_cut_anywhere_is_refused() -> None:
    """A form that is cut anywhere is refused."""
    assert len(parse_multipart(WHOLE[: -len(b"\r\n")], TYPE).files) == 1
    for length in range(len(WHOLE) - len(b"\r\n")):
        with pytest.raises(InvalidInput):
            parse_multipart(WHOLE[:length], TYPE)


def test_parts_and_content_type_are_limited() -> None:
    """As many parts as the limit are allowed, one more is not; a content type that is too long is refused unparsed."""
    parts = [part(name=f"k{i}") for i in range(4)]
    assert len(parse_multipart(join(*parts), TYPE, max_parts=4).fields) == 4
    with pytest.raises(InvalidInput, match=r"^body: expected at most 3 parts, got more$"):
        parse_multipart(join(*parts), TYPE, max_parts=3)
    with pytest.raises(InvalidInput, match=r"^content-type: expected at most 1024 characters, got 1000\d\d$"):
        parse_multipart(b"", TYPE + "; name=" + "a" * 100_000 + "; b")


HOSTILE = {
    "blanks at first": b"--b" + b" " * (4 << 20) + b"\r\n",
    "blanks": b"--b\r\n" + FIELD + b"\r\n\r\nv\r\n--b" + b" " * (4 << 20) + b"\r\n",
    "almost boundaries": b"--b\r\n" + FIELD + b"\r\n\r\n" + b"\r\n--bX" * (1 << 20),
    "empty parts": b"--b\r\n" + b"\r\n--b\r\n" * (1 << 20),
    "one header": b"--b\r\n" + b"X:" * (1 << 20),
    "empty lines": b"\r\n" * (1 << 20),
    "hyphens": b"-" * (4 << 20),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_body_is_refused_without_a_loop_over_its_bytes(body: bytes) -> None:
    """Megabytes that a loop over bytes would spend long on are refused in few steps of Python."""
    steps = 0

    def count(*_: Any) -> Any:
        nonlocal steps
        steps += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        with pytest.raises(InvalidInput):
            parse_multipart(body, "multipart/form-data; boundary=b")
    finally:
        sys.settrace(before)
    assert steps < 10_000


def test_fields_and_files_are_told_apart() -> None:
    """A part with a file name or a picture's media type is a file; any other is a field."""
    body = join(
        part(b"3", name="top_k"),
        part(b"[1]", b"Content-Type: application/json", name="inputs"),
        b'Content-Disposition: form-data; name="image"; filename="a;b.png"\r\n'
        b"Content-Type: Image/PNG; q=1\r\n\r\n\x89PNG",
        part(b"\xff\xd8", b"content-type: image/jpeg", name="image"),
        b'content-disposition: FORM-DATA; filename=""; name=other\r\n\r\n',
    )
    form = parse_multipart(memoryview(body), TYPE)
    assert form.fields == {"top_k": "3", "inputs": "[1]"}
    assert form.files == [
        ("image", "a;b.png", "image/png", b"\x89PNG"),
        ("image", "", "image/jpeg", b"\xff\xd8"),
        ("other", "", "text/plain", b""),
    ]
    assert form.files[0].media_type == "image/png"


@pytest.mark.parametrize(
    ("body", "fields"),
    [(b"--frontier--\r\n", {}), (b"\r\n" + join(part(b"v")) + b"the end", {"k": "v"})],
    ids=["no parts", "more around the parts"],
)
def test_only_parts_count(body: bytes, fields: dict[str, str]) -> None:
    """A closing boundary alone is an empty form; what comes before the first boundary and after the last is ignored."""
    form = parse_multipart(body, TYPE)
    assert (form.fields, form.files) == (fields, [])


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)


@settings(deadline=None, max_examples=50)
@given(
    fields=st.dictionaries(NAMES, st.text(st.characters(codec="utf-8"), max_size=20), max_size=3),
    files=st.lists(st.tuples(NAMES.filter(lambda n: not set(n) & set('"\\')), st.binary(max_size=200)), max_size=3),
)
def test_what_a_client_sends_comes_through(fields: dict[str, str], files: list[tuple[str, bytes]]) -> None:
    """The fields and files that httpx puts into a form are found in it, byte by byte and in order."""
    fields = {name.translate({ord('"'): None, ord("\\"): None}) or "k": value for name, value in fields.items()}
    sent: list[Any] = [("image", (name, io.BytesIO(content), "image/png")) for name, content in files]
    sent = sent or [("image", ("", b"", "image/png"))]
    request = httpx.Request("POST", "http://host/", data=fields, files=sent)
    form = parse_multipart(request.read(), request.headers["content-type"])
    assert form.fields == fields
    assert form.files == [File("image", *file) for file in ((n, "image/png", c) for n, c in files or [("", b"")])]


@settings(deadline=None, max_examples=100)
@given(at=st.integers(0, len(WHOLE)), replacement=st.binary(max_size=4), length=st.integers(0, 4))
def test_damage_anywhere_is_refused_or_harmless(at: int, replacement: bytes, length: int) -> None:
    """A form that is changed anywhere is read or refused, and never fails."""
    try:
        form = parse_multipart(WHOLE[:at] + replacement + WHOLE[at + length :], TYPE)
    except InvalidInput:
        return
    assert len(form.fields) + len(form.files) <= 2
