"""Whether the promises hold: one row for each figure, with what was promised and measured. Pure.

A promise about several cells holds if it holds in the worst of them. An unmeasured promise neither holds nor fails.
"""

from collections.abc import Iterable, Iterator, Mapping

from loadtests.bench.models.photograph import JPEG
from loadtests.bench.models.picture import PNG
from loadtests.bench.peer import BINARY, JSON
from loadtests.bench.results.figures import Figures
from loadtests.bench.results.promise import NOT_MEASURED, Ratio, Row, ratio_row, write_ratio
from loadtests.bench.results.result import (
    IN_PROCESS,
    PICTURES,
    PIPELINES,
    READING,
    SPEECH,
    TASKS,
    TELEMETRY,
    TEXTS,
    TRANSPORTS,
    Cell,
    Result,
    compare,
)
from loadtests.bench.results.task_verdict import judge_pipeline, judge_reading, judge_speech, judge_tasks
from loadtests.bench.results.telemetry_verdict import judge_telemetry
from loadtests.bench.results.transport_verdict import judge_transports

SELF, ASGI = "sluice", "sluice-asgi"
CLASSIFIER = "digits-classifier"
PHOTOGRAPHS = {"/classify": "photograph-classifier", "/detect": "photograph-detector"}
PHOTOGRAPH_PEERS = ("bentoml-photograph", "bentoml-photograph-batched")
ENCODER, PADDED = "text-encoder", "sluice-padded"
PYTHON_PEERS = ("litserve", "mlserver", "ray", "fastapi")
BEST_ENCODING_PEERS = ("mosec", "triton")

AGAINST_BENTOML = (
    # model, encoding, then (clients, at least, aim)
    ("tiny", BINARY, ((16, 36.0, 50.0), (64, 42.0, 60.0))),
    ("tiny", JSON, ((16, 15.0, 22.0), (64, 17.0, 25.0))),
    ("mlp", BINARY, ((16, 17.0, 24.0), (64, 22.0, 32.0))),
    ("residual", BINARY, ((16, 2.6, 2.9), (64, 2.6, 3.0))),
)
HIGHEST_SHARE = 1.05
CEILING_SHARES = ((16, 0.72, 0.80), (64, 0.80, 0.90))


def judge(result: Result) -> list[Row]:
    cells = {(cell.model, cell.encoding, cell.clients, cell.peer): cell for cell in result.cells}
    pictures = [*_pictures(cells), *_photographs(cells)]
    if result.only == TELEMETRY:
        return [*judge_telemetry(cells)]
    if result.only == TRANSPORTS:
        return [*judge_transports(cells, SELF)]
    if result.only == PICTURES:
        return pictures
    texts = [_texts(cells)]
    if result.only == TEXTS:
        return texts
    pipeline = judge_pipeline(result.tasks)
    if result.only == PIPELINES:
        return [pipeline]
    speech = judge_speech(result.tasks)
    if result.only == SPEECH:
        return [speech]
    reading = judge_reading(result.tasks)
    if result.only == READING:
        return [reading]
    tasks = [*judge_tasks(result.tasks), *pictures]
    if result.only == TASKS:
        return tasks
    return [
        *_against_bentoml(cells),
        _against_python(cells),
        *(_against_best_encoding(result, cells, peer) for peer in BEST_ENCODING_PEERS),
        *_against_ceiling(cells),
        _paths(cells),
        *_judge_figures(result.figures),
        *tasks,
        *texts,
        pipeline,
        *(row for row in (speech, reading) if row.holds is not None),
    ]


Cells = Mapping[tuple[str, str, int, str], Cell]


def _against_bentoml(cells: Cells) -> Iterator[Row]:
    for model, encoding, promises in AGAINST_BENTOML:
        for clients, least, aim in promises:
            ratio = _ratio(cells.get((model, encoding, clients, SELF)), cells.get((model, JSON, clients, "bentoml")))
            yield ratio_row(f"{model}, {encoding}, {clients} clients: against BentoML", least, aim, ratio)


def _against_python(cells: Cells) -> Row:
    """2 x, or 1 x where twice the best peer is more than the ceiling."""
    found = []
    for (model, encoding, clients, peer), cell in cells.items():
        if peer != SELF:
            continue
        others = [cells.get((model, encoding, clients, other)) for other in PYTHON_PEERS]
        best = max((one for one in others if one), key=lambda one: one.rows_per_s, default=None)
        ratio = _ratio(cell, best)
        if best and ratio:
            ceiling = cells.get((model, encoding, clients, IN_PROCESS))
            least = 1.0 if ceiling and 2 * best.rows_per_s > ceiling.rows_per_s else 2.0
            where = f"{model}, {encoding}, {clients} clients, {best.peer}"
            found.append((ratio.middle / least, least, ratio, where))
    name = f"every cell: against the best of {', '.join(PYTHON_PEERS)}"
    promise = "2×, 1× where the ceiling binds"
    if not found:
        return Row(name, promise, "5×", NOT_MEASURED, None, None)
    holds = all(share >= 1 for share, *_ in found)
    reaches = all(ratio.middle >= 5 for _, _, ratio, _ in found)
    _, _, worst, where = min(found, key=lambda one: one[0])
    return Row(name, promise, "5×", f"worst {write_ratio(worst)} ({where})", holds, reaches)


def _against_best_encoding(result: Result, cells: Cells, peer: str) -> Row:
    name = f"every model and number of clients: against {peer}, each in its best encoding"
    found = []
    for model, clients in dict.fromkeys((cell.model, cell.clients) for cell in result.cells):
        ratio = _ratio(_best(cells, model, clients, SELF), _best(cells, model, clients, peer))
        if ratio:
            found.append((ratio, f"{model}, {clients} clients"))
    if not found:
        return Row(name, "0.9×", "1.5×", NOT_MEASURED, None, None)
    worst, where = min(found, key=lambda one: one[0].middle)
    measured = f"worst {write_ratio(worst)} ({where})"
    return Row(name, "0.9×", "1.5×", measured, worst.middle >= 0.9, worst.middle >= 1.5)


def _against_ceiling(cells: Cells) -> Iterator[Row]:
    """The share of the ceiling. A share above 1 would mean that the ceiling was measured wrongly: then nothing
    holds."""
    for clients, least, aim in CEILING_SHARES:
        cell, ceiling = (cells.get(("residual", BINARY, clients, name)) for name in (SELF, IN_PROCESS))
        share = _ratio(cell, ceiling)
        name = f"residual, binary, {clients} clients: share of the ONNX Runtime ceiling"
        if share is None:
            yield Row(name, f"{least:g}", f"{aim:g}", NOT_MEASURED, None, None)
            continue
        text = f"{share.middle:.2f} ({share.least:.2f}–{share.most:.2f})"
        if share.middle > HIGHEST_SHARE:
            yield Row(name, f"{least:g}", f"{aim:g}", f"{text}: above the ceiling, not credible", None, None)
            continue
        yield Row(name, f"{least:g}", f"{aim:g}", text, share.middle >= least, share.middle >= aim)


def _paths(cells: Cells) -> Row:
    ratio = _ratio(cells.get(("tiny", BINARY, 64, SELF)), cells.get(("tiny", BINARY, 64, ASGI)))
    return ratio_row("tiny, binary, 64 clients: the fast path against the ASGI path", 1.8, 2.5, ratio)


def _pictures(cells: Cells) -> Iterator[Row]:
    for clients in (16, 64):
        name = f"/classify, a PNG, {clients} clients: against a BentoML API that takes a PIL.Image"
        yield ratio_row(name, 4.0, 4.0, _against_fastest(cells, CLASSIFIER, PNG, clients, ("bentoml-picture",)))


def _photographs(cells: Cells) -> Iterator[Row]:
    """Against the faster of two ways to write the same service: each picture alone, or adaptive batching."""
    for route, model in PHOTOGRAPHS.items():
        for clients in (16, 64):
            name = f"{route}, a JPEG, {clients} clients: against the faster BentoML API that takes PIL.Image"
            yield ratio_row(name, 2.0, 2.0, _against_fastest(cells, model, JPEG, clients, PHOTOGRAPH_PEERS))


def _texts(cells: Cells) -> Row:
    name = "/embed, texts of 8 to 128 tokens, 64 clients: against padding to the longest, in batches of 32"
    return ratio_row(name, 1.5, 1.5, _against_fastest(cells, ENCODER, TEXTS, 64, (PADDED,)))


def _against_fastest(cells: Cells, model: str, encoding: str, clients: int, peers: Iterable[str]) -> Ratio | None:
    """A server that gave errors does not count; None if ours did, or no other is left."""
    ours, *theirs = (cells.get((model, encoding, clients, peer)) for peer in (SELF, *peers))
    found = [_ratio(ours, cell) for cell in theirs if not _has_failed(cell)]
    return None if _has_failed(ours) else min(filter(None, found), key=lambda ratio: ratio.middle, default=None)


def _has_failed(cell: Cell | None) -> bool:
    return cell is not None and cell.errors > 0


def _judge_figures(figures: Figures) -> Iterator[Row]:
    name, latency = "one client, tiny, binary: p50 above the bare session.run", figures.latency
    if latency is None:
        yield Row(name, "150 µs", "80 µs", NOT_MEASURED, None, None)
    else:
        above = sorted(value * 1e6 for value in latency.above_s)
        middle = above[len(above) // 2]
        text = f"{middle:.0f} µs ({above[0]:.0f}–{above[-1]:.0f})"
        yield Row(name, "150 µs", "80 µs", text, middle <= 150, middle <= 80)
    yield from _judge_overload(figures)
    name, poisoning = "one poisoned row in a hundred: neighbours that fail", figures.poisoning
    if poisoning is None or not poisoning.poisoned:
        yield Row(name, "0", "0", NOT_MEASURED, None, None)
    else:
        text = f"{poisoning.failed} of {poisoning.neighbours:,}, beside {poisoning.poisoned} poisoned"
        yield Row(name, "0", "0", text, poisoning.failed == 0, poisoning.failed == 0)


def _judge_overload(figures: Figures) -> Iterator[Row]:
    answered = "5 times the capacity, open loop: answered within the deadline, share of capacity"
    refused = "5 times the capacity, open loop: p99 of the refusals"
    overload = figures.overload
    if overload is None:
        yield Row(answered, "0.9", "0.95", NOT_MEASURED, None, None)
        yield Row(refused, "20 ms", "20 ms", NOT_MEASURED, None, None)
        return
    shares = [one.share for one in overload.rounds]
    text = f"{overload.share:.2f} ({min(shares):.2f}–{max(shares):.2f})"
    yield Row(answered, "0.9", "0.95", text, overload.share >= 0.9, overload.share >= 0.95)
    slowest_s = overload.refusal_p99_s
    if slowest_s is None:
        yield Row(refused, "20 ms", "20 ms", "nothing was refused", None, None)
        return
    found = [one.refusal_p99_s * 1e3 for one in overload.rounds if one.refusal_p99_s is not None]
    text = f"{slowest_s * 1e3:.1f} ms ({min(found):.1f}–{max(found):.1f})"
    yield Row(refused, "20 ms", "20 ms", text, slowest_s < 0.02, slowest_s < 0.02)


def _ratio(one: Cell | None, other: Cell | None) -> Ratio | None:
    return compare(one, other) if one and other else None


def _best(cells: Cells, model: str, clients: int, peer: str) -> Cell | None:
    able: Iterable[Cell | None] = (cells.get((model, encoding, clients, peer)) for encoding in (JSON, BINARY))
    return max((cell for cell in able if cell), key=lambda cell: cell.rows_per_s, default=None)
