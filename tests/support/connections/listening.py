"""Tiny models that take sound, with states that a test can follow."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from model_store import Store
from model_store.graph import RowVerdict
from model_store.manifest import Manifest
from model_store.tasks import Carry, Classes, Loop, Reading, Sound
from tests.support.models.manifests import describe_graph
from tests.support.models.text import make_model

WINDOW = 4
RATE = 1000


def adder() -> bytes:
    """so_far = what was carried + the sum of the window."""
    return make_model(
        "float[batch,4] x, float[batch,1] total => float[batch,1] next_total, float[batch,1] so_far",
        "sum = ReduceSum<keepdims=1>(x, axes) next_total = Add(total, sum) so_far = Identity(next_total)",
        axes=np.array([1]),
    )


def louder() -> bytes:
    """Two labels, quiet and loud: the probability of loud is the mean of the window."""
    return make_model(
        "float[batch,4] x => float[batch,2] p",
        "loud = ReduceMean<keepdims=1>(x, axes) quiet = Sub(one, loud) p = Concat<axis=1>(quiet, loud)",
        axes=np.array([1]),
        one=np.float32(1),
    )


def speller(window: int) -> bytes:
    """A step for each sample: below 0.25 it is a blank, to 0.75 a, above b."""
    return make_model(
        f"float[batch,{window}] x => float[batch,{window},3] y",
        """
        column = Unsqueeze(x, last) far = Sub(column, places) size = Abs(far) scaled = Mul(size, strength)
        y = Softmax(scaled)
        """,
        last=np.array([2]),
        places=np.array([0, 0.5, 1], np.float32),
        strength=np.float32(-40),
    )


def counter() -> bytes:
    """next_total = total + x."""
    return make_model("int64[batch] x, int64[batch] total => int64[batch] next_total", "next_total = Add(total, x)")


def fails() -> bytes:
    """value = 1 / (2 - total), which is no number in the third row."""
    return make_model(
        "float[batch,4] x, float[batch,1] total => float[batch,1] next_total, float[batch,1] value",
        "next_total = Add(total, one) left = Sub(two, total) value = Div(one, left)",
        one=np.float32(1),
        two=np.float32(2),
    )


def publish(root: Path, name: str, content: bytes, **facts: Any) -> None:
    main = describe_graph(ort.InferenceSession(content)).model_copy(update={"rows": RowVerdict(verdict="proved")})
    manifest = Manifest(name=name, graphs={"main": main}, **{"task": "tensors", **facts})
    Store(root).publish(manifest, {"main.onnx": content})


def write_listeners(root: Path) -> Path:
    """A store with all of them."""
    sound = Sound(input="x", rate=RATE, window=WINDOW)
    carries = (Carry(input="total", output="next_total"),)
    loop = Loop(carries=carries, max_steps=20)
    publish(root, "adder", adder(), sound=sound, loop=loop)
    publish(root, "fails", fails(), sound=sound, loop=loop)
    publish(
        root,
        "louder",
        louder(),
        task="classify",
        sound=sound,
        labels=("quiet", "loud"),
        classes=Classes(probabilities="p"),
    )
    reading = Reading(output="y", symbols=("", "a", "b"))
    publish(root, "speller", speller(WINDOW), task="predict_sequence", sound=sound, reading=reading)
    shared = Sound(input="x", rate=RATE, window=8, overlap=4)
    publish(root, "overlapping", speller(8), task="predict_sequence", sound=shared, reading=reading)
    levelled = Sound(input="x", rate=RATE, window=WINDOW, level_dbfs=-30.0)
    publish(root, "levelled", louder(), sound=levelled)
    x_carried = Loop(carries=(*carries, Carry(input="x", output=None)), max_steps=20)
    publish(root, "counter", counter(), loop=x_carried)
    return root
