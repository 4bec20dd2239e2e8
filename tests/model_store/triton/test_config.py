"""A Triton configuration in our words and units."""

import pytest

from model_store.datatypes import DATATYPES
from model_store.triton import (
    DynamicBatching,
    InitialState,
    QueuePolicy,
    SequenceControl,
    SequenceState,
    TensorConfig,
    TritonConfig,
    VersionPolicy,
    Warmup,
    WarmupInput,
    read_config,
)
from model_store.triton.schema import value_names
from tests.support.models import triton_texts as configs


def read(text: str) -> TritonConfig:
    return read_config(text, "config.pbtxt")


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        ("", [9]),
        ("version_policy { latest { } }", [9]),
        ("version_policy { latest { num_versions: 2 } }", [3, 9]),
        ("version_policy { latest { num_versions: 4000000000 } }", [1, 3, 9]),
        ("version_policy { all { } }", [1, 3, 9]),
        ("version_policy { }", [1, 3, 9]),
        ("version_policy { specific { versions: [ 9, 1, 5, 1 ] } }", [1, 9]),
        ("version_policy { specific { } }", []),
    ],
)
def test_policy_chooses_of_the_versions_that_are_there(policy: str, chosen: list[int]) -> None:
    """The latest version serves by default; named versions that are missing are left out."""
    assert read(policy).version_policy.choose([9, 1, 3]) == chosen
    assert read(policy).version_policy.choose([]) == []


def test_policy_without_versions_chooses_none() -> None:
    """The latest 0 versions are none, not all."""
    assert VersionPolicy(latest=0).choose([1, 2]) == []


def test_defaults_are_tritons() -> None:
    """An empty file means no batches, the latest version, and sequences that end after a second."""
    assert read("") == TritonConfig(name="")
    assert read("sequence_batching { }").sequence == read("sequence_batching { direct { } }").sequence
    assert read("sequence_batching { }").sequence.idle_s == 1.0
    assert read("dynamic_batching { }").batching == DynamicBatching()


def test_tensors_are_as_callers_and_the_graph_see_them() -> None:
    """Both sides have names, datatypes and shapes; an empty reshape is a scalar."""
    config = read(configs.BATCHES)
    image, text, scalar = config.inputs
    assert image == TensorConfig("IMAGE", "UINT8", (224, 224, 3), (1, 224, 224, 3), optional=True)
    assert (text.datatype, text.dims, text.reshape, text.graph_dims) == ("BYTES", (-1, 2), None, (-1, 2))
    assert (scalar.dims, scalar.graph_dims) == ((1,), ())
    assert config.outputs == (
        TensorConfig("SCORES", "FP32", (10,), (2, 5), "labels.txt"),
        TensorConfig("STEPS", "INT64", (-1, 4)),
    )
    assert (config.name, config.max_batch_size, config.default_model_filename) == ("classifier", 16, "resnet.onnx")
    assert config.response_cache


def test_what_a_tensor_leaves_out_is_that_of_the_graph() -> None:
    """Without dims or datatype the graph's are used."""
    config = read('input { name: "x" dims: [ 2 ] } output { name: "y" data_type: TYPE_INT8 }')
    assert config.inputs == (TensorConfig("x", "", (2,)),)
    assert config.outputs == (TensorConfig("y", "INT8", None),)
    assert config.outputs[0].graph_dims is None
    assert read('input { name: "x" reshape { shape: [ 1 ] } }').inputs[0].dims == ()


def test_every_datatype_has_our_name() -> None:
    """Each of Triton's datatypes is in our table under one name."""
    names = value_names("DataType")[1:]
    tensors = read("".join(f'input {{ name: "{n}" data_type: {n} dims: 1 }}' for n in names)).inputs
    assert {tensor.datatype for tensor in tensors} == set(DATATYPES)
    assert [tensor.datatype for tensor in tensors if tensor.name == "TYPE_STRING"] == ["BYTES"]


def test_batching_and_queues_are_in_seconds() -> None:
    """Delays and timeouts become seconds; a priority without a policy has the default one."""
    batching = read(configs.BATCHES).batching
    assert batching == DynamicBatching(
        max_delay_s=0.0015,
        preferred_rows=(4, 8),
        keeps_order=True,
        priority_levels=2,
        default_priority=1,
        queue=QueuePolicy(timeout_s=0.25, on_timeout="delay", allow_override=True, max_requests=64),
        queue_of_priority={2: QueuePolicy(max_requests=8)},
    )
    assert batching.queue_for(1) == batching.queue
    assert batching.queue_for(2).max_requests == 8


def test_warmups_are_those_that_run() -> None:
    """A warm-up without rows is left out; one without a count runs once."""
    once, thrice = read(configs.BATCHES).warmups
    assert once.inputs == {
        "IMAGE": WarmupInput("UINT8", (224, 224, 3), "random"),
        "SCALAR": WarmupInput("BF16", (), "zero"),
        "TEXT": WarmupInput("BYTES", (3, 2), "file", "texts"),
    }
    assert (once.name, once.batch_size, once.count) == ("once", 4, 1)
    assert thrice == Warmup("thrice", 1, 3, {})


def test_sequences_have_controls_and_states() -> None:
    """Flags have values and a datatype, the id has a datatype; states start from a file, zeros, or nothing."""
    config = read(configs.SEQUENCE)
    sequence = config.sequence
    assert sequence.controls == (
        SequenceControl("START", "START", "INT32", 0, 1),
        SequenceControl("READY", "READY", "FP32", -1.0, 0.5),
        SequenceControl("END", "END", "BOOL", False, True),
        SequenceControl("ID", "CORRID", "BYTES"),
    )
    assert sequence.states == (
        SequenceState("SUM_IN", "SUM_OUT", "FP16", (-1, 2), InitialState("start", (3, 2), "sum.bin")),
        SequenceState("COUNT_IN", "COUNT_OUT", "INT64", (), InitialState("", ())),
        SequenceState("LAST_IN", "LAST_OUT", "BOOL", (1,)),
    )
    assert (sequence.strategy, sequence.idle_s, config.batching) == ("oldest", 5.0, None)
    assert read("sequence_batching { direct { } }").sequence.strategy == "direct"


def test_fields_that_are_not_used_are_named() -> None:
    """Fields that only change speed are told apart from the rest; unset fields are in neither list."""
    config = read(configs.BATCHES)
    assert {"instance_group", "instance_group.rate_limiter", "optimization.cuda", "parameters"} < set(config.speed_only)
    assert config.left_out == (
        *("runtime", "cc_model_filenames", "metric_tags", "model_operations", "model_repository_agents"),
        "model_metrics",
    )
    assert read("instance_group { }").speed_only == ("instance_group",)
    assert "sequence_batching.oldest.preferred_batch_size" in read(configs.SEQUENCE).speed_only
    assert read(configs.RAGGED).speed_only == read(configs.RAGGED).left_out == ()
