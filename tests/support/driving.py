"""A plain driver of tasks in place of the handler and the engine: real sessions, one thing at a time."""

import json
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import onnxruntime as ort

from model_store import DEFAULT_ROOT
from model_store.manifest import Manifest
from service.codecs.model_context import ModelContext
from service.engine.loop.request import LoopRequest, LoopResult, Sentence
from service.engine.tensors import Signature
from service.protocol.json import render_json
from service.tasks.work import Call, Emit, Infer, Iterate, Limits, Result, RunInThread, Work
from tests.support.models.manifests import describe_graph

LIMITS = Limits(max_pixels=1_000_000)

Arrays = dict[str, np.ndarray]


class Driver:
    """Runs tasks on the graphs of one model, and notes what they asked for."""

    def __init__(self, manifest: Manifest, graphs: Mapping[str, bytes]) -> None:
        self.manifest = manifest
        self.context = ModelContext(manifest.name, "1", manifest)
        self._sessions = {name: ort.InferenceSession(content, _one_thread()) for name, content in graphs.items()}
        self.inferred: list[tuple[str, int]] = []
        """(graph, rows) of every Infer."""
        self.runs: list[tuple[str, int]] = []
        """(graph, rows) of every Infer and every step."""
        self.requests: list[LoopRequest] = []
        self.threads_asked = 0

    def drive(self, work: Work) -> Result:
        """Run a task to its end."""
        answer: Any = None
        while True:
            try:
                wanted = work.send(answer)
            except StopIteration as end:
                return cast(Result, end.value)
            if isinstance(wanted, Infer):
                answer = self.infer(wanted.graph, wanted.inputs)
            elif isinstance(wanted, Iterate):
                self.requests.append(wanted.request)
                answer = self.iterate(wanted.request)
            else:
                assert isinstance(wanted, RunInThread)
                self.threads_asked += 1
                answer = wanted.do()

    def infer(self, graph: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One run of a graph."""
        self.inferred.append((graph, len(next(iter(inputs.values())))))
        return self._run(graph, inputs)

    def _run(self, graph: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One run, after the check that the engine makes; a single row is padded to two, as the engine does."""
        rows = Signature(self.manifest.graphs[graph]).check(inputs).number
        self.runs.append((graph, rows))
        padded = {name: np.repeat(array, 2, axis=0) for name, array in inputs.items()} if rows == 1 else dict(inputs)
        session = self._sessions[graph]
        names = [output.name for output in session.get_outputs()]
        return {name: array[:rows] for name, array in zip(names, session.run(names, padded), strict=True)}

    def iterate(self, request: LoopRequest) -> LoopResult:
        """All rows step by step together; sentences, which end at different steps, one after the other."""
        if request.decoding is None:
            kept, last, _ = self._walk(request, slice(0, request.rows))
            return LoopResult(kept, last, [], 0.0, 0.0)
        sentences = [self._walk(request, slice(row, row + 1))[2] for row in range(request.rows)]
        return LoopResult({}, {}, sentences, 0.0, 0.0)

    def _walk(self, request: LoopRequest, rows: slice) -> tuple[Arrays, Arrays, Sentence]:
        """What is kept of each step, what the last one gave, and what was written."""
        assert self.manifest.loop is not None
        decoding, count = request.decoding, rows.stop - rows.start
        carried = {name: array[rows] for name, array in request.begin.items()}
        kept: dict[str, list[np.ndarray]] = {name: [] for name in request.keep}
        tokens, log_probability, outputs = [], 0.0, {}
        if decoding:
            carried[decoding.token] = np.array([decoding.begin])
        for step in range(request.steps):
            drawn = {name: np.asarray(of(rows, step)) for name, of in request.by_step.items()}
            drawn = {name: value if value.ndim else np.full(count, value) for name, value in drawn.items()}
            outputs = self._run("main", {**carried, **drawn})
            carried |= {carry.input: outputs[carry.output] for carry in self.manifest.loop.carries if carry.output}
            for name, values in kept.items():
                values.append(outputs[name])
            shown = {name: outputs[name] for name in (*request.keep, *request.show)}
            if decoding:
                scores = outputs[decoding.scores][0]
                token = int(np.argmax(scores))
                shown[decoding.token] = carried[decoding.token] = np.array([token])
            if request.watch is not None:
                for at in range(count):
                    request.watch(rows.start + at, step, {name: array[at] for name, array in shown.items()})
            if decoding:
                log_probability += float(scores[token])
                if token == decoding.end:
                    break
                tokens.append(token)
        last = {name: outputs[name] for name in request.last}
        return {name: np.stack(values, 1) for name, values in kept.items()}, last, Sentence(tokens, log_probability)


def begin(
    task: Any,
    model: Any,
    rows: Any = None,
    *,
    loose: bool = False,
    wants_picture: bool = False,
    limits: Limits = LIMITS,
    emit: Emit | None = None,
    context: ModelContext | None = None,
    wants_sound: bool = False,
    **fields: Any,
) -> Work:
    """A request with these fields and rows, to a task, which is a module of ``service.tasks``."""
    options = task.Options.parse(fields, loose)
    call = Call(options, rows, context or model.context, limits, wants_picture, emit, wants_sound)
    work: Work = task.work(call)
    return work


def ask(task: Any, model: Any, rows: Any = None, **more: Any) -> Result:
    """The answer to what ``begin`` begins."""
    result: Result = model.drive(begin(task, model, rows, **more))
    return result


def make(graphs: Mapping[str, bytes], *, task: str = "tensors", **facts: Any) -> Driver:
    """A model called m of these graphs; the shapes of its tensors come from the files."""
    return Driver(describe(graphs, task=task, **facts), graphs)


def describe(graphs: Mapping[str, bytes], **facts: Any) -> Manifest:
    sessions = {name: ort.InferenceSession(content, _one_thread()) for name, content in graphs.items()}
    described = {name: describe_graph(session, f"{name}.onnx") for name, session in sessions.items()}
    return Manifest.model_validate({"name": "m", "graphs": described, **facts})


def load(name: str) -> Driver:
    """A reference model."""
    folder = DEFAULT_ROOT / name / "1"
    manifest = Manifest.from_json((folder / "manifest.json").read_bytes(), name)
    return Driver(manifest, {graph: (folder / facts.file).read_bytes() for graph, facts in manifest.graphs.items()})


def body_of(result: Result) -> Any:
    """What the caller gets, as parsed JSON."""
    assert result.media_type is None
    return json.loads(render_json(result.body))


def _one_thread() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return options
