"""Models whose Triton configuration has ``sequence_batching``: what they carry, and the controls that they take."""

from collections.abc import Sequence
from pathlib import Path

from tests.support.models.text import make_model
from tests.support.models.triton_models import ONNX, head_text, onnx_text, tensor_text, write_model

Tensor = tuple[str, str, Sequence[int]]
"""Name, datatype and dims."""


def _kind(datatype: str) -> str:
    return "STRING" if datatype == "BYTES" else datatype


def state_text(given: str, wanted: str, datatype: str, dims: Sequence[int], initial: str = "") -> str:
    text = f'input_name: "{given}" output_name: "{wanted}" data_type: TYPE_{_kind(datatype)} dims: {list(dims)}'
    return f"state [ {{ {text} {initial} }} ]\n"


def control_text(name: str, kind: str, values: str) -> str:
    return f'control_input [ {{ name: "{name}" control [ {{ kind: CONTROL_SEQUENCE_{kind} {values} }} ] }} ]\n'


def sequence_text(*parts: str, strategy: str = "direct { }", idle_s: float = 60) -> str:
    head = f"max_sequence_idle_microseconds: {round(idle_s * 1e6)}\n{strategy}\n"
    return f"sequence_batching {{\n{head}{''.join(parts)}}}\n"


def _write(
    root: Path, name: str, max_rows: int, content: bytes, given: Tensor, wanted: Sequence[Tensor], sequence: str
) -> str:
    """A model of one input beside what it carries; returns its name."""
    outputs = "".join(tensor_text("output", *tensor) for tensor in wanted)
    write_model(root, name, head_text(name, max_rows) + tensor_text("input", *given) + outputs + sequence, content)
    return name


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
    of_number, of_flag = onnx_text(number, [*lead, size]), onnx_text(flag, [*lead, 1])
    content = make_model(
        f"{of_number} s, {of_number} x, {of_flag} START, {of_flag} READY => {of_number} y, {of_number} next_s",
        f"""
        starts = Cast<to=9>(START) ready = Cast<to=9>(READY) goes_on = Not(starts) counts = And(goes_on, ready)
        factor = Cast<to={ONNX[number]}>(counts) before = Mul(s, factor) y = Add(x, before) next_s = Identity(y)
        """,
    )
    values = {"BOOL": "bool_false_true: [ false, true ]", "FP32": "fp32_false_true: [ 0, 1 ]"}
    controls = [control_text(each, each, values.get(flag, "int32_false_true: [ 0, 1 ]")) for each in ("START", "READY")]
    outputs = [(each, number, (size,)) for each in (("y", "next_s") if is_seen else ("y",))]
    sequence = sequence_text(*controls, state_text("s", "next_s", number, (size,)))
    return _write(root, name, max_rows, content, ("x", number, (size,)), outputs, sequence)


def write_begun(root: Path, name: str, datatype: str, initial: str, **files: bytes) -> str:
    """y = s, and s becomes x: what a sequence begins with is its first answer. Rows of two."""
    kind = onnx_text(datatype, [-1, 2])
    content = make_model(f"{kind} x, {kind} s => {kind} y, {kind} next_s", "y = Identity(s) next_s = Identity(x)")
    sequence = sequence_text(state_text("s", "next_s", datatype, (2,), initial), strategy="oldest { }")
    _write(root, name, 4, content, ("x", datatype, (2,)), [("y", datatype, (2,))], sequence)
    for file, data in files.items():
        (root / name / "initial_state").mkdir(exist_ok=True)
        (root / name / "initial_state" / file).write_bytes(data)
    return name


def write_growing(root: Path, name: str = "growing", initial: str = "") -> str:
    """y = all x of the sequence so far, behind what it begins with: the state has an open size."""
    content = make_model(
        "float[?,1] x, float[?,length] s => float[?,longer] y, float[?,longer] next_s",
        "y = Concat<axis=1>(s, x) next_s = Identity(y)",
    )
    sequence = sequence_text(state_text("s", "next_s", "FP32", (-1,), initial))
    return _write(root, name, 8, content, ("x", "FP32", (1,)), [("y", "FP32", (-1,))], sequence)


def write_telling(root: Path, datatype: str) -> str:
    """Tells what the server puts in: the id of the sequence, and whether it starts and ends here. It keeps nothing."""
    flags, kind = ("START", "END", "READY"), onnx_text(datatype, [-1, 1])
    given = ", ".join(f"float[?,1] {each}" for each in ("x", *flags))
    content = make_model(
        f"{given}, {kind} ID => float[?,4] flags, {kind} id",
        "flags = Concat<axis=1>(START, END, READY, x) id = Identity(ID)",
    )
    controls = [control_text(each, each, "fp32_false_true: [ -1, 2 ]") for each in flags]
    controls.append(control_text("ID", "CORRID", f"data_type: TYPE_{_kind(datatype)}"))
    outputs = [("flags", "FP32", (4,)), ("id", datatype, (1,))]
    name = f"telling_{datatype.lower()}"
    return _write(root, name, 8, content, ("x", "FP32", (1,)), outputs, sequence_text(*controls))


def layered(layers: int = 2, width: int = 3) -> bytes:
    """h [layers, batch, width] becomes h / 2 + x [batch, width], y [batch, width] is the sum of its layers."""
    x, h = f"float[batch,{width}]", f"float[{layers},batch,{width}]"
    return make_model(
        f"{x} x, {h} h => {x} y, {h} next_h",
        """
        smaller = Mul(h, 0.5) every = Unsqueeze(x, [0]) next_h = Add(smaller, every)
        y = ReduceSum<keepdims=0>(next_h, [0])
        """,
    )


def write_layered(root: Path, max_rows: int) -> str:
    """``layered`` with dims without the batch, or with whole shapes of one row."""
    name = "layered" if max_rows else "layered_whole"
    dims, state = ([3], [2, 3]) if max_rows else ([1, 3], [2, 1, 3])
    sequence = sequence_text(state_text("h", "next_h", "FP32", state))
    return _write(root, name, max_rows, layered(), ("x", "FP32", dims), [("y", "FP32", dims)], sequence)


def write_mixing(root: Path) -> str:
    """y = x + s - the mean of x over the batch, s is the y before: rows that would change each other."""
    content = make_model(
        "float[?,1] x, float[?,1] s => float[?,1] y, float[?,1] next_s",
        """
        mean = ReduceMean<keepdims=1>(x, [0]) apart = Sub(x, mean) more = Add(apart, s) y = Add(more, 1.0)
        next_s = Identity(y)
        """,
    )
    sequence = sequence_text(state_text("s", "next_s", "FP32", (1,)))
    return _write(root, "mixing", 8, content, ("x", "FP32", (1,)), [("y", "FP32", (1,))], sequence)
