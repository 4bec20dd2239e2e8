"""The messages of the protocol and of health checks, made from ``*.proto`` when this module is imported.

No generated code: that of protoc is bound to versions of protobuf, and would register its messages where those of any
client in the same process are, under the same names. These live in a pool of their own. Of the language, what the file
uses is understood: messages, enums, fields, maps, oneofs and services, each on one level or nested.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

SERVICE = "GRPCInferenceService"
_TOKEN = re.compile(r"//[^\n]*|(\"[^\"]*\"|[\w.]+|[^\s\w])")
_SCALARS = {
    name.removeprefix("TYPE_").lower(): number
    for name, number in FieldDescriptorProto.Type.items()
    if name not in ("TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP")
}


class Method(NamedTuple):
    """A remote procedure: its messages, and whether it takes and gives many of them."""

    request: Any
    response: Any
    streams: bool


class ProtoError(Exception):
    """The file cannot be read; the text says what was expected where."""


class _Reader:
    """A recursive descent through the tokens of a file."""

    def __init__(self, text: str) -> None:
        self._tokens: Iterator[str] = (found[1] for found in _TOKEN.finditer(text) if found[1])
        self.file = FileDescriptorProto(name="sluice.proto")

    def read(self) -> FileDescriptorProto:
        for word in self._tokens:
            if word == "syntax":
                self._expect("=")
                self.file.syntax = self._next().strip('"')
                self._expect(";")
            elif word == "package":
                self.file.package = self._next()
                self._expect(";")
            elif word == "message":
                self._message(self.file.message_type.add())
            elif word == "enum":
                self._enum(self.file.enum_type.add())
            elif word == "service":
                self._service()
            else:
                raise ProtoError(f"expected a message, an enum or a service, got {word!r}")
        return self.file

    def _next(self) -> str:
        return next(self._tokens, "the end of the file")

    def _expect(self, *words: str) -> None:
        for word in words:
            got = self._next()
            if got != word:
                raise ProtoError(f"expected {word!r}, got {got!r}")

    def _message(self, message: DescriptorProto) -> None:
        message.name = self._next()
        self._expect("{")
        while (word := self._next()) != "}":
            if word == "message":
                self._message(message.nested_type.add())
            elif word == "enum":
                self._enum(message.enum_type.add())
            elif word == "oneof":
                message.oneof_decl.add(name=self._next())
                self._expect("{")
                while (kind := self._next()) != "}":
                    self._field(message, kind).oneof_index = len(message.oneof_decl) - 1
            elif word == "map":
                self._map(message)
            elif word == "repeated":
                self._field(message, self._next()).label = FieldDescriptorProto.LABEL_REPEATED
            else:
                self._field(message, word)

    def _field(self, message: DescriptorProto, kind: str) -> FieldDescriptorProto:
        name = self._next()
        self._expect("=")
        field = message.field.add(name=name, number=int(self._next()), label=FieldDescriptorProto.LABEL_OPTIONAL)
        _set_type(field, kind)
        self._expect(";")
        return field

    def _map(self, message: DescriptorProto) -> None:
        """A map is a repeated message of its keys and values, under a name of its own."""
        self._expect("<")
        kinds = [self._next()]
        self._expect(",")
        kinds.append(self._next())
        self._expect(">")
        name = self._next()
        entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        for number, (part, kind) in enumerate(zip(("key", "value"), kinds, strict=True), 1):
            _set_type(entry.field.add(name=part, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL), kind)
        self._expect("=")
        field = message.field.add(name=name, number=int(self._next()), label=FieldDescriptorProto.LABEL_REPEATED)
        _set_type(field, entry.name)
        self._expect(";")

    def _enum(self, enum: EnumDescriptorProto) -> None:
        enum.name = self._next()
        self._expect("{")
        while (name := self._next()) != "}":
            self._expect("=")
            enum.value.add(name=name, number=int(self._next()))
            self._expect(";")

    def _service(self) -> None:
        service = self.file.service.add(name=self._next())
        self._expect("{")
        while (word := self._next()) != "}":
            if word != "rpc":
                raise ProtoError(f"expected 'rpc' or '}}', got {word!r}")
            method = service.method.add(name=self._next())
            method.input_type, method.client_streaming = self._side()
            self._expect("returns")
            method.output_type, method.server_streaming = self._side()
            self._expect(";")

    def _side(self) -> tuple[str, bool]:
        """A message in brackets, and whether many come."""
        self._expect("(")
        word = self._next()
        many = word == "stream"
        name = self._next() if many else word
        self._expect(")")
        return name, many


def _set_type(field: FieldDescriptorProto, kind: str) -> None:
    """A scalar, or the name of a message or enum, whose kind the pool finds out."""
    number = _SCALARS.get(kind)
    if number is None:
        field.type_name = kind
    else:
        field.type = number


def read_proto(text: str) -> FileDescriptorProto:
    """The descriptor of a file in the protocol buffer language. Raises ProtoError."""
    return _Reader(text).read()


def _make(file_name: str, service: str) -> tuple[Mapping[str, Any], Mapping[str, Method]]:
    """The messages and methods by name."""
    file = read_proto(Path(__file__).with_name(file_name).read_text(encoding="utf-8"))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    found = pool.FindFileByName(file.name)
    messages = {name: message_factory.GetMessageClass(d) for name, d in found.message_types_by_name.items()}
    methods = {
        method.name: Method(
            messages[method.input_type.name], messages[method.output_type.name], method.client_streaming
        )
        for method in found.services_by_name[service].methods
    }
    return messages, methods


MESSAGES, METHODS = _make("service.proto", SERVICE)
"""Message classes and methods, by the names in the file."""
HEALTH_MESSAGES, HEALTH_METHODS = _make("health.proto", "Health")
FULL_NAME = f"inference.{SERVICE}"
