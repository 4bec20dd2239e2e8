"""Repositories of plain models with a ``config.pbtxt``, of the kinds that Triton's own tests are made of."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_store.datatypes import DATATYPES
from tests.support.models.text import make_model

Shape = Sequence[int]
"""A shape without the batch; -1 is any size."""

_SAME = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT64", "BOOL")
ONNX = {name: TensorProto.DataType.Value(name) for name in _SAME}
ONNX |= {"FP16": TensorProto.FLOAT16, "FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE}
ONNX["BYTES"] = TensorProto.STRING


def onnx_text(datatype: str, shape: Shape) -> str:
    """A type in ONNX's text form."""
    kind = {"FP16": "float16", "FP32": "float", "FP64": "double", "BYTES": "string"}.get(datatype, datatype.lower())
    sizes = ",".join("?" if size == -1 else str(size) for size in shape)
    return f"{kind}[{sizes}]" if sizes else kind


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, str, Sequence[int | str | None] | None]],
    outputs: Sequence[tuple[str, str, Sequence[int | str | None] | None]],
    constants: dict[str, np.ndarray] | None = None,
) -> bytes:
    """An ONNX file with inputs and outputs by name, datatype and shape; None is a size or rank that nothing names."""

    def describe(name: str, datatype: str, shape: Sequence[int | str | None] | None) -> onnx.ValueInfoProto:
        sizes = None if shape is None else [None if size == -1 else size for size in shape]
        return helper.make_tensor_value_info(name, ONNX[datatype], sizes)

    graph = helper.make_graph(
        nodes,
        "triton",
        [describe(*each) for each in inputs],
        [describe(*each) for each in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return model.SerializeToString()


def write_model(
    root: Path, name: str, config: str | None, contents: bytes | Sequence[bytes], **files: str | bytes
) -> None:
    """A model with a version for each content, its configuration, and ``files`` beside it, '__' for a dot."""
    folder = root / name
    for version, content in enumerate([contents] if isinstance(contents, bytes) else contents, 1):
        (folder / str(version)).mkdir(parents=True)
        (folder / str(version) / "model.onnx").write_bytes(content)
    if config is not None:
        (folder / "config.pbtxt").write_text(config)
    for file, text in files.items():
        path = folder / file.replace("__", ".")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def tensor_text(
    kind: str, name: str, datatype: str, dims: Shape, reshape: Shape | None = None, labels: str = "", more: str = ""
) -> str:
    """An input or output as a configuration has it."""
    shape = "" if reshape is None else f" reshape {{ shape: {list(reshape)} }}"
    labelled = f' label_filename: "{labels}"' if labels else ""
    kind_of = "STRING" if datatype == "BYTES" else datatype
    return f'{kind} [ {{ name: "{name}" data_type: TYPE_{kind_of} dims: {list(dims)}{shape}{labelled}{more} }} ]\n'


def head_text(name: str, max_rows: int) -> str:
    return f'name: "{name}"\nplatform: "onnxruntime_onnx"\nmax_batch_size: {max_rows}\n'


def add_sub(datatypes: Sequence[str], dims: Shape, batches: bool, swap: bool = False) -> bytes:
    """OUTPUT0 = INPUT0 + INPUT1, OUTPUT1 = INPUT0 - INPUT1, the other way round with ``swap``.

    ``datatypes`` are those of the inputs, of OUTPUT0 and of OUTPUT1. What ONNX cannot add is added as INT32.
    """
    given, *wanted = datatypes
    shape = [*([-1] if batches else []), *dims]
    between = given if given in ("FP16", "FP32", "FP64", "INT32", "INT64") else "INT32"
    x, y, z = (onnx_text(each, shape) for each in (given, *wanted))
    first, second = ("Sub", "Add") if swap else ("Add", "Sub")
    return make_model(
        f"{x} INPUT0, {x} INPUT1 => {y} OUTPUT0, {z} OUTPUT1",
        f"""
        a = Cast<to={ONNX[between]}>(INPUT0) b = Cast<to={ONNX[between]}>(INPUT1) c = {first}(a, b) d = {second}(a, b)
        OUTPUT0 = Cast<to={ONNX[wanted[0]]}>(c) OUTPUT1 = Cast<to={ONNX[wanted[1]]}>(d)
        """,
    )


LABELS = "".join(f"label{i}\n" for i in range(16))


def add_sub_name(datatypes: Sequence[str], batches: bool) -> str:
    names = [str(np.dtype(DATATYPES[each].dtype)) for each in datatypes]
    return "_".join(["onnx" if batches else "onnx_nobatch", *names])


def write_add_sub(
    root: Path,
    datatypes: Sequence[str],
    dims: Shape,
    batches: bool,
    *,
    policy: str = "",
    sizes: Shape | None = None,
    name: str = "",
) -> str:
    """A model of three versions, of which the second and third swap the outputs; returns its name.

    ``sizes`` are those of the graph, where they are not ``dims``.
    """
    name = name or add_sub_name(datatypes, batches)
    config = head_text(name, 8 if batches else 0) + policy
    config += "".join(tensor_text("input", f"INPUT{i}", datatypes[0], dims) for i in (0, 1))
    config += tensor_text("output", "OUTPUT0", datatypes[1], dims, labels="output0_labels.txt")
    config += tensor_text("output", "OUTPUT1", datatypes[2], dims)
    contents = [add_sub(datatypes, sizes or dims, batches, swap) for swap in (False, True, True)]
    write_model(root, name, config, contents if policy else contents[:1], output0_labels__txt=LABELS)
    return name


Change = tuple[Shape, Shape]
"""Dims of a configuration, and the shape that the graph has."""


def write_identities(
    root: Path, name: str, datatype: str, given: Sequence[Change], wanted: Sequence[Change], batches: bool
) -> str:
    """OUTPUT0 = INPUT0, OUTPUT1 = INPUT1 and so on, in other shapes; returns the name."""
    lead = [-1] if batches else []
    texts, nodes = {"INPUT": [], "OUTPUT": []}, []
    for i, ((_, inner), (_, outer)) in enumerate(zip(given, wanted, strict=True)):
        for prefix, sizes in (("INPUT", inner), ("OUTPUT", outer)):
            texts[prefix].append(f"{onnx_text(datatype, [*lead, *sizes])} {prefix}{i}")
        shape = list(map(int, [*([0] if batches else []), *outer]))
        nodes.append(f"OUTPUT{i} = " + (f"Identity(INPUT{i})" if inner == outer else f"Reshape(INPUT{i}, {shape})"))
    content = make_model(" => ".join(map(", ".join, texts.values())), " ".join(nodes))
    config = head_text(name, 8 if batches else 0)
    for kind, prefix, changes in (("input", "INPUT", given), ("output", "OUTPUT", wanted)):
        for i, (dims, inner) in enumerate(changes):
            reshape = None if list(dims) == list(inner) else inner
            config += tensor_text(kind, f"{prefix}{i}", datatype, dims, reshape)
    write_model(root, name, config, content)
    return name


def write_scalar(root: Path, dims: Shape, max_rows: int = 0) -> str:
    """OUTPUT = INPUT, of which the graph declares no rank; returns the name."""
    name = f"onnx_scalar_{len(dims)}dim" + ("_batch" if max_rows else "")
    node = helper.make_node("Identity", ["INPUT"], ["OUTPUT"])
    content = model_of([node], [("INPUT", "FP32", None)], [("OUTPUT", "FP32", None)])
    config = f"max_batch_size: {max_rows}\n" if max_rows else ""
    config += tensor_text("input", "INPUT", "FP32", dims) + tensor_text("output", "OUTPUT", "FP32", dims)
    write_model(root, name, config, content)
    return name
