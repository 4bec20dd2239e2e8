"""The most important facts of a published version: ``sluice models show``."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.text import Text

from model_store.display.size import write_size
from model_store.graph import MAIN
from model_store.manifest import Manifest, Parity, Quality

_MOST_LABELS = 12
_LABEL = 9
"""Cells for the word before each fact."""


def describe_rows(manifest: Manifest) -> str:
    """``proved`` if requests share batches, ``alone`` if each runs alone; "" if only an analysis can tell."""
    main = manifest.graphs.get(MAIN)
    if main is None:
        return ""
    if main.rows is None:  # published before rows were analysed
        has_batch = any(tensor.batch_axis is not None for tensor in main.inputs)
        return "alone" if not has_batch else "proved" if manifest.parity is not None else ""
    return "proved" if main.rows.verdict == "proved" else "alone"


def order_metrics(quality: Quality) -> list[tuple[str, float]]:
    """The metrics, those with a bar first."""
    return sorted(quality.metrics.items(), key=lambda item: item[0] not in quality.bar)


def print_summary(console: Console, manifest: Manifest, version: int, aliases: Sequence[str]) -> None:
    """Print name, task, quality with its bar, proof and origin."""
    called = f" ({', '.join(aliases)})" if aliases else ""
    console.print(Text.assemble((f"{manifest.name} version {version}{called}", "bold"), f": {manifest.task}"))
    if manifest.description:
        console.print(Text(manifest.description))
    for name, text in _list_facts(manifest):
        lines = textwrap.wrap(text, max(40, console.width - _LABEL), break_on_hyphens=False) or [""]
        for position, line in enumerate(lines):
            console.print(Text(f"{name if position == 0 else '':{_LABEL}}{line}"), soft_wrap=True)


def _list_facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    if manifest.quality is not None:
        yield from _describe_quality(manifest.quality)
    if manifest.labels:
        more = f" and {len(manifest.labels) - _MOST_LABELS} more" if len(manifest.labels) > _MOST_LABELS else ""
        yield "labels", f"{len(manifest.labels)}: {', '.join(manifest.labels[:_MOST_LABELS])}{more}"
    others = sorted(manifest.tasks - {manifest.task})
    if others:
        yield "also", f"answers {', '.join(others)}"
    if manifest.parity is not None:
        yield "proof", _describe_parity(manifest.parity)
    if manifest.golden is not None:
        rows = "1 stored row" if manifest.golden.rows == 1 else f"{manifest.golden.rows} stored rows"
        yield "golden", f"{rows} that the server checks before it serves"
    yield "files", f"{write_size(sum(f.size_bytes for f in manifest.files.values()))}: {', '.join(manifest.files)}"
    if manifest.provenance is not None:
        yield "made", _describe_origin(manifest)
    if manifest.licence:
        yield "licence", manifest.licence


def _describe_quality(quality: Quality) -> Iterator[tuple[str, str]]:
    yield "quality", ", ".join(_describe_metric(name, value, quality.bar) for name, value in order_metrics(quality))
    yield "", f"measured on {quality.rows:,} rows: {quality.data}"


def _describe_metric(name: str, value: float, bar: Mapping[str, float]) -> str:
    return f"{name} {value:.4g} (at least {bar[name]:g})" if name in bar else f"{name} {value:.4g}"


def _describe_parity(parity: Parity) -> str:
    cases = (*parity.rungs, *parity.stretched)
    worst = max((case.max_rel_error for case in cases), default=0.0)
    return f"equals its original in {len(cases)} comparisons; largest difference {worst:.1e} of the largest output"


def _describe_origin(manifest: Manifest) -> str:
    origin = manifest.provenance
    assert origin is not None  # noqa: S101  # the caller has looked
    parts = [origin.created[:16].replace("T", " ")]
    parts += [f"{name} {value}" for name, value in (("torch", origin.torch), ("opset", origin.opset)) if value]
    parts += [f"commit {origin.git_commit[:12]}"] if origin.git_commit else []
    parts += [f"data: {origin.data}"] if origin.data else []
    return ", ".join(parts)
