"""Models whose Triton configuration has ``sequence_batching``: what they carry, and the controls that they take."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from tests.support.models.triton_models import ONNX, head_text, model_of, tensor_text, write_model

Nodes = list[onnx.NodeProto]


def state_text(given: str, wanted: str, datatype: str, dims: Sequence[int], initial: str = "") -> str:
    kind = "STRING" if datatype == "BYTES" else datatype
    text = f'state [ {{ input_name: "{given}" output_name: "{wanted}" data_type: TYPE_{kind} dims: {list(dims)}'
    return f"{text} {initial} }} ]\n"


def control_text(name: str, kind: str, values: str) -> str:
    return f'control_input [ {{ name: "{name}" control [ {{ kind: CONTROL_SEQUENCE_{kind} {values} }} ] }} ]\n'


def sequence_text(*parts: str, strategy: str = "direct { }", idle_s: float = 60) -> str:
    head = f"max_sequence_idle_microseconds: {round(idle_s * 1e6)}\n{strategy}\n"
    return f"sequence_batching {{\n{head}{''.join(parts)}}}\n"


def write_accumulator(
    root: Path, datatype: str, max_rows: int, *, is_seen: bool = False, name: str = "", size: int = 1
) -> str:
    """y = x + s if the request is ready and does not start its sequence, else x; s is the y before.

    Its flags are of ``datatype`` if this is one of flags, else INT32. ``is_seen`` lists the state as an output too.
    """
    name = name or f"accumulate_{datatype.lower()}" + ("" if max_rows else "_nobatch") + ("_seen" if is_seen else "")
    number = "INT32" if datatype == "BOOL" else datatype
    flag = datatype if datatype in ("BOOL", "FP32") else "INT32"
    lead = [-1] if max_rows else []
    shape = [*lead, size]
    nodes = [helper.make_node("Cast", [each], [f"is_{each}"], to=ONNX["BOOL"]) for each in ("START", "READY")]
    nodes += [
        helper.make_node("Not", ["is_START"], ["goes_on"]),
        helper.make_node("And", ["goes_on", "is_READY"], ["counts"]),
        helper.make_node("Cast", ["counts"], ["factor"], to=ONNX[number]),
        helper.make_node("Mul", ["s", "factor"], ["before"]),
        helper.make_node("Add", ["x", "before"], ["y"]),
        helper.make_node("Identity", ["y"], ["next_s"]),
    ]
    inputs = [("s", number, shape), ("x", number, shape), *((each, flag, [*lead, 1]) for each in ("START", "READY"))]
    content = model_of(nodes, inputs, [("y", number, shape), ("next_s", number, shape)])
    values = {"BOOL": "bool_false_true: [ false, true ]", "FP32": "fp32_false_true: [ 0, 1 ]"}
    controls = [control_text(each, each, values.get(flag, "int32_false_true: [ 0, 1 ]")) for each in ("START", "READY")]
    config = (
        head_text(name, max_rows)
        + tensor_text("input", "x", number, (size,))
        + tensor_text("output", "y", number, (size,))
    )
    if is_seen:
        config += tensor_text("output", "next_s", number, (size,))
    config += sequence_text(*controls, state_text("s", "next_s", number, (size,)))
    write_model(root, name, config, content)
    return name


def write_begun(root: Path, name: str, datatype: str, initial: str, **files: bytes) -> str:
    """y = s, and s becomes x: what a sequence begins with is its first answer. Rows of two."""
    nodes = [helper.make_node("Identity", ["s"], ["y"]), helper.make_node("Identity", ["x"], ["next_s"])]
    shape = [-1, 2]
    content = model_of(
        nodes, [("x", datatype, shape), ("s", datatype, shape)], [("y", datatype, shape), ("next_s", datatype, shape)]
    )
    config = head_text(name, 4) + tensor_text("input", "x", datatype, (2,)) + tensor_text("output", "y", datatype, (2,))
    config += sequence_text(state_text("s", "next_s", datatype, (2,), initial), strategy="oldest { }")
    write_model(root, name, config, content)
    for file, data in files.items():
        (root / name / "initial_state").mkdir(exist_ok=True)
        (root / name / "initial_state" / file).write_bytes(data)
    return name


def write_growing(root: Path, name: str = "growing", initial: str = "") -> str:
    """y = all x of the sequence so far, behind what it begins with: the state has an open size."""
    nodes = [helper.make_node("Concat", ["s", "x"], ["y"], axis=1), helper.make_node("Identity", ["y"], ["next_s"])]
    content = model_of(
        nodes,
        [("x", "FP32", [-1, 1]), ("s", "FP32", [-1, "length"])],
        [("y", "FP32", [-1, "longer"]), ("next_s", "FP32", [-1, "longer"])],
    )
    config = head_text(name, 8) + tensor_text("input", "x", "FP32", (1,)) + tensor_text("output", "y", "FP32", (-1,))
    write_model(root, name, config + sequence_text(state_text("s", "next_s", "FP32", (-1,), initial)), content)
    return name


def write_telling(root: Path, datatype: str) -> str:
    """Tells what the server puts in: the id of the sequence, and whether it starts and ends here. It keeps nothing."""
    name = f"telling_{datatype.lower()}"
    shape = [-1, 1]
    flags = ("START", "END", "READY")
    nodes = [helper.make_node("Concat", [*flags, "x"], ["flags"], axis=1), helper.make_node("Identity", ["ID"], ["id"])]
    inputs = [("x", "FP32", shape), *((each, "FP32", shape) for each in flags), ("ID", datatype, shape)]
    content = model_of(nodes, inputs, [("flags", "FP32", [-1, 4]), ("id", datatype, shape)])
    controls = [control_text(each, each, "fp32_false_true: [ -1, 2 ]") for each in flags]
    kind = "STRING" if datatype == "BYTES" else datatype
    controls.append(control_text("ID", "CORRID", f"data_type: TYPE_{kind}"))
    config = head_text(name, 8) + tensor_text("input", "x", "FP32", (1,))
    config += tensor_text("output", "flags", "FP32", (4,)) + tensor_text("output", "id", datatype, (1,))
    write_model(root, name, config + sequence_text(*controls), content)
    return name


def layered(layers: int = 2, width: int = 3) -> bytes:
    """h [layers, batch, width] becomes h / 2 + x [batch, width], y [batch, width] is the sum of its layers."""
    nodes = [
        helper.make_node("Mul", ["h", "half"], ["smaller"]),
        helper.make_node("Unsqueeze", ["x", "first"], ["every"]),
        helper.make_node("Add", ["smaller", "every"], ["next_h"]),
        helper.make_node("ReduceSum", ["next_h", "first"], ["y"], keepdims=0),
    ]
    h = [layers, "batch", width]
    return model_of(
        nodes,
        [("x", "FP32", ["batch", width]), ("h", "FP32", h)],
        [("y", "FP32", ["batch", width]), ("next_h", "FP32", h)],
        {"half": np.array(0.5, np.float32), "first": np.array([0])},
    )


def write_layered(root: Path, max_rows: int) -> str:
    """``layered`` with dims without the batch, or with whole shapes of one row."""
    name = "layered" if max_rows else "layered_whole"
    lead, state = ([], [2, 3]) if max_rows else ([1], [2, 1, 3])
    config = head_text(name, max_rows)
    config += tensor_text("input", "x", "FP32", (*lead, 3)) + tensor_text("output", "y", "FP32", (*lead, 3))
    write_model(root, name, config + sequence_text(state_text("h", "next_h", "FP32", state)), layered())
    return name


def write_mixing(root: Path) -> str:
    """y = x + s - the mean of x over the batch, s is the y before: rows that would change each other."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "first"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["apart"]),
        helper.make_node("Add", ["apart", "s"], ["more"]),
        helper.make_node("Add", ["more", "one"], ["y"]),
        helper.make_node("Identity", ["y"], ["next_s"]),
    ]
    shape = [-1, 1]
    content = model_of(
        nodes,
        [("x", "FP32", shape), ("s", "FP32", shape)],
        [("y", "FP32", shape), ("next_s", "FP32", shape)],
        {"first": np.array([0]), "one": np.array(1, np.float32)},
    )
    config = head_text("mixing", 8) + tensor_text("input", "x", "FP32", (1,)) + tensor_text("output", "y", "FP32", (1,))
    write_model(root, "mixing", config + sequence_text(state_text("s", "next_s", "FP32", (1,))), content)
    return "mixing"
