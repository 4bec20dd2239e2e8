"""Contradictions of a configuration are refused with field, expectation and value; harmless fields are not."""

import pytest

from model_store import BadConfig
from model_store.triton import TritonConfig, read_config

TENSOR = 'name: "x" data_type: TYPE_FP32 dims: [ 2, 3 ]'
CONTROL = 'name: "c" control'
FLAG = "kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ]"
STATE = 'input_name: "i" output_name: "o" data_type: TYPE_FP32 dims: [ -1, 2 ]'


def read(text: str, folder: str | None = None) -> TritonConfig:
    return read_config(text, "digits/config.pbtxt", folder)


def with_shapes(dims: str, reshape: str) -> str:
    return f'output {{ name: "y" data_type: TYPE_FP32 dims: [{dims}] reshape {{ shape: [{reshape}] }} }}'


def with_sequence(inner: str) -> str:
    return f"sequence_batching {{ {inner} }}"


def with_initial(inner: str) -> str:
    return with_sequence(f"state {{ {STATE} initial_state {{ {inner} }} }}")


def with_warmup(inner: str) -> str:
    return f'model_warmup {{ name: "w" batch_size: 1 inputs {{ key: "x" value {{ {inner} }} }} }}'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("max_batch_size: -1", "max_batch_size: expected 0 or more, got -1"),
        ("input { data_type: TYPE_FP32 dims: [ 1 ] }", "input '': expected a name"),
        (f"input {{ {TENSOR} }} input {{ {TENSOR} }}", "input 'x': expected it once, got it 2 times"),
        ('input { name: "x" data_type: 15 dims: [ 1 ] }', "input 'x': data_type: expected one of .*, got 15"),
        ('output { name: "y" data_type: TYPE_FP32 dims: [ 3, 0 ] }', r"output 'y': dims: .*got \[3, 0\]"),
        ('input { name: "x" data_type: TYPE_FP32 dims: [ -2 ] }', r"input 'x': dims: .*got \[-2\]"),
        (with_shapes("2, 3", "0"), r"output 'y': reshape: expected sizes of 1 or more, .*got \[0\]"),
        (with_shapes("2, 3", "5"), r"reshape: expected as many elements as dims \[2, 3\], .*, got \[5\]"),
        (with_shapes("2, 3", ""), r"reshape: expected as many elements as dims \[2, 3\], .*, got \[\]"),
        (with_shapes("-1, 6", "-1, -1, 6"), r"reshape: .*dims \[-1, 6\], .*got \[-1, -1, 6\]"),
        (with_shapes("2, -1, 3", "6, -1"), r"reshape: .*dims \[2, -1, 3\], .*got \[6, -1\]"),
        (f'output {{ {TENSOR} label_filename: "../labels" }}', "output 'x': label_filename: expected a file in the"),
        ('default_model_filename: "/etc/passwd"', "default_model_filename: expected a file in .*'/etc/passwd'"),
        ("dynamic_batching { priority_levels: 2 }", "default_priority_level: expected 1 to priority_levels 2, got 0"),
        ("dynamic_batching { priority_levels: 2 default_priority_level: 3 }", "expected 1 to .* 2, got 3"),
        (with_sequence(f"control_input {{ control {{ {FLAG} }} }}"), "control_input '': expected a name"),
        (
            with_sequence(f"control_input {{ {CONTROL} {{ {FLAG} }} }} control_input {{ {CONTROL} {{ {FLAG} }} }}"),
            "control_input 'c': expected it once.*control kind 'CONTROL_SEQUENCE_START': expected it once, got it 2",
        ),
        (with_sequence(f"control_input {{ {CONTROL} {{ kind: 9 }} }}"), "'c': kind: expected one of .*CORRID, got 9"),
        (with_sequence(f"control_input {{ {CONTROL} {{ }} }}"), "'c': expected one of int32_false_true, .*got none"),
        (
            with_sequence(f"control_input {{ {CONTROL} {{ {FLAG} bool_false_true: true }} }}"),
            "'c': expected one of .*, got int32_false_true and bool_false_true",
        ),
        (with_sequence(f"control_input {{ {CONTROL} {{ {FLAG[:-5]} ] }} }}"), "expected 2 values, .*, got 1"),
        (
            with_sequence(f"control_input {{ {CONTROL} {{ kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32 }} }}"),
            "'c': data_type: expected one of TYPE_UINT64, .*TYPE_STRING, got TYPE_FP32",
        ),
        (
            with_sequence(f"control_input {{ {CONTROL} {{ {FLAG.replace('START', 'CORRID')} data_type: 9 }} }}"),
            "'c': expected no int32_false_true",
        ),
        (with_sequence('state { output_name: "o" data_type: 9 }'), "state '': expected an input_name"),
        (with_sequence('state { input_name: "i" data_type: 9 }'), "state 'i': expected an output_name"),
        (with_sequence('state { input_name: "i" output_name: "o" }'), "state 'i': data_type: .*got none"),
        (with_sequence(f"state {{ {STATE} }} state {{ {STATE} }}"), "state: input_name 'i': expected it once"),
        (with_sequence(f"state {{ {STATE.replace('2 ]', '0 ]')} }}"), r"state 'i': dims: .*got \[-1, 0\]"),
        (with_sequence(f"state {{ {STATE} initial_state [ {{ }}, {{ }} ] }}"), "initial_state: expected one at most"),
        (with_initial("dims: [ 1, 2 ] zero_data: true data_type: 9"), "initial_state: data_type: expected that of the"),
        (with_initial("dims: [ 2 ] zero_data: true"), r"dims: expected known sizes .*\[-1, 2\], got \[2\]"),
        (with_initial("dims: [ -1, 2 ] zero_data: true"), r"dims: expected known sizes .*\[-1, 2\], got \[-1, 2\]"),
        (with_initial("dims: [ 4, 3 ] zero_data: true"), r"dims: expected known sizes .*\[-1, 2\], got \[4, 3\]"),
        (with_initial("dims: [ 4, 2 ]"), "initial_state: expected zero_data or data_file"),
        (with_initial('dims: [ 4, 2 ] data_file: ""'), "initial_state: expected zero_data or data_file"),
        (with_initial('dims: [ 4, 2 ] data_file: "a/../../b"'), "data_file: expected a file in the model's folder"),
        (with_warmup("dims: [ 1 ] zero_data: true"), "model_warmup 'w': input 'x': data_type: .*got none"),
        (with_warmup("data_type: 9 dims: [ -1 ] zero_data: true"), r"'x': dims: expected known sizes .*got \[-1\]"),
        (with_warmup("data_type: 9 dims: [ 1 ]"), "'x': expected zero_data, random_data or input_data_file"),
        (with_warmup('data_type: 9 input_data_file: ""'), "'x': expected zero_data, random_data or input_data_file"),
        (with_warmup('data_type: 9 input_data_file: "/x"'), "'x': input_data_file: expected a file in the model's"),
        ("response_cache { enable: true } sequence_batching { }", "response_cache: .*sequence_batching"),
        ("response_cache { enable: true } model_transaction_policy { decoupled: true }", "response_cache: .*decoupled"),
    ],
)
def test_contradiction_is_told_with_its_field(text: str, complaint: str) -> None:
    """The BadConfig has file, field, what was expected and what came."""
    with pytest.raises(BadConfig, match=r"^digits/config\.pbtxt: .*" + complaint):
        read(text)


def test_model_of_another_name_than_its_folder_is_refused() -> None:
    """A name in the file must be that of the folder; it may be left out."""
    with pytest.raises(BadConfig, match="name: expected the folder's name 'digits' or no name, got 'letters'"):
        read('name: "letters"', "digits")
    assert read("", "digits").name == read('name: "digits"', "digits").name == "digits"
    assert read('name: "letters"').name == "letters"


def test_no_more_than_three_complaints_are_told() -> None:
    """At most three faults are listed."""
    with pytest.raises(BadConfig) as caught:
        read("input { dims: [ 1 ] }" * 9)
    assert str(caught.value).count("; ") == 2


@pytest.mark.parametrize(
    "text",
    [
        with_shapes("2, 3", "1, 6"),
        with_shapes("2, -1, 3", "1, 2, -1, 3, 1"),
        with_shapes("1", ""),
        with_shapes("", "1"),
        with_initial("dims: [ 4, 2 ] zero_data: false"),
        'input { name: "x" data_type: TYPE_FP32 dims: [ 3 ] format: FORMAT_NCHW }',
        'input { name: "x" } output { name: "y" data_type: TYPE_FP32 }',
        "max_batch_size: 4 dynamic_batching { preferred_batch_size: [ 8, -1 ] }",
        "dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }",
        "dynamic_batching { priority_queue_policy { key: 7 value { } } }",
        "instance_group { kind: KIND_CPU gpus: 0 count: -1 }",
        'sequence_batching { control_input { name: "c" } direct { minimum_slot_utilization: 7 } }',
        "model_metrics { metric_control { } }",
        with_warmup("dims: [ -1 ]").replace("batch_size: 1", ""),
    ],
)
def test_what_can_be_served_is_not_refused(text: str) -> None:
    """Shapes with the same elements, and fields that only change speed, are accepted."""
    assert read(text).unknown == ""
