"""Tiny real forecasters and a tiny translator, and what drives their tasks in place of the engine."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

from model_store.datatypes import BY_ONNX, DATATYPES
from model_store.graph import Graph, Tensor
from model_store.manifest import File, Manifest
from model_store.tasks import Carry, Forecast, Loop, Text
from service.codecs.model_context import ModelContext
from service.engine.loop.request import LoopRequest, LoopResult, Sentence, Value
from service.engine.tensors import Signature
from service.tasks.work import Limits
from tests.support.driving import Drives
from tests.support.models.graphs import build

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
node = helper.make_node
LIMITS = Limits(max_pixels=1, state_key=b"a key of the tests")


class Model(Drives):
    """A manifest made for real sessions of its graphs."""

    def __init__(self, graphs: Mapping[str, bytes], **facts: Any) -> None:
        super().__init__()
        self.sessions = {name: ort.InferenceSession(content) for name, content in graphs.items()}
        described = {name: _describe(name, session) for name, session in self.sessions.items()}
        files = {f"{name}.onnx": File(sha256="0" * 64, size_bytes=len(content)) for name, content in graphs.items()}
        self.manifest = Manifest(name="m", task="predict_sequence", graphs=described, files=files, **facts)
        self.context = ModelContext("m", "1", self.manifest)
        self.runs: list[tuple[str, int]] = []
        """(graph, rows) of every Infer and every step."""

    def infer(self, graph: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One run, after the check that the engine makes."""
        checked = Signature(self.manifest.graphs[graph]).check(inputs)
        self.runs.append((graph, checked.number))
        session = self.sessions[graph]
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    def iterate(self, request: LoopRequest) -> LoopResult:
        """All rows step by step together; sentences, which end at different steps, one after the other."""
        if request.decoding is None:
            return LoopResult(self._walk(request, slice(0, request.rows))[0], {}, [], 0.0, 0.0)
        sentences = [self._walk(request, slice(row, row + 1))[1] for row in range(request.rows)]
        return LoopResult({}, {}, sentences, 0.0, 0.0)

    def _walk(self, request: LoopRequest, rows: slice) -> tuple[dict[str, np.ndarray], Sentence]:
        assert self.manifest.loop is not None
        decoding = request.decoding
        carried = {name: array[rows] for name, array in request.begin.items()}
        kept: dict[str, list[np.ndarray]] = {name: [] for name in request.keep}
        tokens, log_probability = [], 0.0
        if decoding:
            carried[decoding.token] = np.array([decoding.begin])
        for step in range(request.steps):
            drawn = {name: self._fill(name, of(rows, step), rows) for name, of in request.by_step.items()}
            outputs = self.infer("main", {**carried, **drawn})
            for carry in self.manifest.loop.carries:
                if carry.output:
                    carried[carry.input] = outputs[carry.output]
            for name, values in kept.items():
                values.append(outputs[name])
            shown = {name: outputs[name] for name in (*request.keep, *request.show)}
            if decoding:
                scores = outputs[decoding.scores][0]
                token = int(np.argmax(scores))
                shown[decoding.token] = np.array([token])
            if request.watch:
                for at, row in enumerate(range(rows.start, rows.stop)):
                    request.watch(row, step, {name: array[at] for name, array in shown.items()})
            if decoding:
                log_probability += float(scores[token])
                if token == decoding.end:
                    break
                tokens.append(token)
                carried[decoding.token] = np.array([token])
        return {name: np.stack(values, axis=1) for name, values in kept.items()}, Sentence(tokens, log_probability)

    def _fill(self, name: str, value: Value, rows: slice) -> np.ndarray:
        """What an input of ``main`` takes at a step: an array, or one value for all rows."""
        tensor = next(t for t in self.manifest.graphs["main"].inputs if t.name == name)
        filled = np.empty((rows.stop - rows.start, *map(int, tensor.row_shape)), DATATYPES[tensor.datatype].dtype)
        filled[:] = value
        return filled


def _describe(name: str, session: ort.InferenceSession) -> Graph:
    def describe(found: Any) -> Tensor:
        return Tensor(name=found.name, datatype=BY_ONNX[found.type].name, shape=tuple(found.shape), batch_axis=0)

    inputs, outputs = session.get_inputs(), session.get_outputs()
    return Graph(file=f"{name}.onnx", inputs=tuple(map(describe, inputs)), outputs=tuple(map(describe, outputs)))


def monthly_forecaster(quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)) -> Model:
    """At once: the three quantiles of three steps are 2 * last value + month - 1, + 0 and + 1."""
    graph = build(
        [
            node("Gather", ["history", "end"], ["last"], axis=1),
            node("Mul", ["last", "two"], ["twice"]),
            node("Cast", ["month"], ["number"], to=FLOAT),
            node("Unsqueeze", ["number", "one"], ["column"]),
            node("Add", ["twice", "column"], ["centre"]),
            node("Unsqueeze", ["centre", "two_axes"], ["cube"]),
            node("Squeeze", ["cube", "last_axis"], ["square"]),
            node("Add", ["square", "spread"], ["forecast"]),
        ],
        [("history", FLOAT, ["batch", "time"]), ("month", INT64, ["batch"])],
        [("forecast", FLOAT, ["batch", 3, 3])],
        {
            "end": np.array([-1]),
            "two": np.array(2, np.float32),
            "one": np.array([1]),
            "two_axes": np.array([2, 3]),
            "last_axis": np.array([3]),
            "spread": np.tile(np.array([-1, 0, 1], np.float32), (3, 1)),
        },
    )
    facts = Forecast(
        history="history", output="forecast", horizon=3, quantiles=quantiles, least_history=2, max_history=50
    )
    return Model({"main": graph}, forecast=facts)


def _masked_sum() -> list[Any]:
    """history [batch, time], length [batch] -> sum of the values that count [batch, 1]."""
    return [
        node("Shape", ["history"], ["shape"]),
        node("Gather", ["shape", "axis"], ["size"]),
        node("Range", ["zero", "size", "step"], ["positions"]),
        node("Unsqueeze", ["length", "axes"], ["lengths"]),
        node("Less", ["positions", "lengths"], ["counts"]),
        node("Where", ["counts", "history", "nothing"], ["masked"]),
        node("ReduceSum", ["masked", "axes"], ["sum"], keepdims=1),
    ]


_MASK = {
    "axis": np.array(1),
    "zero": np.array(0),
    "step": np.array(1),
    "axes": np.array([1]),
    "nothing": np.array(0, np.float32),
}


def summing_forecaster() -> Model:
    """At once, padded: both steps are the sum of the history."""
    graph = build(
        [*_masked_sum(), node("Concat", ["sum", "sum"], ["forecast"], axis=1)],
        [("history", FLOAT, ["batch", "time"]), ("length", INT64, ["batch"])],
        [("forecast", FLOAT, ["batch", 2])],
        _MASK,
    )
    return Model(
        {"main": graph},
        forecast=Forecast(history="history", length="length", output="forecast", horizon=2, max_history=50),
    )


def rolling_forecaster(with_noise: bool = True, resumes: bool = True, **facts: Any) -> Model:
    """A loop: next value = 0.5 * value + state + noise, state + 1; it starts with the last value of the history and
    the sum of all values, those before the resumed state included.
    """
    inputs = [("history", FLOAT, ["batch", "time"]), ("length", INT64, ["batch"])]
    start = build(
        [
            *_masked_sum(),
            node("Add", ["sum", "before"], ["state"]) if resumes else node("Identity", ["sum"], ["state"]),
            node("Sub", ["lengths", "step"], ["end"]),
            node("GatherElements", ["history", "end"], ["ends"], axis=1),
            node("Squeeze", ["ends", "axes"], ["value"]),
        ],
        [*inputs, ("before", FLOAT, ["batch", 1])] if resumes else inputs,
        [("value", FLOAT, ["batch"]), ("state", FLOAT, ["batch", 1])],
        _MASK,
    )
    taken = [("value", FLOAT, ["batch"]), ("state", FLOAT, ["batch", 1])]
    step = build(
        [
            node("Mul", ["value", "half"], ["halved"]),
            node("Squeeze", ["state", "axes"], ["flat"]),
            node("Add", ["halved", "flat"], ["centre"]),
            node("Add", ["centre", "noise"], ["next"]) if with_noise else node("Identity", ["centre"], ["next"]),
            node("Add", ["state", "one"], ["next_state"]),
        ],
        [*taken, ("noise", FLOAT, ["batch"])] if with_noise else taken,
        [("next", FLOAT, ["batch"]), ("next_state", FLOAT, ["batch", 1])],
        {"half": np.array(0.5, np.float32), "one": np.array(1, np.float32), "axes": np.array([1])},
    )
    carries = (
        Carry(input="value", output="next", start="value"),
        Carry(input="state", output="next_state", start="state", resume="before" if resumes else None),
    )
    known = Forecast(
        history="history",
        length="length",
        output="next",
        noise="noise" if with_noise else None,
        least_history=2,
        max_history=50,
        **facts,
    )
    return Model(
        {"main": step, "begin": start}, loop=Loop(start="begin", carries=carries, max_steps=40), forecast=known
    )


def sliding_forecaster() -> Model:
    """A loop without a start graph: next value = sum of the history + steps so far; it joins the history, which the
    oldest one leaves.
    """
    step = build(
        [
            node("ReduceSum", ["history", "axes"], ["sum"], keepdims=1),
            node("Add", ["sum", "count"], ["column"]),
            node("Squeeze", ["column", "axes"], ["next"]),
            node("Concat", ["history", "column"], ["longer"], axis=1),
            node("Slice", ["longer", "axes", "far", "axes"], ["next_history"]),
            node("Add", ["count", "one"], ["next_count"]),
        ],
        [("history", FLOAT, ["batch", "time"]), ("count", FLOAT, ["batch", 1])],
        [
            ("next", FLOAT, ["batch"]),
            ("next_history", FLOAT, ["batch", "time"]),
            ("next_count", FLOAT, ["batch", 1]),
        ],
        {"axes": np.array([1]), "far": np.array([1 << 40]), "one": np.array(1, np.float32)},
    )
    carries = (Carry(input="history", output="next_history"), Carry(input="count", output="next_count"))
    facts = Forecast(history="history", output="next")
    return Model({"main": step}, loop=Loop(carries=carries, max_steps=10), forecast=facts)


SCORE = 4.0
"""How much likelier than the others, as a logarithm, the translator finds the right symbol."""


def translator(max_steps: int = 8) -> Model:
    """Writes a, b, c as x, yy, z, and then ends: a step looks at the place in the source that its counter says."""
    start = build(
        [
            node("Cast", ["source"], ["copied"], to=FLOAT),
            node("Shape", ["source"], ["shape"]),
            node("Gather", ["shape", "first"], ["size"]),
            node("Concat", ["size", "axes"], ["column"], axis=0),
            node("ConstantOfShape", ["column"], ["end"]),
            node("Concat", ["copied", "end"], ["memory"], axis=1),
        ],
        [("source", INT64, ["batch", "length"])],
        [("memory", FLOAT, ["batch", "longer"])],
        {"first": np.array([0]), "axes": np.array([1])},
    )
    step = build(
        [
            node("GatherElements", ["memory", "place"], ["found"], axis=1),
            node("Cast", ["found"], ["character"], to=INT64),
            node("Add", ["character", "one"], ["right"]),
            node("Equal", ["right", "every"], ["is_right"]),
            node("Cast", ["is_right"], ["likely"], to=FLOAT),
            node("Mul", ["likely", "score"], ["scaled"]),
            node("LogSoftmax", ["scaled"], ["scores"], axis=1),
            node("Add", ["place", "one"], ["next_place"]),
        ],
        [("token", INT64, ["batch"]), ("place", INT64, ["batch", 1]), ("memory", FLOAT, ["batch", "longer"])],
        [("scores", FLOAT, ["batch", 5]), ("next_place", INT64, ["batch", 1])],
        {"one": np.array(1), "every": np.arange(5)[None], "score": np.array(SCORE, np.float32)},
    )
    carries = (Carry(input="place", output="next_place"), Carry(input="memory", start="memory"))
    text = Text(
        source="source",
        characters=("", "a", "b", "c"),
        lengths=(2, 4, 8),
        token="token",
        scores="scores",
        symbols=("", "", "x", "yy", "z"),
        begin=0,
        end=1,
    )
    return Model(
        {"main": step, "read": start}, loop=Loop(start="read", carries=carries, max_steps=max_steps), text=text
    )
