"""What HTTP and gRPC tell of the configuration of models that have a ``config.pbtxt``."""

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest
from google.protobuf import json_format
from pydantic import TypeAdapter

from service.api.openapi.model_config import ModelConfig
from tests.support.models import graphs, triton_sequences
from tests.support.models import triton_models as models
from tests.support.servers import settings_for
from tests.support.triton_clients import TritonServing

BATCHING = """
dynamic_batching {
  max_queue_delay_microseconds: 1500
  priority_levels: 3
  default_priority_level: 2
  default_queue_policy { timeout_action: DELAY max_queue_size: 9 }
  priority_queue_policy { key: 1 value { default_timeout_microseconds: 250000 allow_timeout_override: true } }
}
"""
SCALAR = [((1,), ()), ((2, 3), (6,))]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServing]:
    root = tmp_path_factory.mktemp("configs")
    policy = "version_policy { specific { versions: [ 1, 3 ] } }" + BATCHING
    models.write_add_sub(root, ("FP32", "FP32", "FP32"), (16,), True, policy=policy, name="batched")
    models.write_add_sub(root, ("INT8", "INT8", "INT8"), (16,), False, policy="version_policy { all { } }", name="all")
    models.write_identities(root, "shaped", "BYTES", SCALAR, SCALAR, True)
    models.write_identities(root, "whole", "FP32", SCALAR, SCALAR, False)
    triton_sequences.write_accumulator(root, "FP32", 8)
    triton_sequences.write_telling(root, "BYTES")
    triton_sequences.write_begun(
        root, "file", "FP32", 'initial_state: { dims: [ 2 ] data_file: "begin" }', begin=bytes(8)
    )
    models.write_model(root, "mixing", "max_batch_size: 4", graphs.mixing())
    models.write_model(root, "completed", "version_policy { latest { num_versions: 2 } }", graphs.double())
    models.write_model(root, "plain", None, graphs.scalars())
    with TritonServing(settings_for(root, provider="cpu")) as serving:
        yield serving


def ask(server: TritonServing, name: str) -> Mapping[str, Any]:
    """What HTTP says, after a look that it is of its schema and that gRPC says the same."""
    told: Mapping[str, Any] = server.http.get_model_config(name)
    jsonschema.validate(told, TypeAdapter(ModelConfig).json_schema())
    message = server.grpc.get_model_config(name).config
    parsed = json_format.ParseDict(told, type(message)())
    assert message == parsed
    return told


def test_batches_and_queues_are_told_as_configured(server: TritonServing) -> None:
    """The configuration tells batch size, versions, labels, delay, levels and policies."""
    config = ask(server, "batched")
    assert (config["max_batch_size"], config["version_policy"]) == (8, {"specific": {"versions": [1, 3]}})
    assert config["input"][1] == {"name": "INPUT1", "data_type": "TYPE_FP32", "dims": [16]}
    assert config["output"][0]["label_filename"] == "output0_labels.txt"
    assert "label_filename" not in config["output"][1]
    batching = config["dynamic_batching"]
    assert (batching["max_queue_delay_microseconds"], batching["preserve_ordering"]) == (1500, False)
    assert (batching["priority_levels"], batching["default_priority_level"]) == (3, 2)
    names = ("timeout_action", "default_timeout_microseconds", "allow_timeout_override", "max_queue_size")
    assert batching["default_queue_policy"] == dict(zip(names, ("DELAY", 0, False, 9), strict=True))
    assert batching["priority_queue_policy"]["1"] == dict(zip(names, ("REJECT", 250000, True, 0), strict=True))


@pytest.mark.parametrize("name", ["shaped", "whole"])
def test_shapes_of_callers_and_graph_are_told(server: TritonServing, name: str) -> None:
    """Dims are what callers send, reshape is what the graph has, and a scalar of it is an empty shape."""
    config = ask(server, name)
    for kind in ("input", "output"):
        assert [(t["dims"], t["reshape"]) for t in config[kind]] == [([1], {"shape": []}), ([2, 3], {"shape": [6]})]
    assert config["max_batch_size"] == (8 if name == "shaped" else 0)
    assert config["input"][0]["data_type"] == ("TYPE_STRING" if name == "shaped" else "TYPE_FP32")


def test_sequences_are_told_with_states_and_controls(server: TritonServing) -> None:
    """The configuration tells strategy, idle time, states with their beginnings, and controls with their values."""
    config = ask(server, "accumulate_fp32")
    assert [t["name"] for t in (*config["input"], *config["output"])] == ["x", "y"]
    batching = config["sequence_batching"]
    assert (batching["max_sequence_idle_microseconds"], "direct" in batching) == (60_000_000, True)
    [start, ready] = batching["control_input"]
    assert start == {"name": "START", "control": [{"kind": "CONTROL_SEQUENCE_START", "fp32_false_true": [0.0, 1.0]}]}
    assert ready["control"][0]["kind"] == "CONTROL_SEQUENCE_READY"
    state = {"input_name": "s", "output_name": "next_s", "data_type": "TYPE_FP32", "dims": [1]}
    assert batching["state"] == [state]
    assert "dynamic_batching" not in config
    told = ask(server, "telling_bytes")["sequence_batching"]["control_input"]
    assert told[-1] == {"name": "ID", "control": [{"kind": "CONTROL_SEQUENCE_CORRID", "data_type": "TYPE_STRING"}]}
    file = ask(server, "file")["sequence_batching"]
    assert file["oldest"]["max_candidate_sequences"] == 1024
    begin = {"name": "", "data_type": "TYPE_FP32", "dims": [2], "data_file": "begin"}
    assert file["state"][0]["initial_state"] == [begin]


def test_what_the_graph_says_is_told_too(server: TritonServing) -> None:
    """The graph completes dims and datatypes; a model whose rows do not batch has no batching."""
    whole = ask(server, "all")
    assert (whole["max_batch_size"], whole["version_policy"]) == (0, {"all": {}})
    assert not {"dynamic_batching", "sequence_batching"} & whole.keys()
    completed = ask(server, "completed")
    assert completed["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}]
    assert (completed["max_batch_size"], completed["version_policy"]) == (64, {"latest": {"num_versions": 2}})
    mixing = ask(server, "mixing")
    assert (mixing["max_batch_size"], "dynamic_batching" in mixing) == (4, False)
    scalar = {"name": "x", "data_type": "TYPE_FP32", "dims": [1], "reshape": {"shape": []}}
    assert ask(server, "plain")["input"] == [scalar]
