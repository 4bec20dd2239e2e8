"""The schema of Triton's messages is complete, and apart from what other libraries register."""

from typing import Any

from tritonclient.grpc.model_config_pb2 import ModelConfig as TritonsModelConfig

from model_store.triton.parse import parse
from model_store.triton.schema import ModelConfig
from tests.support.models import triton_texts as configs


def type_of(field: Any) -> tuple[Any, ...]:
    """All that matters of a field: its number and type, how often it comes, what it excludes, the numbers of values."""
    values = field.enum_type and {value.name: value.number for value in field.enum_type.values}
    others = field.containing_oneof and {other.name for other in field.containing_oneof.fields}
    is_repeated = field.is_repeated
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    return field.number, field.type, is_repeated, is_map, values, others


def compare(ours: Any, theirs: Any, seen: set[str]) -> None:
    if theirs.full_name in seen:
        return
    seen.add(theirs.full_name)
    for name, field in theirs.fields_by_name.items():
        assert name in ours.fields_by_name, f"{theirs.full_name}.{name}"
        own = ours.fields_by_name[name]
        assert type_of(own) == type_of(field), f"{theirs.full_name}.{name}"
        if field.message_type is not None:
            compare(own.message_type, field.message_type, seen)


def fields_set(message: Any) -> set[tuple[str, str]]:
    """The fields that are set in a message and in all that it holds, by message and name."""
    found = set()
    for field, value in message.ListFields():
        found.add((message.DESCRIPTOR.full_name, field.name))
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = value.values()
        elif not field.is_repeated:
            value = [value]
        for inner in value:
            if hasattr(inner, "ListFields"):
                found |= fields_set(inner)
    return found


def fields_of(message: Any) -> set[tuple[str, str]]:
    """The fields of a message and of those within it, by message and name, without those of maps."""
    if message.GetOptions().map_entry:
        return set()
    return {(message.full_name, field.name) for field in message.fields}.union(*map(fields_of, message.nested_types))


def test_every_field_of_tritons_own_messages_is_declared() -> None:
    """Every field that Triton's client knows has the same type, number and choices here."""
    seen: set[str] = set()
    compare(ModelConfig.DESCRIPTOR, TritonsModelConfig.DESCRIPTOR, seen)
    assert len(seen) > 40


def test_complete_configurations_set_every_field() -> None:
    """The tests' configurations set every field, except two whose enum has only the value 0."""
    found = set().union(*(fields_set(parse(text, "config.pbtxt")[0]) for text in configs.ALL))
    fields = set().union(*map(fields_of, ModelConfig.DESCRIPTOR.file.message_types_by_name.values()))
    missing = {("inference.ModelInstanceGroup.SecondaryDevice", "kind"), ("inference.BatchOutput", "kind")}
    assert fields - found == missing
