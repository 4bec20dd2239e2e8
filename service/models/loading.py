"""Loads a version and checks it: digests, session, golden samples, rows in batches, warm-up.

This runs in a thread and changes no shared state. ``lifecycle`` puts the result into service.
"""

import functools
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import NamedTuple

from model_store import GoldenSamples, ModelVersion
from model_store.cancellation import Cancellation, LoadCancelled
from model_store.graph import MAIN, Graph, RowVerdict, Terms
from model_store.graphs.analyst import analyst
from model_store.graphs.batch import (
    NO_BATCH,
    PROVED_BY_EXPORT,
    batch_anyway,
    batches,
    describe_verdict,
    settle_published,
    take_steps_alone,
    without_batch,
)
from model_store.graphs.bits import Bits, settle
from model_store.graphs.configuration import read_configuration
from model_store.graphs.locales import with_available_locale
from model_store.graphs.plain import describe_plain, make_samples
from model_store.graphs.sessions import make_run_options
from model_store.graphs.warmups import Sample
from model_store.manifest import Manifest
from model_store.rows.graph.division import with_safe_division
from model_store.rows.graph.fingerprint import identify
from model_store.sounds.reading import require_library
from model_store.texts.rows import stretch_samples
from model_store.texts.symbols import find_symbols
from model_store.texts.tokenizer import Tokenizer, open_tokenizers
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
from service.models.pipeline import LoadedPipeline, load_pipeline
from service.models.profile import measure_costs, warm_up
from service.models.schedule_policy import SchedulePolicy, read_schedule_policy
from service.models.verify import Budget, check_golden, check_signature, run, try_in_batches
from service.sequences.rules import SequenceRules, read_loop
from service.settings import Settings

logger = logging.getLogger("sluice.loading")

_MOST_WARMUPS = 100
"""The most runs of one warm-up sample of a configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedGraph:
    """A graph that has passed every check.

    ``rows`` says whether its rows are independent, and how that is known. Only proved rows share a batch. ``bits`` says
    how the bits of a row vary with the size of its batch. ``least_rows``: smaller batches are padded to this many rows.
    """

    session: Session
    signature: Signature
    cost: CostModel
    max_rows: int
    least_rows: int
    rows: RowVerdict
    bits: str
    golden_error: float | None
    weight_bytes: int
    """The size of the files that hold its nodes and weights."""
    all_cores: AllCores | None = None
    """Its session on all cores, if that is faster and gives the same bits."""
    row_elements: int | None = None
    """The elements of the rows from which ``cost`` was measured, if rows may have any size."""
    memory: Terms | None = None
    """The memory that a row takes while it runs, if the manifest says it or it could be measured."""
    buckets: Buckets = ()
    """The sizes to which batches are padded; none on the CPU."""

    @property
    def pad(self) -> Callable[[int], int]:
        """Maps a number of rows to the size to which their batch is padded."""
        if self.buckets:
            return functools.partial(bucket_of, buckets=self.buckets)
        return functools.partial(max, self.least_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedVersion(VerifiedGraph):
    """A version whose graphs have all passed every check. The object itself is ``main``; ``graphs`` has the others."""

    manifest: Manifest
    load_s: float
    graphs: Mapping[str, VerifiedGraph]
    sequence_rules: SequenceRules | None = None
    """What it keeps between the requests of a sequence; None: nothing."""
    schedule_policy: SchedulePolicy | None = None
    """The priorities and queue limits of its configuration, if it has any."""
    config: TritonConfig | None = None
    tokenizers: Mapping[str, Tokenizer] = field(default_factory=dict)
    """By file name."""
    symbols: Sequence[str] = ()
    """The symbols that a model reads from pictures or sounds, in order."""


def load_version(
    version: ModelVersion, settings: Settings, cancellation: Cancellation | None = None
) -> LoadedVersion | LoadedPipeline:
    """Load and check one version. The golden requests of a pipeline are sent later, because its models may still load.

    Raises StoreError or NotReady, whose text says why it cannot serve. Another thread may end the load by
    ``cancellation``; then NotReady has the reason of the cancellation.
    """
    try:
        with (cancellation or Cancellation()).active():
            if not version.is_plain and version.read_manifest().pipeline is not None:
                return load_pipeline(version)
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
    return LoadedVersion(
        **{each.name: getattr(main, each.name) for each in fields(main)},
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
    tokenizers: Mapping[str, Tokenizer] = MappingProxyType({})
    symbols: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Opened:
    """A graph with its session, and inputs to try it with.

    ``graph`` is the graph as the manifest describes it; it has a batch only if rows are proved independent.
    """

    graph: Graph
    session: Session
    open_on: Callable[[int], Session]
    """Opens the graph once more; takes the number of threads of a run."""
    samples: Sequence[Arrays]
    """Stored or made-up inputs, the best first: if the graph fails on some, the next ones are tried."""
    content: bytes
    external: Mapping[str, bytes]
    golden: GoldenSamples | None = None
    longer: Sequence[Arrays] = ()
    """Made-up inputs of larger sizes, if sizes are free: kernels, and so bits, depend on the size."""
    try_batch: tuple[Graph, Callable[[int], Arrays]] | None = None
    """The graph with a batch axis that is not proved, and a function that makes a given number of rows for it."""


def _prove(name: str, manifest: Manifest, opened: _Opened, settings: Settings) -> VerifiedGraph:
    """Raises NotReady if the graph does not do what the manifest says or what ``settings`` require."""
    session, golden, budget = opened.session, opened.golden, Budget()
    weight_bytes = count_bytes(opened.content, opened.external)
    max_rows = limit_rows(name, manifest, settings.max_rows)
    try:
        graph = _settle_batch(opened, max_rows)
        expected = manifest.golden_of(name)
        classes = manifest.classes if name == MAIN else None
        error = check_golden(session, Signature(graph), expected, golden, classes) if golden and expected else None
        graph, bits, ready = _try_rows(opened, graph, max_rows)
        if name == MAIN and manifest.loop is not None and not batches(graph):
            graph, bits, ready = _try_steps_alone(manifest, opened, graph)
            max_rows = 1
    except NotReady as refusal:
        raise refusal if name == MAIN else NotReady(f"graph {name!r}: {refusal}") from refusal
    signature, rows = Signature(graph, session.fragile), graph.rows or PROVED_BY_EXPORT
    if bits.refuted:
        logger.warning("%s, graph %s: %s: its requests run one by one", manifest.name, name, bits.refuted)
    if settings.require_exact and not bits.is_exact and signature.batches:
        raise NotReady(f"the bits of a row depend on its batch ({bits.text}), and SLUICE_REQUIRE_EXACT is set")
    if not signature.batches:
        max_rows, bits = 1, Bits("exact")
    may_widen = session.on_cpu and not settings.intra_op_threads and weight_bytes <= MOST_BYTES_TWICE
    may_widen = may_widen and not (settings.require_exact and graph.has_free_sizes)
    threads = count_cores() // settings.workers if may_widen else 1
    cost, all_cores = CostModel(), None
    if ready:
        graph_id = identify(opened.content)
        cost, all_cores = measure_costs(session, ready, opened.open_on, threads, signature.axes, budget, graph_id)
    else:
        logger.warning(
            "%s serves untested: it ran on none of the inputs that were made up for it; give samples of its inputs in "
            "model_warmup of config.pbtxt, or publish it with `sluice export`",
            manifest.name,
        )
    if all_cores is not None and bits.is_exact and graph.has_free_sizes:
        bits = replace(bits, text=f"{bits.text} on one core", is_exact=False)
    row_elements, memory = None, None
    if signature.is_dynamic:
        memory = None if graph.run_bytes is None else graph.run_bytes.terms
        if ready:
            least = min(ready)
            row_elements = Rows(ready[least], least, None).row_elements
            memory = join_terms(memory, learn_memory(opened.content, opened.external, graph, ready[least]))
    return VerifiedGraph(
        session=session,
        signature=signature,
        cost=cost,
        max_rows=max_rows,
        least_rows=bits.least_rows,
        rows=rows,
        bits=bits.text,
        golden_error=error,
        weight_bytes=weight_bytes,
        all_cores=all_cores,
        row_elements=row_elements,
        memory=memory,
        buckets=make_buckets(max_rows, bits.least_rows) if signature.batches and not session.on_cpu else (),
    )


def _try_rows(opened: _Opened, graph: Graph, max_rows: int) -> tuple[Graph, Bits, Mapping[int, Arrays]]:
    """Run rows alone and in batches, and every batch size. Raises NotReady if the graph fails on stored samples.

    Returns the graph, its bits, and the inputs of each batch size that ran; none if the graph failed on all inputs.
    """
    session = opened.session
    for number, samples in enumerate(opened.samples):
        try:
            longer = () if number else opened.longer
            settled, bits = settle(lambda inputs: run(session, inputs), graph, samples, max_rows, longer)
            signature = Signature(settled)
            sizes = make_buckets(max_rows, bits.least_rows) if signature.batches else (1,)
            return settled, bits, warm_up(session, samples, sizes, signature.axes if signature.batches else None)
        except NotReady:
            if opened.golden is not None:
                raise
    return without_batch(graph), Bits("exact"), {}


def _try_steps_alone(manifest: Manifest, opened: _Opened, graph: Graph) -> tuple[Graph, Bits, Mapping[int, Arrays]]:
    """As ``_try_rows``, for a loop whose rows cannot share a step: each row makes its steps alone."""
    rows = graph.rows or NO_BATCH
    logger.info("%s: each row of its loop steps alone: its rows are %s", manifest.name, describe_verdict(rows))
    return _try_rows(opened, take_steps_alone(manifest.graphs[MAIN], rows), 1)


def _settle_batch(opened: _Opened, max_rows: int) -> Graph:
    """The graph as it serves: that of ``try_batch`` if its rows pass a trial, else the one with a proved batch."""
    if opened.try_batch is None:
        return opened.graph
    graph, draw = opened.try_batch
    try:
        changes = try_in_batches(opened.session, Signature(graph, opened.session.fragile), draw, max_rows)
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
        golden = manifest.golden_of(name)
        stored = GoldenSamples.from_bytes(contents[golden.file]) if golden else None
        content = with_safe_division(with_available_locale(contents[graph.file]))
        open_on = _opener(content, external, settings, max_rows)
        session = open_on(settings.intra_op_threads or 1)
        check_signature(graph, session)
        settled = settle_published(graph, manifest.parity_of(name) is not None, contents.__getitem__)
        samples = [stored.inputs if stored else make_samples(settled, {}, 8)]
        longer = stretch_samples(name, manifest, samples[0])
        opened[name] = _Opened(settled, session, open_on, samples, content, external, stored, longer)
    where = f"{version.name} version {version.version}"
    if manifest.sound is not None:
        require_library(where)
    tokenizers = open_tokenizers(manifest, contents, where)
    symbols = find_symbols(manifest, contents)
    return _Read(manifest, opened, read_loop(manifest), tokenizers=tokenizers, symbols=symbols)


def _load_plain(version: ModelVersion, settings: Settings) -> _Read:
    """Load a version without a manifest, which the ONNX file, its analysis and its configuration replace."""
    plain, config = version.read_plain(), read_configuration(version)
    content = with_safe_division(with_available_locale(plain.content))
    open_on = _opener(content, plain.external, settings, settings.max_rows)
    session = open_on(settings.intra_op_threads or 1)
    described = describe_plain(version, plain, content, session.describe(plain.file), config)
    graph, shapes, sizes = described.graph, described.shapes, described.found.sizes
    session.adopt(graph, shapes)
    _run_warm_ups(version.name, session, described.warmups)
    try_batch = None
    may_batch = settings.batch_unproved and described.may_batch and shapes is None
    anyway = batch_anyway(graph, described.found) if may_batch else None
    if anyway is not None and sizes is not None:
        seeds = itertools.count()
        try_batch = anyway, lambda rows: make_samples(anyway, sizes, rows, next(seeds))
    opened = _Opened(
        graph,
        session,
        lambda threads: open_on(threads).adopt(graph, shapes),
        described.candidates,
        content,
        plain.external,
        longer=described.longer,
        try_batch=try_batch,
    )
    sequences = described.sequences
    sequence_rules = None if sequences is None else SequenceRules(sequences, is_required=True)
    schedule_policy = None if config is None else read_schedule_policy(config.batching)
    return _Read(described.manifest, {MAIN: opened}, sequence_rules, schedule_policy, config)


def _run_warm_ups(name: str, session: Session, samples: Sequence[Sample]) -> None:
    """Run the warm-up samples of a configuration as often as it says, within a budget. A failure is only logged."""
    budget = Budget()
    for sample in samples:
        try:
            for number in range(min(sample.count, _MOST_WARMUPS)):
                if number == 0 or not budget.is_spent:
                    run(session, sample.inputs)
        except NotReady as error:
            logger.warning("%s: model_warmup %r of its configuration: %s", name, sample.name, error)


def _opener(
    content: bytes, external: Mapping[str, bytes], settings: Settings, max_rows: int
) -> Callable[[int], Session]:
    """A function that opens a session; it takes the number of threads of a run."""
    gpu = GpuOptions(
        device_id=settings.gpu_device or 0,
        mem_bytes=settings.gpu_mem_bytes,
        cuda_graphs=settings.cuda_graphs,
        tf32=settings.tf32,
        engine_cache=settings.engine_cache,
    )

    return lambda threads: Session(
        content,
        external=external,
        policy=settings.provider,
        intra_op_threads=threads,
        gpu=gpu,
        max_rows=max_rows,
        lanes=settings.lanes or GPU_LANES,
        run_options=make_run_options(),
    )
