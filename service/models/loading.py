"""Loads a version and proves it: digests, session, golden samples, rows in batches, warm-up.

This runs in a thread and changes nothing that is shared. The registry puts the result into service.
"""

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from model_store import GoldenSamples, ModelVersion
from model_store.cancellation import Cancellation, LoadCancelled
from model_store.graph import MAIN, Graph, RowVerdict, Terms
from model_store.graphs.analyst import analyst
from model_store.graphs.batch import PROVED_BY_EXPORT, batch_anyway, describe_verdict, settle_published, without_batch
from model_store.graphs.bits import Axes, Bits, settle
from model_store.graphs.configuration import read_configuration
from model_store.graphs.locales import with_available_locale
from model_store.graphs.plain import describe_plain, make_samples
from model_store.graphs.sessions import make_run_options
from model_store.graphs.warmups import Sample
from model_store.manifest import Manifest
from model_store.rows.graph.division import with_safe_division
from model_store.rows.graph.fingerprint import identify
from model_store.triton import TritonConfig
from service.cores import count_cores
from service.engine.batching.buckets import Buckets, bucket_of, make_buckets
from service.engine.batching.cost import CostModel
from service.engine.batching.policy import MOST_BYTES_TWICE
from service.engine.execution.runner import AllCores
from service.engine.onnx.providers import GPU_LANES, GpuOptions
from service.engine.onnx.session import Session
from service.engine.tensors import Arrays, Rows, Signature
from service.errors import NotReady
from service.models.measurement_lock import measurement_lock
from service.models.memory import count_bytes, join_terms, learn_memory, limit_rows
from service.models.profile import learn, make_ready
from service.models.schedule_policy import SchedulePolicy, read_schedule_policy
from service.models.verify import Budget, check_golden, check_signature, run, try_company
from service.sequences.rules import SequenceRules, read_loop
from service.settings import Settings

logger = logging.getLogger("sluice.loading")

_MOST_WARMUPS = 100
"""How often one warm-up sample of a configuration is run at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedGraph:
    """A graph that has passed every check.

    ``rows`` says whether its rows are independent, and how that is known. Only proved rows share a batch. ``bits`` says
    how the bits of a row vary with the size of its batch. ``least_rows`` is the smallest batch that runs.
    """

    session: Session
    signature: Signature
    cost: CostModel
    max_rows: int
    least_rows: int
    rows: RowVerdict
    bits: str
    golden_error: float | None
    all_cores: AllCores | None = None
    """Its runs on all cores, if that is faster and gives the same bits."""
    row_elements: int | None = None
    """The size of the rows that ``cost`` was learned from, if rows may have any size."""
    memory: Terms | None = None
    """How much memory a row takes while it runs, if the manifest says it or it could be learned."""
    buckets: Buckets = ()
    """Sizes to which batches are padded; none on the CPU."""

    def pad(self, rows: int) -> int:
        """The size to which a batch of ``rows`` is padded."""
        return bucket_of(rows, self.buckets) if self.buckets else max(rows, self.least_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedVersion(VerifiedGraph):
    """A version whose graphs have all passed. It is ``main`` itself; ``graphs`` has the others."""

    manifest: Manifest
    load_s: float
    graphs: Mapping[str, VerifiedGraph]
    sequence_rules: SequenceRules | None = None
    """What it keeps between the requests of a sequence; None: nothing."""
    schedule_policy: SchedulePolicy | None = None
    """How its requests wait, if its configuration says so."""
    config: TritonConfig | None = None


def load_version(version: ModelVersion, settings: Settings, cancellation: Cancellation | None = None) -> LoadedVersion:
    """Load and prove one version. Raises StoreError or NotReady, whose text says why it cannot serve.

    Another thread may end it by ``cancellation``: then it raises NotReady with the reason of that.
    """
    try:
        with (cancellation or Cancellation()).active():
            return _load(version, settings)
    except LoadCancelled as cancelled:
        raise NotReady(str(cancelled)) from None


def _load(version: ModelVersion, settings: Settings) -> LoadedVersion:
    began = time.perf_counter()
    with measurement_lock.shared(), analyst.hold():
        read = (_load_plain if version.is_plain else _load_published)(version, settings)
        manifest = read.manifest
        proven = {name: _prove(name, manifest, graph, settings) for name, graph in read.graphs.items()}
    main = proven.pop(MAIN)
    if manifest.loop is not None and not main.signature.batches:
        raise NotReady(f"its rows cannot share the steps of a loop: they are {describe_verdict(main.rows)}")
    return LoadedVersion(
        **{field.name: getattr(main, field.name) for field in fields(main)},
        **{**read._asdict(), "graphs": proven},
        load_s=time.perf_counter() - began,
    )


class _Read(NamedTuple):
    """A version as it was read from the store, with its graphs opened."""

    manifest: Manifest
    graphs: Mapping[str, "_Opened"]
    sequence_rules: SequenceRules | None = None
    schedule_policy: SchedulePolicy | None = None
    config: TritonConfig | None = None


@dataclass(frozen=True, slots=True)
class _Opened:
    """A graph with its session, and inputs to try it with.

    ``graph`` is the graph as the manifest describes it; it has a batch only if rows are proved independent.
    """

    graph: Graph
    session: Session
    open_on: Callable[[int], Session]
    """Opens the graph once more, with so many threads for a run."""
    samples: Arrays | None
    """Stored inputs, or made-up ones; None if it ran at none of the sizes that were tried."""
    content: bytes
    external: Mapping[str, bytes]
    golden: GoldenSamples | None = None
    others: Sequence[Arrays] = ()
    """Inputs to try if ``samples`` do not run."""
    longer: tuple[Arrays, ...] = ()
    """Made-up inputs of larger sizes, if sizes are free: the size chooses the kernel, and so the bits."""
    try_batch: tuple[Graph, Callable[[int], Arrays]] | None = None
    """The graph with a batch that is not proved, and a function that draws so many rows for it."""


def _prove(name: str, manifest: Manifest, opened: _Opened, settings: Settings) -> VerifiedGraph:
    """Raises NotReady if the graph does not do what the manifest says, or not what ``settings`` ask for."""
    session, golden, budget = opened.session, opened.golden, Budget()
    weight_bytes = count_bytes(opened.content, opened.external)
    max_rows = limit_rows(name, manifest, settings.max_rows)
    try:
        graph = _settle_batch(opened, max_rows)
        expected = manifest.golden if name == MAIN else manifest.graph_golden.get(name)
        classes = manifest.classes if name == MAIN else None
        error = check_golden(session, Signature(graph), expected, golden, classes) if golden and expected else None
        tried = _try_rows(opened, graph, max_rows)
    except NotReady as refusal:
        raise refusal if name == MAIN else NotReady(f"graph {name!r}: {refusal}") from refusal
    graph, bits = tried.graph, tried.bits
    signature, rows = Signature(graph, session.fragile), graph.rows or PROVED_BY_EXPORT
    if bits.refuted:
        logger.warning("%s, graph %s: %s: its requests run one by one", manifest.name, name, bits.refuted)
    if settings.require_exact and not bits.is_exact and signature.batches:
        raise NotReady(f"a row has other bits alone than in a batch ({bits.text}), and SLUICE_REQUIRE_EXACT is set")
    if not signature.batches:
        max_rows, bits = 1, Bits("exact")
    may_widen = session.on_cpu and not settings.intra_op_threads and weight_bytes <= MOST_BYTES_TWICE
    may_widen = may_widen and not (settings.require_exact and graph.has_free_sizes)
    threads = count_cores() // settings.workers if may_widen else 1
    cost, all_cores = _learn(manifest.name, opened, tried.ready, threads, signature.axes, budget)
    if all_cores is not None and bits.is_exact and graph.has_free_sizes:
        bits = replace(bits, text=f"{bits.text} on one core", is_exact=False)
    row_elements, memory = _learn_sizes(opened, graph, signature, tried.ready)
    return VerifiedGraph(
        session=session,
        signature=signature,
        cost=cost,
        max_rows=max_rows,
        least_rows=bits.least_rows,
        rows=rows,
        bits=bits.text,
        golden_error=error,
        all_cores=all_cores,
        row_elements=row_elements,
        memory=memory,
        buckets=make_buckets(max_rows, bits.least_rows) if signature.batches and not session.on_cpu else (),
    )


def _learn_sizes(
    opened: _Opened, graph: Graph, signature: Signature, ready: Mapping[int, Arrays]
) -> tuple[int | None, Terms | None]:
    """The ``row_elements`` and ``memory`` of a graph whose rows may have any size."""
    if not signature.is_dynamic:
        return None, None
    measured = None if graph.run_bytes is None else graph.run_bytes.terms
    if not ready:
        return None, measured
    rows = min(ready)
    learned = learn_memory(opened.content, opened.external, graph, ready[rows])
    return Rows(ready[rows], rows, None).row_elements, join_terms(measured, learned)


class _Tried(NamedTuple):
    """``ready`` has the inputs of each batch size that was run; it is empty if the graph ran on no inputs."""

    graph: Graph
    bits: Bits
    ready: Mapping[int, Arrays]


def _try_rows(opened: _Opened, graph: Graph, max_rows: int) -> _Tried:
    """Run rows alone and in batches, and every batch size. Raises NotReady if the graph fails on stored samples."""
    session = opened.session
    for samples in (opened.samples, *opened.others):
        if samples is None:
            continue
        longer = opened.longer if samples is opened.samples else ()
        try:
            settled, bits = settle(lambda inputs: run(session, inputs), graph, samples, max_rows, longer)
            signature = Signature(settled)
            sizes = make_buckets(max_rows, bits.least_rows) if signature.batches else (1,)
            ready = make_ready(session, samples, sizes, signature.axes if signature.batches else None)
        except NotReady:
            if opened.golden is not None:
                raise
        else:
            return _Tried(settled, bits, ready)
    return _Tried(without_batch(graph), Bits("exact"), {})


def _learn(
    name: str, opened: _Opened, ready: Mapping[int, Arrays], threads: int, axes: Axes, budget: Budget
) -> tuple[CostModel, AllCores | None]:
    """What batches cost. A graph that ran on no inputs has no cost yet, and serves untested."""
    if not ready:
        logger.warning(
            "%s serves untested: it ran on none of the inputs that were made up for it; give samples of its inputs in "
            "model_warmup of config.pbtxt, or publish it with `sluice export`",
            name,
        )
        return CostModel(), None
    return learn(opened.session, ready, opened.open_on, threads, axes, budget, identify(opened.content))


def _settle_batch(opened: _Opened, max_rows: int) -> Graph:
    """The graph with the batch that it serves with: a proved one, or that of ``try_batch`` if it passes a trial."""
    if opened.try_batch is None:
        return opened.graph
    graph, draw = opened.try_batch
    try:
        changes = try_company(opened.session, Signature(graph, opened.session.fragile), draw, max_rows)
    except NotReady as refusal:
        changes = str(refusal)
    if changes:
        logger.info("rows are not proved independent, and they did not pass the trial: %s", changes)
        return opened.graph
    return graph


def _load_published(version: ModelVersion, settings: Settings) -> _Read:
    manifest, contents = version.read_all()
    opened = {}
    for name, graph in manifest.graphs.items():
        external = {file: contents[file] for file in graph.external_data}
        max_rows = limit_rows(name, manifest, settings.max_rows)
        golden = manifest.golden if name == MAIN else manifest.graph_golden.get(name)
        stored = GoldenSamples.from_bytes(contents[golden.file]) if golden else None
        content = with_safe_division(with_available_locale(contents[graph.file]))
        open_on = _opener(content, external, settings, max_rows)
        session = open_on(settings.intra_op_threads or 1)
        check_signature(graph, session)
        parity = manifest.parity if name == MAIN else manifest.graph_parity.get(name)
        settled = settle_published(graph, parity is not None, contents.__getitem__)
        samples = stored.inputs if stored else make_samples(settled, {}, 8)
        opened[name] = _Opened(settled, session, open_on, samples, content, external, stored)
    return _Read(manifest, opened, read_loop(manifest))


def _load_plain(version: ModelVersion, settings: Settings) -> _Read:
    """Load from a plain repository: the ONNX file, its analysis and its configuration take the manifest's place."""
    plain, config = version.read_plain(), read_configuration(version)
    content = with_safe_division(with_available_locale(plain.content))
    open_on = _opener(content, plain.external, settings, settings.max_rows)
    session = open_on(settings.intra_op_threads or 1)
    described = describe_plain(version, plain, content, session.describe(plain.file), config)
    session.adopt(described.graph, described.shapes)

    def open_again(threads: int) -> Session:
        session = open_on(threads)
        session.adopt(described.graph, described.shapes)
        return session

    opened = _Opened(
        described.graph,
        session,
        open_again,
        described.samples,
        content,
        plain.external,
        others=[sample.inputs for sample in described.warmups],
        longer=described.longer,
    )
    _warm_up(version.name, session, described.warmups)
    found = described.found
    may_batch = settings.batch_unproved and described.may_batch and described.shapes is None
    anyway = batch_anyway(described.graph, found) if may_batch else None
    if anyway is not None and found.sizes is not None:
        opened = replace(opened, try_batch=(anyway, _drawer(anyway, found.sizes)))
    sequences = described.sequences
    sequence_rules = None if sequences is None else SequenceRules(sequences, is_required=True)
    schedule_policy = None if config is None else read_schedule_policy(config.batching)
    return _Read(described.manifest, {MAIN: opened}, sequence_rules, schedule_policy, config)


def _warm_up(name: str, session: Session, samples: Sequence[Sample]) -> None:
    """Run the warm-up samples of a configuration as often as it says, within a budget. A failure is only logged."""
    budget = Budget()
    for sample in samples:
        for number in range(min(sample.count, _MOST_WARMUPS)):
            if number and budget.is_spent:
                break
            try:
                run(session, sample.inputs)
            except NotReady as error:
                logger.warning("%s: model_warmup %r of its configuration: %s", name, sample.name, error)
                break


def _drawer(graph: Graph, sizes: Mapping[str, int]) -> Callable[[int], Arrays]:
    """A function that draws so many rows, others at each call."""
    seeds = itertools.count()
    return lambda rows: make_samples(graph, sizes, rows, next(seeds))


def _opener(
    content: bytes, external: Mapping[str, bytes], settings: Settings, max_rows: int
) -> Callable[[int], Session]:
    """A function that opens a session whose runs take so many threads."""
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
            run_options=make_run_options(),
        )

    return open_on
