"""Forms with files: multipart/form-data of RFC 7578, parsed by python-multipart within limits."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import InvalidInput

MEDIA_TYPE = "multipart/form-data"
MAX_HEADERS = 8  # of one part
MAX_HEADER_BYTES = 4096  # of one line of them
_MAX_CONTENT_TYPE = 1024  # characters
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046, section 5.1.1


class File(NamedTuple):
    """``name`` is that of the field. ``media_type`` is in lower case, without parameters."""

    name: str
    filename: str
    media_type: str
    content: bytes


class Form(NamedTuple):
    """Fields by name, and files in the order of the body. Files may have the same name."""

    fields: dict[str, str]
    files: list[File]


def parse_multipart(body: bytes | memoryview, content_type: str, max_parts: int = 64) -> Form:
    """Parse a complete body. ``content_type`` is the header, which has the boundary.

    A part is a file if it has a file name or the media type of a picture or sound; else it is a field in UTF-8.
    Raises InvalidInput for a wrong boundary, a malformed or cut body, too many parts or headers, a header that is too
    long, and a field that comes twice.
    """
    boundary = _read_boundary(content_type)
    content = bytes(body)
    # RFC 2046 forbids the boundary within parts. The library allows it, and is slow then.
    if stray := re.search(re.escape(b"\r\n--" + boundary) + rb"(?!\r\n|--)", content):
        raise InvalidInput(f"body: expected a line break after the boundary at byte {stray.start() + 2}, got none")
    reader = _Reader(max_parts)
    callbacks = {name: getattr(reader, name) for name in dir(reader) if name.startswith("on_")}
    parser = MultipartParser(
        boundary,
        callbacks,  # type: ignore[arg-type]  # a TypedDict of the same names
        max_header_count=MAX_HEADERS,
        max_header_size=MAX_HEADER_BYTES,
    )
    try:
        parser.write(content)
    except FormParserError as error:
        raise InvalidInput(f"body: expected {MEDIA_TYPE}, got a malformed one ({error})") from None
    if not reader.has_ended:
        raise InvalidInput(f"body: expected {MEDIA_TYPE} with a closing boundary, got none: it is cut or no form")
    form = Form({}, [])
    for i, part in enumerate(reader.parts):
        _add_part(form, part, f"part {i + 1}")
    return form


@dataclass
class _Part:
    headers: dict[bytes, bytes]
    content: bytes = b""


class _Reader:
    """The callbacks of the parser."""

    def __init__(self, max_parts: int) -> None:
        self.parts: list[_Part] = []
        self.has_ended = False
        self._max_parts = max_parts
        self._name = self._value = b""

    def on_part_begin(self) -> None:
        if len(self.parts) == self._max_parts:
            raise InvalidInput(f"body: expected at most {self._max_parts} parts, got more")
        self.parts.append(_Part({}))

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self.parts[-1].headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += data[start:end]

    def on_end(self) -> None:
        self.has_ended = True


def _read_boundary(content_type: str) -> bytes:
    if len(content_type) > _MAX_CONTENT_TYPE:
        raise InvalidInput(f"content-type: expected at most {_MAX_CONTENT_TYPE} characters, got {len(content_type)}")
    boundary = parse_options_header(content_type.encode())[1].get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise InvalidInput(
            f"content-type: expected {MEDIA_TYPE}; boundary=<1 to 70 letters>, got {content_type!r:.120}"
        )
    return boundary


def _add_part(form: Form, part: _Part, where: str) -> None:
    disposition, parameters = parse_options_header(part.headers.get(b"content-disposition"))
    if disposition != b"form-data" or b"name" not in parameters:
        raise InvalidInput(f'{where}: expected the header Content-Disposition: form-data; name="...", got none like it')
    name = _read_text(parameters[b"name"], f"{where}: name")
    filename = parameters.get(b"filename")
    media_type = parse_options_header(part.headers.get(b"content-type"))[0].decode("latin-1") or "text/plain"
    encoding = part.headers.get(b"content-transfer-encoding", b"binary").strip().lower()
    if encoding not in (b"7bit", b"8bit", b"binary"):
        got = f"{encoding.decode('latin-1')!r:.40}"
        raise InvalidInput(f"{where} ({name:.60}): expected its bytes without an encoding, got {got}")
    if filename is not None or media_type.startswith(("image/", "audio/")):
        shown = _read_text(filename or b"", f"{where}: filename")
        form.files.append(File(name, shown, media_type, part.content))
    elif name in form.fields:
        raise InvalidInput(f"{name:.60}: expected one field of this name, got two")
    else:
        form.fields[name] = _read_text(part.content, name)


def _read_text(content: bytes, what: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{what}: expected UTF-8, got {content!r:.40}") from None
