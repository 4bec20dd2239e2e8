"""Calls: what is sent, and how the answer is read. The clients send them, with and without asyncio."""

import dataclasses
import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

from sluice_client.api.options import CallOptions
from sluice_client.api.protocol import Card, Cards, ModelMetadata, PipelineMetadata
from sluice_client.errors import BadAnswer, Refused, StreamFailed, class_of
from sluice_client.files import Array, Picture, Sound
from sluice_client.meta import Meta
from sluice_client.retry import read_retry_after
from sluice_client.wire.decode import decode
from sluice_client.wire.events import Event
from sluice_client.wire.rows import Rows, encode_option, encode_rows, find_file
from sluice_client.wire.tensors import LENGTH_HEADER, decode_tensors, encode_tensors

A = TypeVar("A")
E = TypeVar("E")
JSON, EVENTS, PNG, WAV, BINARY = (
    *("application/json", "text/event-stream", "image/png", "audio/wav"),
    "application/octet-stream",
)
_COMMON = frozenset(CallOptions.__annotations__)


class Reply(NamedTuple):
    """An answer of HTTP, complete. The names of ``headers`` are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    meta: Meta


@dataclass(frozen=True)
class Call(Generic[A]):
    """A request, and ``read``, which makes a value of the reply."""

    method: str
    path: str
    read: Callable[[Reply], A]
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    rows: Rows | None = None
    """What was given, for a hint where the server refuses it."""


@dataclass(frozen=True)
class StreamCall(Generic[E, A]):
    """A request that is answered with events, and how these and the last one are read."""

    call: Call[A]
    read_event: Callable[[Any], E]
    read_answer: Callable[[Any, Meta], A]

    def read(self, event: Event, meta: Meta) -> tuple[E | None, A | None]:
        """The event, or the answer that ends the stream. Raises StreamFailed, BadAnswer."""
        value = parse(event.data)
        if event.name == "error":
            told = value if isinstance(value, dict) else {"error": value}
            raise StreamFailed(str(told.get("error")), str(told.get("request_id", meta.request_id)))
        if event.name == "done":
            return None, self.read_answer(value, meta)
        return self.read_event(value), None


@dataclass(frozen=True)
class Tensors:
    """The answer of the tensor route: the outputs by name, as arrays."""

    model: str
    version: str
    outputs: Mapping[str, Array]
    meta: Meta = field(default_factory=Meta, compare=False, repr=False)


def call_task(task: str, inputs: Rows | None, options: Mapping[str, Any], known: type[Any], answer: type[A]) -> Call[A]:
    """``known`` is the TypedDict of the options. Raises TypeError for an option that the task does not have."""
    return _call_task(task, inputs, options, known, JSON, lambda reply: _read_answer(answer, reply))


def call_for_picture(task: str, inputs: Rows | None, options: Mapping[str, Any], known: type[Any]) -> Call[Picture]:
    """The same task, answered with a picture."""
    return _call_task(task, inputs, options, known, PNG, lambda reply: Picture(_expect(PNG, reply)))


def call_for_sound(task: str, inputs: Rows | None, options: Mapping[str, Any], known: type[Any]) -> Call[Sound]:
    """The same task, answered with a sound."""
    return _call_task(task, inputs, options, known, WAV, lambda reply: Sound(_expect(WAV, reply)))


def call_for_events(
    task: str, inputs: Rows | None, options: Mapping[str, Any], known: type[Any], event: Any, answer: type[A]
) -> StreamCall[Any, A]:
    """The same task, answered with events. ``event`` may be a union."""

    def read_answer(value: Any, meta: Meta) -> A:
        return _with_meta(decode(answer, value), meta)

    call: Call[A] = _call_task(task, inputs, options, known, EVENTS, _refuse_whole, {"stream": True})
    return StreamCall(call, lambda value: decode(event, value, "event"), read_answer)


def call_infer(
    model: str,
    inputs: Mapping[str, Any],
    outputs: Sequence[str] | Mapping[str, Any] | None,
    version: str | int | None,
    parameters: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Call[Tensors]:
    """The tensor route, in binary form. A ``timeout_s`` of the call is told to the server as well."""
    timeout_s = options.get("timeout_s")
    if timeout_s is not None and math.isfinite(timeout_s):
        parameters = {"timeout": max(1, int(timeout_s * 1e6)), **parameters}
    body, json_bytes = encode_tensors(inputs, outputs, parameters)
    headers = {"content-type": BINARY, LENGTH_HEADER: str(json_bytes), "accept": f"{BINARY}, {JSON}"}
    path = f"{path_of(model, version)}/infer"
    return Call("POST", path, _read_tensors, body, {**headers, **_request_id(options)}, timeout_s)


def call_models() -> Call[list[Card]]:
    return Call("GET", "models", lambda reply: decode(Cards, parse(reply.body)).models)


def call_model(name: str, version: str | int | None) -> Call[ModelMetadata | PipelineMetadata]:
    kind: Any = ModelMetadata | PipelineMetadata
    return Call("GET", path_of(name, version), lambda reply: decode(kind, parse(reply.body)))


def call_ready(model: str | None) -> Call[bool]:
    return Call("GET", "readyz" if model is None else f"{path_of(model, None)}/ready", lambda reply: True)


def path_of(model: str, version: str | int | None) -> str:
    path = f"v2/models/{quote(model, safe='')}"
    return path if version is None else f"{path}/versions/{quote(str(version), safe='')}"


def read_error(reply: Reply, call: Call[Any]) -> Refused:
    """The error of a reply that is none of 200."""
    try:
        content = json.loads(reply.body)
        message, request_id = str(content["error"]), str(content.get("request_id", reply.meta.request_id))
    except (ValueError, KeyError, TypeError, AttributeError):  # of a proxy
        message, request_id = reply.body[:500].decode("utf-8", "replace").strip() or "no reason", reply.meta.request_id
    if reply.status == 400 and (file := find_file(call.rows)):
        message += f" (hint: {file!r} was sent as a text: Path({file!r}) sends the file)"
    retry_after_s = read_retry_after(reply.headers.get("retry-after"))
    return class_of(reply.status)(reply.status, message, request_id, retry_after_s)


def parse(body: bytes | str) -> Any:
    """JSON. Raises BadAnswer."""
    try:
        return json.loads(body)
    except ValueError:
        raise BadAnswer(f"expected JSON, got {body[:100]!r}: is this the address of Sluice?") from None


def _call_task(
    task: str,
    inputs: Rows | None,
    options: Mapping[str, Any],
    known: type[Any],
    accept: str,
    read: Callable[[Reply], A],
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Call[A]:
    _check_options(task, options, known)
    own = {name: encode_option(name, value) for name, value in options.items() if name not in _COMMON}
    body = {**own, **more}
    if inputs is not None:
        body["inputs"] = encode_rows(inputs)
    headers = {"content-type": JSON, "accept": accept, **_request_id(options)}
    text = json.dumps(body, separators=(",", ":")).encode()
    return Call("POST", task, read, text, headers, options.get("timeout_s"), inputs)


def _check_options(task: str, options: Mapping[str, Any], known: type[Any]) -> None:
    names = [*known.__annotations__]
    for name in options:
        if name == "stream":
            raise TypeError(f"{task}() has no option 'stream': {task}_as_stream() streams, where the task can")
        if name not in names:
            similar = difflib.get_close_matches(name, names, 1)
            hint = f": did you mean {similar[0]!r}?" if similar else f": there are {', '.join(names)}"
            raise TypeError(f"{task}() has no option {name!r}{hint}")


def _request_id(options: Mapping[str, Any]) -> dict[str, str]:
    request_id = options.get("request_id")
    return {} if request_id is None else {"x-request-id": request_id}


def _read_answer(kind: type[A], reply: Reply) -> A:
    return _with_meta(decode(kind, parse(reply.body)), reply.meta)


def _with_meta(answer: A, meta: Meta) -> A:
    changed: A = dataclasses.replace(answer, meta=meta)  # type: ignore[type-var]  # answers of tasks are dataclasses
    return changed


def _expect(media_type: str, reply: Reply) -> bytes:
    got = reply.headers.get("content-type", "")
    if got.partition(";")[0] != media_type:
        raise BadAnswer(f"expected {media_type}, got {got or 'no content type'}")
    return reply.body


def _read_tensors(reply: Reply) -> Tensors:
    length = reply.headers.get(LENGTH_HEADER)
    if length is not None and not length.isdecimal():
        raise BadAnswer(f"{LENGTH_HEADER}: expected a number of bytes, got {length!r}")
    head, outputs = decode_tensors(reply.body, None if length is None else int(length))
    return Tensors(str(head.get("model_name")), str(head.get("model_version")), outputs, reply.meta)


def _refuse_whole(reply: Reply) -> Any:
    raise BadAnswer(f"expected {EVENTS}, got {reply.headers.get('content-type', 'no content type')}")
