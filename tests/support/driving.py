"""A plain driver of tasks in place of the handler and the engine: real sessions, one thing at a time."""

import abc
import json
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import onnxruntime as ort

from model_store import DEFAULT_ROOT
from model_store.manifest import Manifest
from service.codecs.model_context import ModelContext
from service.engine.loop.request import LoopRequest, LoopResult
from service.engine.tensors import Signature
from service.protocol.json import render_json
from service.tasks.work import Call, Emit, Infer, Iterate, Limits, Result, RunInThread, Work
from tests.support.models.manifests import describe_graph

LIMITS = Limits(max_pixels=1_000_000)


class Drives(abc.ABC):
    """Runs tasks to their end, and notes what they asked for."""

    def __init__(self) -> None:
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

    @abc.abstractmethod
    def infer(self, graph: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One run of a graph."""

    @abc.abstractmethod
    def iterate(self, request: LoopRequest) -> LoopResult:
        """A loop request to its end."""


class Driver(Drives):
    """Runs tasks on the graphs of one model."""

    def __init__(self, manifest: Manifest, graphs: Mapping[str, bytes]) -> None:
        super().__init__()
        self.manifest = manifest
        self.context = ModelContext(manifest.name, "1", manifest)
        self._sessions = {name: ort.InferenceSession(content, _one_thread()) for name, content in graphs.items()}
        self.inferred: list[tuple[str, int]] = []
        """(graph, rows) of every Infer."""

    def infer(self, graph: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.inferred.append((graph, len(next(iter(inputs.values())))))
        return self._run(graph, inputs)

    def _run(self, graph: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One run, after the check that the engine makes; a single row is padded to two, as the engine does."""
        rows = Signature(self.manifest.graphs[graph]).check(inputs).number
        padded = {name: np.repeat(array, 2, axis=0) for name, array in inputs.items()} if rows == 1 else dict(inputs)
        session = self._sessions[graph]
        names = [output.name for output in session.get_outputs()]
        return {name: array[:rows] for name, array in zip(names, session.run(names, padded), strict=True)}

    def iterate(self, request: LoopRequest) -> LoopResult:
        """All rows step by step together."""
        assert self.manifest.loop is not None
        carried, everyone = dict(request.begin), slice(0, request.rows)
        kept: dict[str, list[np.ndarray]] = {name: [] for name in request.keep}
        outputs: dict[str, np.ndarray] = {}
        for step in range(request.steps):
            inputs = dict(carried)
            for name, value_of in request.by_step.items():
                value = np.asarray(value_of(everyone, step))
                inputs[name] = value if value.ndim else np.full(request.rows, value)
            outputs = self._run("main", inputs)
            carried |= {c.input: outputs[c.output] for c in self.manifest.loop.carries if c.output}
            for name, values in kept.items():
                values.append(outputs[name])
            if request.watch is not None:
                for row in range(request.rows):
                    request.watch(row, step, {name: outputs[name][row] for name in (*request.keep, *request.show)})
        last = {name: outputs[name] for name in request.last}
        return LoopResult({name: np.stack(values, axis=1) for name, values in kept.items()}, last, [], 0.0, 0.0)


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
    **fields: Any,
) -> Work:
    """A request with these fields and rows, to a task, which is a module of ``service.tasks``."""
    call = Call(task.Options.parse(fields, loose), rows, context or model.context, limits, wants_picture, emit)
    work: Work = task.work(call)
    return work


def ask(task: Any, model: Any, rows: Any = None, **more: Any) -> Result:
    """The answer to what ``begin`` begins."""
    result: Result = model.drive(begin(task, model, rows, **more))
    return result


def make(graphs: Mapping[str, bytes], *, task: str = "tensors", **facts: Any) -> Driver:
    """A model called m of these graphs; the shapes of its tensors come from the files."""
    described = {
        name: describe_graph(ort.InferenceSession(content, _one_thread()), f"{name}.onnx")
        for name, content in graphs.items()
    }
    return Driver(Manifest.model_validate({"name": "m", "task": task, "graphs": described, **facts}), graphs)


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
