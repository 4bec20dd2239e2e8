"""Reads requests to task routes in all their forms: the options, the rows, and the wanted form of the answer."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl

from pydantic import BeforeValidator, ValidationInfo

from model_store.pictures.formats import is_picture
from model_store.sounds.formats import is_sound
from service.codecs.pictures.reader import RowFile
from service.errors import InvalidInput
from service.protocol.json import parse_json, type_name
from service.protocol.large_json import LARGE_BYTES, parse_object
from service.protocol.multipart import MEDIA_TYPE as FORM
from service.protocol.multipart import Form, parse_multipart
from service.protocol.request_model import RequestModel

MAX_FIELDS = 100
TEXT = "text/plain"


class TaskRequest(NamedTuple):
    """``rows`` is None if none were sent. ``loose``: some fields are texts, from a query string or a form."""

    fields: Mapping[str, Any]
    rows: list[Any] | None = None
    loose: bool = False
    wants_picture: bool = False
    wants_sound: bool = False
    names: Sequence[str] = ()
    """The names of the files that are the rows, in a form."""


class TaskOptions(RequestModel):
    """The options that every task has."""

    model: str | None = None
    """needed where several models do the task, unless one is the default"""
    version: str | int | None = None
    """a number or an alias; default: the newest that serves"""
    stream: bool = False
    """server-sent events, one for each step; the last, `done`, has the answer"""

    @classmethod
    def parse(cls, fields: Mapping[str, Any], loose: bool = False) -> Self:
        """Null counts as absent. ``loose``: texts may stand for numbers, booleans and lists.

        Raises InvalidInput, which names the field, what was expected and what came.
        """
        fields = {name: value for name, value in fields.items() if value is not None or name not in cls.model_fields}
        return cls.read(fields, strict=not loose, context={"loose": loose})

    @property
    def wanted_version(self) -> str | None:
        """``version`` as the registry takes it."""
        return None if self.version is None else str(self.version)

    @classmethod
    def own(cls) -> list[str]:
        """The names of the options of this task, without those that every task has."""
        return [name for name in cls.model_fields if name not in TaskOptions.model_fields]


def _read_text(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str) or not (info.context or {}).get("loose"):
        return value
    if value.lstrip()[:1] in ("[", "{"):
        try:
            return parse_json(value.encode(), info.field_name or "field")
        except InvalidInput as error:
            raise ValueError(str(error)) from None
    return [part.strip() for part in value.split(",")]


FromText = BeforeValidator(_read_text)
"""For lists and objects: in a query string or a form they are JSON, or separated by commas."""


def read_request(body: bytes | memoryview, content_type: str, query: bytes, accept: str) -> TaskRequest:
    """Read a JSON object with the rows as ``inputs``, a picture or sound, or a form whose files are the rows.

    The query string may add fields; a field that comes twice is refused. A body is a file if its first bytes or its
    content type say so. A body of text/plain is one text, unless it is a JSON object: browsers may send JSON with this
    type. Any other body is read as JSON, because `curl -d` always sends the type of a form. Raises InvalidInput.
    """
    texts = read_query(query)
    wanted = prefers_picture(accept), prefers_sound(accept)
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == FORM:
        form = parse_multipart(body, content_type)
        rows, compared = _sort_files(form)
        named = [("compare", compared)] if compared else []
        names = tuple(file.name for file in form.files if file.name != "compare")
        return TaskRequest(_join(form.fields.items(), [*texts, *named]), rows or None, True, *wanted, names)
    if media_type.startswith(("image/", "audio/")) or is_picture(body) or is_sound(body):
        return TaskRequest(_join((), texts), [RowFile(body, "body")], True, *wanted)
    fields = _find_object(body) if media_type == TEXT else parse_object(body)
    if fields is None:
        return TaskRequest(_join((), texts), [_decode(body)], True, *wanted)
    inputs = fields.pop("inputs", None)
    if inputs is not None and not isinstance(inputs, list):
        raise InvalidInput(f"inputs: expected an array of rows, got {type_name(inputs)}")
    return TaskRequest(_join(fields.items(), texts) if texts else fields, inputs, bool(texts), *wanted)


def takes_long(body: bytes | memoryview) -> bool:
    """Whether a body is slow to read, and its answer perhaps slow to write: it is large, and not a picture or sound."""
    return len(body) > LARGE_BYTES and not (is_picture(body) or is_sound(body))


def _find_object(body: bytes | memoryview) -> dict[str, Any] | None:
    """The body as a JSON object; None for any other text."""
    if not bytes(body[:100]).lstrip().startswith(b"{"):
        return None
    try:
        return parse_object(body)
    except InvalidInput:
        return None


def _decode(body: bytes | memoryview) -> str:
    try:
        return bytes(body).decode()
    except UnicodeDecodeError:
        raise InvalidInput("body: expected a text in UTF-8, got other bytes") from None


def refuse(options: TaskOptions, fields: Iterable[str], reason: str) -> None:
    """Raises InvalidInput, with the reason, for the first of these options that does not have its default value."""
    for field in fields:
        if getattr(options, field) != type(options).model_fields[field].default:
            raise InvalidInput(f"{field}: {reason}")


def _sort_files(form: Form) -> tuple[list[Any], list[Any]]:
    """The files that are rows, and the files called ``compare``, with which rows are compared."""
    rows: list[Any] = []
    compared: list[Any] = []
    for i, file in enumerate(form.files):
        where = f"file {i} ({file.filename or file.name:.60})"
        (compared if file.name == "compare" else rows).append(RowFile(file.content, where))
    return rows, compared


def read_query(query: bytes, max_fields: int = MAX_FIELDS) -> list[tuple[str, str]]:
    """The fields of a query string, in order. Raises InvalidInput."""
    if not query:
        return []
    try:
        return parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="strict", max_num_fields=max_fields)
    except ValueError as error:
        raise InvalidInput(f"query: expected at most {max_fields} fields of UTF-8 text ({error})") from None


def _join(fields: Iterable[tuple[str, Any]], texts: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    joined = dict(fields)
    for name, text in texts:
        if name in joined:
            raise InvalidInput(f"{name:.60}: expected once, got it twice (body and query string count together)")
        joined[name] = text
    if "inputs" in joined:
        raise InvalidInput("inputs: expected them in a JSON body, or pictures or sounds as files, got them as a text")
    return joined


def prefers_picture(accept: str) -> bool:
    """Whether an Accept header prefers image/png to JSON: by weight, then by how exactly it names the type.

    With equal weight and exactness JSON is preferred. RFC 9110, section 12.5.1.
    """
    return _prefers(accept, "image", "png")


def prefers_sound(accept: str) -> bool:
    """The same for audio/wav."""
    return any(_prefers(accept, "audio", form) for form in ("wav", "x-wav", "wave"))


def _prefers(accept: str, kind: str, form: str) -> bool:
    if f"{kind}/" not in accept.lower():
        return False
    wanted = _preference(accept, kind, form)
    return wanted[0] > 0 and wanted > _preference(accept, "application", "json")


def _preference(accept: str, kind: str, form: str) -> tuple[float, int]:
    """(weight, exactness) of a media type, by the most exact range that covers it. A malformed weight counts as 0."""
    ranges = {f"{kind}/{form}": 3, f"{kind}/*": 2, "*/*": 1}
    best = (0, 0.0)
    for part in accept.lower().split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        if media_range in ranges:
            weights = [value for name, _, value in (each.partition("=") for each in parameters) if name.strip() == "q"]
            try:
                weight = min(max(float(weights[0]), 0.0), 1.0) if weights else 1.0
            except ValueError:
                weight = 0.0
            best = max(best, (ranges[media_range], weight))
    return best[1], best[0]
