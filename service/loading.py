"""From a version in the store to a model that has proved itself: digests, session, golden samples, company, warm-up.

Runs in a thread and touches nothing that is shared; the registry puts the result into service.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from model_store import GoldenSamples, ModelVersion
from model_store.consistency import MAIN
from model_store.datatypes import DATATYPES, datatype_of
from model_store.manifest import Golden, Graph, Manifest, Tensor
from service.engine.buckets import Buckets, bucket_of, make_buckets
from service.engine.cost import CostModel
from service.engine.lane import Wide
from service.engine.providers import GPU_LANES, GpuOptions
from service.engine.session import Session
from service.engine.tensors import Arrays, Signature
from service.errors import NotReady
from service.settings import Settings, count_cores
from service.trial import learn, make_ready, prove_company, quiet, run

_DYNAMIC_SIZE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """A graph that has passed every check.

    ``batch_invariant``: "exact" if a row gives the same bits alone and in company, "bound" if only within rounding,
    "none" if rows influence each other, so that they run one by one, None where there is no batch axis.
    ``least_rows`` is the smallest batch for which that holds.
    """

    session: Session
    signature: Signature
    cost: CostModel
    max_rows: int
    least_rows: int
    batch_invariant: str | None
    golden_error: float | None
    wide: Wide | None = None
    """Its runs on all cores, where that is faster and gives the same bits."""
    buckets: Buckets = ()
    """Sizes to which batches are padded; none on the CPU."""

    def pad(self, rows: int) -> int:
        """With how many rows a batch of ``rows`` runs."""
        return bucket_of(rows, self.buckets) if self.buckets else max(rows, self.least_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded(Proven):
    """A version whose graphs have all passed: ``main`` is this itself, ``graphs`` has the further ones."""

    manifest: Manifest
    load_s: float
    graphs: Mapping[str, Proven]


def load_version(version: ModelVersion, settings: Settings) -> Loaded:
    """Load and prove one version. Raises StoreError or NotReady, whose text is the reason why it does not serve."""
    began = time.perf_counter()
    with quiet.beside():
        manifest, opened = (_load_plain if version.is_plain else _load_published)(version, settings)
        proven = {name: _prove(name, manifest, graph, settings) for name, graph in opened.items()}
    main = proven.pop(MAIN)
    if manifest.loop is not None and main.batch_invariant in ("none", None):
        raise NotReady("its rows influence each other, so they cannot share the steps of a loop")
    facts = {field.name: getattr(main, field.name) for field in fields(main)}
    return Loaded(**facts, manifest=manifest, graphs=proven, load_s=time.perf_counter() - began)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A graph's session, how to open it again for runs on so many threads, and its samples."""

    session: Session
    open_on: Callable[[int], Session]
    golden: GoldenSamples | None = None


def _prove(name: str, manifest: Manifest, opened: _Opened, settings: Settings) -> Proven:
    """Raises NotReady where the graph is not what the manifest says, or not what ``settings`` ask for."""
    session, golden = opened.session, opened.golden
    try:
        signature = Signature(manifest.graphs[name], session.fragile)
        _check_signature(manifest.graphs[name], session)
        expected = manifest.golden if name == MAIN else manifest.graph_golden.get(name)
        error = _check_golden(session, signature, expected, golden) if golden and expected else None
        max_rows = (manifest.batching.max_rows or settings.max_rows) if signature.batches else 1
        samples = golden.inputs if golden else _make_samples(signature.graph)
        least_rows, invariant = prove_company(session, samples, max_rows) if signature.batches else (1, None)
    except NotReady as refusal:
        raise refusal if name == MAIN else NotReady(f"graph {name!r}: {refusal}") from refusal
    if settings.require_exact and invariant not in ("exact", None):
        raise NotReady(f"its rows do not keep their bits in company ({invariant}), and SLUICE_REQUIRE_EXACT is set")
    if invariant == "none":
        max_rows = 1
    buckets = make_buckets(max_rows, least_rows) if signature.batches else (1,)
    ready = make_ready(session, samples, buckets, signature.batches)
    may_widen = session.on_cpu and not settings.intra_op_threads
    cost, wide = learn(session, ready, opened.open_on, count_cores() // settings.workers if may_widen else 1)
    return Proven(
        session=session,
        signature=signature,
        cost=cost,
        max_rows=max_rows,
        least_rows=least_rows,
        batch_invariant=invariant,
        golden_error=error,
        wide=wide,
        buckets=buckets if signature.batches and not session.on_cpu else (),
    )


def _load_published(version: ModelVersion, settings: Settings) -> tuple[Manifest, Mapping[str, _Opened]]:
    manifest, contents = version.read_all()
    opened = {}
    for name, graph in manifest.graphs.items():
        external = {file: contents[file] for file in graph.external_data}
        max_rows = manifest.batching.max_rows or settings.max_rows
        golden = manifest.golden if name == MAIN else manifest.graph_golden.get(name)
        samples = GoldenSamples.from_bytes(contents[golden.file]) if golden else None
        opened[name] = _open(contents[graph.file], external, settings, max_rows, samples)
    return manifest, opened


def _load_plain(version: ModelVersion, settings: Settings) -> tuple[Manifest, Mapping[str, _Opened]]:
    """A plain repository: what a manifest would say is read from the ONNX file."""
    plain = version.read_plain()
    opened = _open(plain.content, plain.external, settings, settings.max_rows)
    graph = opened.session.describe(plain.file)
    manifest = Manifest(name=version.name, task="tensors", graphs={MAIN: graph}, files={plain.file: plain.digest})
    return manifest, {MAIN: opened}


def _open(
    content: bytes,
    external: Mapping[str, bytes],
    settings: Settings,
    max_rows: int,
    golden: GoldenSamples | None = None,
) -> _Opened:
    gpu = GpuOptions(
        mem_bytes=settings.gpu_mem_bytes,
        cuda_graphs=settings.cuda_graphs,
        tf32=settings.tf32,
        engine_cache=settings.engine_cache,
    )

    def open_on(threads: int) -> Session:
        return Session(
            content,
            external=external,
            policy=settings.provider,
            intra_op_threads=threads,
            gpu=gpu,
            max_rows=max_rows,
            lanes=settings.lanes or GPU_LANES,
        )

    return _Opened(open_on(settings.intra_op_threads or 1), open_on, golden)


def _check_golden(session: Session, signature: Signature, facts: Golden, golden: GoldenSamples) -> float:
    """Run the stored samples on the provider that will serve. Returns the worst error; raises NotReady above it."""
    atol, rtol = facts.atol, facts.rtol
    if golden.outputs.keys() != signature.outputs.keys():
        raise NotReady(f"golden samples: expected the outputs {list(signature.outputs)}, got {list(golden.outputs)}")
    outputs = dict(zip(signature.output_names, run(session, golden.inputs), strict=True))
    worst = 0.0
    for name, expected in golden.outputs.items():
        got = outputs[name]
        if got.shape != expected.shape:
            raise NotReady(f"golden samples: output {name!r} has shape {got.shape}, expected {expected.shape}")
        if datatype_of(expected).kind not in "fiu":
            if not np.array_equal(got, expected):
                raise NotReady(f"golden samples: output {name!r} differs from what was exported")
            continue
        wanted = expected.astype(np.float64)
        same = (got == expected) | (np.isnan(got.astype(np.float64)) & np.isnan(wanted))
        with np.errstate(invalid="ignore"):  # infinities on both sides are the same, not a difference
            error = np.where(same, 0.0, np.abs(got.astype(np.float64) - wanted))
            excess = np.where(same, 0.0, error - (atol + rtol * np.abs(wanted)))
        if not (excess <= 0).all():  # NaN is not within bounds either
            at = np.unravel_index(int(np.argmax(np.where(np.isnan(excess), np.inf, excess))), excess.shape)
            raise NotReady(
                f"golden samples on {session.provider}: output {name!r} at {[int(i) for i in at]} is "
                f"{float(got[at]):.6g}, expected {float(expected[at]):.6g} within {atol:g} + {rtol:g} of it"
            )
        worst = max(worst, float(error.max(initial=0.0)))
    return worst


def _check_signature(declared: Graph, session: Session) -> None:
    """Raises NotReady if the manifest describes other tensors than the ONNX file has."""
    actual = session.describe(declared.file)
    for said, found in ((declared.inputs, actual.inputs), (declared.outputs, actual.outputs)):
        if [_facts(t) for t in said] != [_facts(t) for t in found]:
            raise NotReady(
                f"the manifest describes {[_facts(t) for t in said]}, the graph has {[_facts(t) for t in found]}"
            )


def _facts(tensor: Tensor) -> tuple[str, str, tuple[int | None, ...]]:
    return tensor.name, tensor.datatype, tuple(size if isinstance(size, int) else None for size in tensor.shape)


def _make_samples(graph: Graph) -> Arrays:
    """Two different rows of small numbers for a graph without golden samples; sizes that it leaves open become 8."""
    return {t.name: _make_tensor(t) for t in graph.inputs}


def _make_tensor(tensor: Tensor) -> np.ndarray:
    shape = [
        2 if axis == tensor.batch_axis else size if isinstance(size, int) else _DYNAMIC_SIZE
        for axis, size in enumerate(tensor.shape)
    ]
    datatype = DATATYPES[tensor.datatype]
    if datatype.is_float:
        return np.random.default_rng(0).standard_normal(shape).astype(datatype.dtype)
    # Indices and flags: 0 and 1 are the values that most graphs take.
    array = np.zeros(shape, datatype.dtype) if datatype.itemsize else np.full(shape, "", object)
    array.reshape(-1)[array.size // 2 :] = 1 if datatype.itemsize else "a"
    return array
