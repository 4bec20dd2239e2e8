"""Runs tasks on real sessions, one thing at a time, without the handler and the engine."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import onnxruntime as ort

from model_store import DEFAULT_ROOT
from model_store.manifest import Manifest
from model_store.texts.tokenizer import open_tokenizers
from service.codecs.model_context import ModelContext
from service.engine.loop.request import LoopRequest, LoopResult
from service.engine.tensors import Signature
from service.protocol.json import render_json
from service.tasks.work import Call, Emit, Infer, Iterate, Limits, Result, RunInThread, Work
from tests.support.models.manifests import describe_graph
from tests.support.writers.rows import write_row

LIMITS = Limits(max_pixels=1_000_000)

Arrays = dict[str, np.ndarray]


class Driver:
    """Runs tasks on the graphs of one model, and records what they asked for."""

    def __init__(
        self, manifest: Manifest, graphs: Mapping[str, bytes], files: Mapping[str, bytes] = MappingProxyType({})
    ) -> None:
        self.manifest = manifest
        self.tokens: list[tuple[int, int]] = []
        """(tokens, tokens of padding) of every request of texts."""
        self.context = ModelContext(
            manifest.name,
            "1",
            manifest,
            tokenizers=open_tokenizers(manifest, files, "m"),
            count_tokens=lambda *counts: self.tokens.append(counts),
        )
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
        """All rows together, step by step; sentences one after the other, because they end at different steps."""
        if request.decoding is None:
            return self._walk(request)

        def run(inputs: Mapping[str, np.ndarray]) -> Arrays:
            return self._run("main", inputs)

        return LoopResult(
            {}, {}, [write_row(request, row, self.manifest, run) for row in range(request.rows)], 0.0, 0.0
        )

    def _walk(self, request: LoopRequest) -> LoopResult:
        """What is kept of each step, and what the last one gave."""
        assert self.manifest.loop is not None
        rows = slice(0, request.rows)
        carried = dict(request.begin)
        kept: dict[str, list[np.ndarray]] = {name: [] for name in request.keep}
        outputs: Arrays = {}
        for step in range(request.steps):
            drawn = {name: np.asarray(of(rows, step)) for name, of in request.by_step.items()}
            drawn = {name: value if value.ndim else np.full(rows.stop, value) for name, value in drawn.items()}
            outputs = self._run("main", {**carried, **drawn})
            carried |= {carry.input: outputs[carry.output] for carry in self.manifest.loop.carries if carry.output}
            for name, values in kept.items():
                values.append(outputs[name])
            shown = {name: outputs[name] for name in (*request.keep, *request.show)}
            if request.watch is not None:
                for at in range(rows.stop):
                    request.watch(at, step, {name: array[at] for name, array in shown.items()})
        last = {name: outputs[name] for name in request.last}
        return LoopResult({name: np.stack(values, 1) for name, values in kept.items()}, last, [], 0.0, 0.0)


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
    """The answer to the request that ``begin`` makes of these arguments."""
    result: Result = model.drive(begin(task, model, rows, **more))
    return result


def make(
    graphs: Mapping[str, bytes],
    *,
    task: str = "tensors",
    files: Mapping[str, bytes] = MappingProxyType({}),
    **facts: Any,
) -> Driver:
    """A model called m of these graphs; the shapes of its tensors come from the files. ``files`` has its tokenizer."""
    return Driver(describe(graphs, task=task, **facts), graphs, files)


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
