"""From a version in the store to a model that has proved itself: digests, session, golden samples, company, warm-up.

Runs in a thread and touches nothing that is shared; the registry puts the result into service.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from model_store import GoldenSamples, ModelVersion
from model_store.consistency import MAIN
from model_store.datatypes import DATATYPES, datatype_of
from model_store.integrity import describe_bytes
from model_store.manifest import Golden, Graph, Manifest, Tensor
from model_store.store import PLAIN_FILE
from service.engine.buckets import Buckets, bucket_of, make_buckets
from service.engine.cost import CostModel
from service.engine.providers import GPU_LANES, GpuOptions
from service.engine.session import Session, first_line
from service.engine.tensors import Arrays, Signature
from service.errors import NotReady
from service.settings import Settings

_WARM_UP_S = 1.0
"""On the CPU larger batches are not tried if warm-up would take longer; the cost model scales from the largest."""
_ROUNDS = 3
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
    manifest, opened = (_load_plain if version.is_plain else _load_published)(version, settings)
    proven = {name: _prove(name, manifest, *parts, settings) for name, parts in opened.items()}
    main = proven.pop(MAIN)
    if manifest.loop is not None and main.batch_invariant in ("none", None):
        raise NotReady("its rows influence each other, so they cannot share the steps of a loop")
    facts = {field.name: getattr(main, field.name) for field in fields(main)}
    return Loaded(**facts, manifest=manifest, graphs=proven, load_s=time.perf_counter() - began)


def _prove(name: str, manifest: Manifest, session: Session, golden: GoldenSamples | None, settings: Settings) -> Proven:
    """Raises NotReady where the graph is not what the manifest says, or not what ``settings`` ask for."""
    try:
        signature = Signature(manifest.graphs[name], session.fragile)
        _check_signature(manifest.graphs[name], session)
        expected = manifest.golden if name == MAIN else manifest.graph_golden.get(name)
        error = _check_golden(session, signature, expected, golden) if golden and expected else None
        max_rows = (manifest.batching.max_rows or settings.max_rows) if signature.batches else 1
        samples = golden.inputs if golden else _make_samples(signature.graph)
        least_rows, invariant = _prove_company(session, samples, max_rows) if signature.batches else (1, None)
    except NotReady as refusal:
        raise refusal if name == MAIN else NotReady(f"graph {name!r}: {refusal}") from refusal
    if settings.require_exact and invariant not in ("exact", None):
        raise NotReady(f"its rows do not keep their bits in company ({invariant}), and SLUICE_REQUIRE_EXACT is set")
    if invariant == "none":
        max_rows = 1
    buckets = make_buckets(max_rows, least_rows) if signature.batches else (1,)
    return Proven(
        session=session,
        signature=signature,
        cost=_warm_up(session, samples, buckets, signature.batches),
        max_rows=max_rows,
        least_rows=least_rows,
        batch_invariant=invariant,
        golden_error=error,
        buckets=buckets if signature.batches and not session.on_cpu else (),
    )


_Opened = tuple[Manifest, Mapping[str, tuple[Session, GoldenSamples | None]]]


def _load_published(version: ModelVersion, settings: Settings) -> _Opened:
    manifest, contents = version.read_all()
    opened = {}
    for name, graph in manifest.graphs.items():
        external = {file: contents[file] for file in graph.external_data}
        session = _open(contents[graph.file], external, settings, manifest.batching.max_rows or settings.max_rows)
        golden = manifest.golden if name == MAIN else manifest.graph_golden.get(name)
        opened[name] = (session, GoldenSamples.from_bytes(contents[golden.file]) if golden else None)
    return manifest, opened


def _load_plain(version: ModelVersion, settings: Settings) -> _Opened:
    """A plain repository: what a manifest would say is read from the ONNX file."""
    content = (version.folder / PLAIN_FILE).read_bytes()
    beside = {p.name: p.read_bytes() for p in version.folder.iterdir() if p.is_file() and p.name != PLAIN_FILE}
    session = _open(content, beside, settings, settings.max_rows)
    graph = session.describe(PLAIN_FILE)
    files = {PLAIN_FILE: describe_bytes(content)}
    manifest = Manifest(name=version.name, task="tensors", graphs={MAIN: graph}, files=files)
    return manifest, {MAIN: (session, None)}


def _open(content: bytes, external: Mapping[str, bytes], settings: Settings, max_rows: int) -> Session:
    gpu = GpuOptions(
        mem_bytes=settings.gpu_mem_bytes,
        cuda_graphs=settings.cuda_graphs,
        tf32=settings.tf32,
        engine_cache=settings.engine_cache,
    )
    return Session(
        content,
        external=external,
        policy=settings.provider,
        intra_op_threads=settings.intra_op_threads,
        gpu=gpu,
        max_rows=max_rows,
        lanes=settings.lanes or GPU_LANES,
    )


def _check_golden(session: Session, signature: Signature, facts: Golden, golden: GoldenSamples) -> float:
    """Run the stored samples on the provider that will serve. Returns the worst error; raises NotReady above it."""
    atol, rtol = facts.atol, facts.rtol
    if golden.outputs.keys() != signature.outputs.keys():
        raise NotReady(f"golden samples: expected the outputs {list(signature.outputs)}, got {list(golden.outputs)}")
    outputs = dict(zip(signature.output_names, _run(session, golden.inputs), strict=True))
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


def _rows(samples: Arrays, count: int, start: int = 0) -> Arrays:
    """``count`` rows, repeated from the samples as often as needed."""
    return {name: np.take(a, range(start, start + count), axis=0, mode="wrap") for name, a in samples.items()}


def _with_neighbour(samples: Arrays) -> Arrays:
    """The samples; a single row gets another one beside it that differs from it wherever it has floats."""
    if any(len(a) > 1 for a in samples.values()):
        return samples
    return {
        name: np.concatenate([a, a * a.dtype.type(0.5) if datatype_of(a).is_float else a])
        for name, a in samples.items()
    }


def _prove_company(session: Session, samples: Arrays, max_rows: int) -> tuple[int, str]:
    """Whether rows are independent, and from which batch size on they keep their bits.

    Returns the least rows of a batch and ``Loaded.batch_invariant``. First the same rows run in batches of one size
    among different neighbours: any difference there means that rows influence each other. Then in batches of different
    sizes: a difference there is rounding, and often goes away when no row runs alone.
    """
    count = min(8, max_rows)
    if count == 1:
        return 1, "exact"
    samples = _with_neighbour(samples)
    together = _run(session, _rows(samples, count))
    half = count // 2
    for start in (0, count - half):
        # The other rows are replaced by copies of one of these: whatever they add to a sum or a mean changes.
        kept = np.arange(count)
        kept[np.r_[0:start, start + half : count]] = start
        among = _run(session, {name: np.take(a, kept, axis=0, mode="wrap") for name, a in samples.items()})
        if _differ(among, together, slice(start, start + half)):
            return 1, "none"
    for size in (1, 2):
        starts = range(0, count - size + 1, size)
        apart = [_run(session, _rows(samples, size, start)) for start in starts]
        if not any(
            _differ(part, together, slice(at, at + size), slice(0, size))
            for at, part in zip(starts, apart, strict=True)
        ):
            return size, "exact"
    return 1, "bound"


def _differ(
    left: Sequence[np.ndarray], right: Sequence[np.ndarray], rows: slice, left_rows: slice | None = None
) -> bool:
    """Whether any bit of these rows differs between the outputs of two runs."""
    for one, other in zip(left, right, strict=True):
        a, b = one[left_rows or rows], other[rows]
        if not np.array_equal(a, b) if a.dtype.hasobject else a.tobytes() != b.tobytes():
            return True
    return False


def _warm_up(session: Session, samples: Arrays, sizes: Buckets, batches: bool) -> CostModel:
    """Run every size once to make kernels and memory ready, and then learn what each costs.

    On a GPU all of them, however long it takes: a batch of a new size would hold up the requests of a server in use.
    The best of some rounds counts, and a round has all sizes: whatever else the machine does for a while would be taken
    for the cost of one of them, and batches be made far too small or too large for as long as the version serves.
    """
    began = time.perf_counter()
    best_s: dict[int, float] = {}
    ready: dict[int, Arrays] = {}
    for size in sizes:
        ready[size] = _rows(samples, size) if batches else samples
        _run(session, ready[size])
        if session.on_cpu and time.perf_counter() - began > _WARM_UP_S / (1 + _ROUNDS):
            break
    for _ in range(_ROUNDS):
        for size, inputs in ready.items():
            best_s[size] = min(best_s.get(size, math.inf), _measure(session, inputs))
    cost = CostModel()
    for size, seconds in best_s.items():
        cost.observe(size, seconds)
    return cost


def _measure(session: Session, inputs: Arrays) -> float:
    began = time.perf_counter()
    _run(session, inputs)
    return time.perf_counter() - began


def _run(session: Session, inputs: Arrays) -> Sequence[np.ndarray]:
    try:
        return session.run(inputs)
    except Exception as error:
        raise NotReady(f"the graph fails on its own samples: {first_line(error)}") from error
