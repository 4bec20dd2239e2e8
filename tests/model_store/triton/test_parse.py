"""Configurations are parsed in both forms, and errors say where and why."""

import subprocess
import sys

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model_store import BadConfig
from model_store.triton import TritonConfig, read_config, refusal
from model_store.triton.schema import ModelConfig
from tests.support.models import triton_texts as configs


def read(text: str | bytes) -> TritonConfig:
    return read_config(text, "digits/config.pbtxt")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('name: "x"\nmax_batch_size 8', r"line 2, column 16: expected \":\" \(there: 'max_batch_size 8'\)"),
        ("input {\n  dims: [ 1 2 ]\n}", r"line 2, column 13: expected \",\""),
        ("input {\n name: 'x'\n", 'line 2, column 8: expected "}"'),
        ("# a comment\nmax_batch_size: many", "line 2, column 17: couldn't parse integer: many"),
        ("max_batch_size: 3000000000", "line 1, column 17: value out of range: 3000000000"),
        ("max_batch_size: 1\n\nmax_batch_size: 2", 'line 3, .* should not have multiple "max_batch_size" fields'),
        ("dynamic_batching { }\nensemble_scheduling { }", 'line 2, .*"ensemble_scheduling" is specified along with'),
        (
            "input { data_type: TYPE_FLOAT }",
            "line 1, column 20: 'TYPE_FLOAT' is none of TYPE_INVALID, TYPE_BOOL, .*TYPE_BF16",
        ),
        ("input { data_type: 99999999999 }", "line 1: value out of range: 99999999999"),
        ('name: "x', "line 1, column 7: string missing ending quote"),
        ('name: "\ud800"', r"line 1, .*surrogates not allowed \(there: 'name: \"\\ud800\"'\)"),
        (b'name: "x"\nplatform: "\xff"', "line 2: expected UTF-8, got the byte 0xff"),
        ("new_field [ { a: 1 } ]", r"line 1, column 1: ModelConfig has no field 'new_field' \(there"),
        ("a: 1\nmax_batch_size 8", 'line 2, column 16: expected ":"'),
        ("a {\n" * 9999, "line [0-9]+: messages are nested too deep"),
    ],
)
def test_text_that_cannot_be_read_says_where_and_why(text: str | bytes, complaint: str) -> None:
    """The BadConfig has the file, the line and what is wrong."""
    with pytest.raises(BadConfig, match=r"^digits/config\.pbtxt: " + complaint):
        read(text)


def test_long_line_is_told_by_the_part_that_is_wrong() -> None:
    """Of a configuration on one line only the words around the fault are shown."""
    with pytest.raises(BadConfig) as caught:
        read(f"{'max_batch_size: 0 ' * 500}backend 'onnxruntime' {'max_batch_size: 0 ' * 500}")
    assert "backend 'onnxruntime'" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_unknown_field_is_told_and_left_out() -> None:
    """An unknown field does not keep a model from serving, and a similar field is suggested."""
    config = read("max_batchsize: 8\nnew_field: { a: 1 b { c: [ 1, 2 ] } }\nbackend: 'onnxruntime'")
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 0)
    assert config.unknown.startswith(
        "line 1, column 1: ModelConfig has no field 'max_batchsize': did you mean 'max_batch_size'?"
    )
    assert read(configs.BATCHES).unknown == ""


def test_list_and_repeated_form_say_the_same() -> None:
    """A list, with a colon or without, equals the repeated form."""
    entry = '{ name: "x" data_type: TYPE_FP32 dims: [ 2, 3 ] }'
    texts = (
        f"input [ {entry}, {entry.replace('x', 'y')} ]",
        f"input: [ {entry}, {entry.replace('x', 'y')} ] # and a comment",
        f"input {entry}\r\ninput: {entry.replace('x', 'y').replace('[ 2, 3 ]', '2 dims: 3')}\r\n",
        "\ufeffinput <name: 'x', data_type: 11; dims: 2; dims: 3> input <name: 'y' data_type: TYPE_FP32 dims: [2,3]>",
    )
    first, *others = (read(text) for text in (*texts, *(text.encode() for text in texts)))
    assert [tensor.name for tensor in first.inputs] == ["x", "y"]
    assert first.inputs[0].dims == (2, 3)
    assert all(other == first for other in others)


def test_list_of_instance_groups_is_read() -> None:
    """A list of messages that are not used does not end the reading."""
    assert read("instance_group [ { kind: KIND_CPU } ]").speed_only == ("instance_group",)


def test_store_is_imported_without_protobuf() -> None:
    """protobuf is imported only to read a Triton configuration."""
    code = "import sys, model_store; sys.exit('google.protobuf' in sys.modules or 'model_store.triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


CONFIG = ModelConfig.DESCRIPTOR
WORDS = sorted(
    {value for enum in CONFIG.file.enum_types_by_name.values() for value in enum.values_by_name}
    | {field for message in CONFIG.file.message_types_by_name.values() for field in message.fields_by_name}
)
TOKENS = st.sampled_from([*WORDS, *"{}[]<>:,;\n#", '"x"', "'", "-1", "0", "1", "8", "2.5", "1e99", "9" * 5000, "true"])
VALUES = st.sampled_from(['"x"', "[]", "[ 1 ]", "1", "0", "-1", "true", "[ true, false ]", "TYPE_FP32", "9999999999"])


@st.composite
def messages(draw: st.DrawFn, message: Descriptor = CONFIG, depth: int = 0) -> str:
    """A text that mostly follows the schema: known fields, with values that are often of the right kind."""
    parts = []
    for field in (
        draw(st.lists(st.sampled_from(list(message.fields)), max_size=4 if depth else 6)) if message.fields else ()
    ):
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        value = draw(_values(field.message_type.fields_by_name["value"] if is_map else field, depth))
        value = f'{{ key: "{draw(st.sampled_from("ab"))}" value: {value} }}' if is_map else value
        parts.append(f"{field.name}: {f'[ {value} ]' if field.is_repeated and not is_map else value}")
    return " ".join(parts)


def _values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[str]:
    if field.message_type is not None:
        if depth >= 5:
            return VALUES
        return messages(field.message_type, depth + 1).map(lambda inner: f"{{ {inner} }}")
    if field.enum_type is not None:
        return st.sampled_from([*field.enum_type.values_by_name, "0", "99"])
    strings = ['"x"', '"y"', '""', '"../x"']
    known = {FieldDescriptor.TYPE_STRING: strings, FieldDescriptor.TYPE_BOOL: ["true", "false"]}
    right = known.get(field.type, ["0", "1", "2", "-1"])
    return st.one_of(st.sampled_from(right), st.sampled_from(right), VALUES)


def outcome(text: str | bytes) -> TritonConfig | str:
    """What is read, or the text of the BadConfig; any other error is raised."""
    try:
        return read(text)
    except BadConfig as error:
        return str(error)


@given(st.one_of(st.text(), st.binary(), st.lists(TOKENS, max_size=30).map(" ".join), messages(), messages()))
@example("a: { b: " * 3000)
@settings(deadline=None, max_examples=300)
def test_any_text_is_a_configuration_or_a_bad_one(text: str | bytes) -> None:
    """Reading any text gives a configuration or a BadConfig."""
    found = outcome(text)
    if isinstance(found, str):
        assert found.encode().startswith(b"digits/config.pbtxt: ")
        assert len(found) < 3000
    else:
        assert isinstance(refusal(found), str | None)


@given(st.sampled_from(configs.ALL), st.data())
@settings(deadline=None, max_examples=100)
def test_any_change_of_a_configuration_is_read_or_refused(text: str, data: st.DataObject) -> None:
    """A missing, doubled or changed word is read or gives a BadConfig."""
    words = text.split(" ")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(words) - 1))
        words[at : at + 1] = data.draw(st.sampled_from([[], [words[at]] * 2, ["0"], ["-1"], ["{"], ["99"], ['"x"']]))
    assert isinstance(outcome(" ".join(words)), TritonConfig | str)
