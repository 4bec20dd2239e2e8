"""A store of tiny models whose rows are texts, lines of text in pictures, and sounds, for the pages."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

from model_store import Store
from model_store.graph import RowVerdict
from model_store.manifest import Manifest
from model_store.tasks import Carry, Image, Loop, Reading, Sound, Writing
from tests.support.models.manifests import describe_graph
from tests.support.models.text import make_model
from tests.support.writers.models import BEGIN, END, FIRST, Writer, copier, counter

RATE = 1000
STEP = 500
WINDOW = 6 * STEP
"""Samples: three seconds."""
_LOUDNESS = f"size = Abs(x) steps = Reshape(size, [-1, 6, {STEP}]) most = ReduceMax<keepdims=0>(steps, [2])"
"""[batch, 6] of a window: the loudest sample of each half second."""
_HEAR = make_model(
    f"float[batch,{WINDOW}] x => int64[batch,7] memory",
    f"""
    {_LOUDNESS} levels = Mul(most, 20.0) whole = Round(levels) bytes = Cast<to=7>(whole)
    tokens = Add(bytes, {FIRST + ord("a")}) first = Gather<axis=1>(bytes, [0]) none = Mul(first, 0)
    end = Add(none, {END}) memory = Concat<axis=1>(tokens, end)
    """,
)
"""A letter for each half second, the later in the alphabet the louder it is."""


def read_line() -> bytes:
    """A step for each column of a picture of four lines: dark is a blank, a level of 100 is a, 200 is b."""
    return make_model(
        "float[batch,1,4,width] x => float[batch,width,3] y",
        """
        line = ReduceMean<keepdims=0>(x, axes) level = Unsqueeze(line, last) far = Sub(level, places)
        size = Abs(far) scaled = Mul(size, strength) y = Softmax(scaled)
        """,
        axes=np.array([1, 2]),
        last=np.array([2]),
        places=np.array([0, 1, 2], np.float32),
        strength=np.float32(-20),
    )


def read_sound() -> bytes:
    """A step for each half second: below 0.25 it is a blank, to 0.75 a, above b."""
    return make_model(
        f"float[batch,{WINDOW}] x => float[batch,6,3] y",
        f"""
        {_LOUDNESS} column = Unsqueeze(most, last) far = Sub(column, places) apart = Abs(far)
        scaled = Mul(apart, strength) y = Softmax(scaled)
        """,
        last=np.array([2]),
        places=np.array([0, 0.5, 1], np.float32),
        strength=np.float32(-40),
    )


def _listener() -> Writer:
    return Writer(
        {"main": copier().graphs["main"], "hear": _HEAR},
        loop=Loop(start="hear", carries=(Carry(input="memory", start="memory"),), max_steps=40),
        sound=Sound(input="x", graph="hear", rate=RATE, window=WINDOW, longest_s=20.0),
        writing=Writing(token="token", position="position", scores="scores", begin=(BEGIN,), ends=(END,)),
    )


def write_sequence_models(root: Path) -> Path:
    """Publishes the models ``copier``, ``counter``, ``listener`` (they write), ``line-reader`` and ``speller``."""
    for name, writer in {"copier": copier(), "counter": counter(), "listener": _listener()}.items():
        graphs = {graph: facts.model_copy(update=_PROVED) for graph, facts in writer.manifest.graphs.items()}
        manifest = writer.manifest.model_copy(update={"name": name, "graphs": graphs})
        files = {f"{graph}.onnx": content for graph, content in writer.graphs.items()}
        Store(root).publish(manifest, {**files, **writer.files})
    line = Image(input="x", channels=1, height=4, scale=0.01, multiple=4, resize="fit", padded="end")
    symbols = Reading(output="y", symbols=("", "a", "b"))
    _publish_reader(root, "line-reader", read_line(), image=line, reading=symbols)
    _publish_reader(root, "speller", read_sound(), sound=Sound(input="x", rate=RATE, window=WINDOW), reading=symbols)
    return root


_PROVED = {"rows": RowVerdict(verdict="proved")}


def _publish_reader(root: Path, name: str, content: bytes, **facts: object) -> None:
    main = describe_graph(ort.InferenceSession(content), "main.onnx").model_copy(update=_PROVED)
    manifest = Manifest.model_validate({"name": name, "graphs": {"main": main}, "task": "predict_sequence", **facts})
    Store(root).publish(manifest, {"main.onnx": content})
