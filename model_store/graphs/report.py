"""Prints what is known about a graph, as text or JSON: ``sluice check`` and ``sluice models show``."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from model_store.graph import MAIN, AxisRange, Graph, Tensor
from model_store.graphs.batch import batches, describe_verdict
from model_store.graphs.inspection import Declared, Inspection
from model_store.manifest import Manifest
from model_store.texts.cost import tell_cost

PROVIDER = "CPUExecutionProvider"
_BITS_ELSEWHERE = "the model's card shows those of the provider that serves"


def print_inspection(console: Console, found: Inspection) -> None:
    """The tensors, what the server would do with them, and why."""
    if found.manifest is None:
        _print_declared(console, found.declared)
        _say(console, f"[red]refused[/]: {escape(found.refusal)}")
        return
    graph = found.manifest.graphs[MAIN]
    print_graph(console, graph, found.manifest.batching.max_rows)
    if batches(graph):
        _say(console, f"bits: {escape(found.bits.text)} on {PROVIDER}; {_BITS_ELSEWHERE}")
    else:
        _say(console, f"bits: {escape(found.bits.text)}, because no request shares a run")
    if found.sizes:
        _say(console, f"it ran at {_list_sizes(found.sizes)}")
    for note in found.notes:
        _say(console, f"note: {escape(note)}")


def print_manifest(console: Console, manifest: Manifest) -> None:
    """The graphs of a published version, with the verdicts on their rows."""
    for name, graph in manifest.graphs.items():
        if len(manifest.graphs) > 1:
            _say(console, f"[bold]graph {escape(name)}[/]")
        print_graph(console, graph, manifest.batching.max_rows)
    main = manifest.graphs[MAIN]
    if cost := tell_cost(manifest, steps_alone=main.max_rows == 1 or not batches(main)):
        _say(console, f"writing: {escape(cost)}")
    _say(console, f"bits: {_BITS_ELSEWHERE}")


def print_graph(console: Console, graph: Graph, max_rows: int | None = None) -> None:
    """Print a graph with the verdict on its rows: tensors, whether requests share batches, sizes that are refused."""
    share = batches(graph)
    limited = ["takes"] if any(map(_list_limits, graph.inputs)) else []
    table = _make_table("rows", *limited)
    for kind, tensors in (("input", graph.inputs), ("output", graph.outputs)):
        for tensor in tensors:
            cells = (tensor.name, kind, tensor.datatype, _show_shape(tensor), _place_rows(tensor, share))
            table.add_row(*map(escape, cells), *(escape(_list_limits(tensor)) for _ in limited))
    console.print(table)
    _say(console, _describe_batches(graph, share, max_rows))
    if graph.rows is not None:
        _say(console, f"rows: {escape(describe_verdict(graph.rows))}")
    if graph.proved_sizes and share:
        _say(console, f"that is proved at {_list_sizes(graph.proved_sizes)}: requests of other sizes run alone")
    for name, limits in graph.axis_ranges.items():
        _say(console, f"axis {escape(name)}: {_describe_range(limits)}, other sizes are refused")


def _describe_batches(graph: Graph, share: bool, max_rows: int | None) -> str:
    if not share:
        return "[yellow]does not batch[/]: each request is a run of its own"
    axes = sorted({t.batch_axis for t in (*graph.inputs, *graph.outputs) if t.batch_axis is not None})
    along = f"along axis {axes[0]}" if len(axes) == 1 else "along the axes above"
    most = f", at most {max_rows} in one" if max_rows else ""
    return f"[green]batches[/]: rows of several requests share a run, {along}{most}"


def _show_shape(tensor: Tensor | Declared) -> str:
    any_shape = isinstance(tensor, Tensor) and tensor.any_shape
    return "any" if any_shape else f"[{', '.join(map(str, tensor.shape))}]"


def _place_rows(tensor: Tensor, share: bool) -> str:
    if not share:
        return "-"
    return "shared by all" if tensor.batch_axis is None else f"axis {tensor.batch_axis}"


def _list_limits(tensor: Tensor) -> str:
    found = ["optional"] if tensor.optional else []
    if (tensor.least, tensor.largest) != (None, None):
        found.append(_describe_range(AxisRange.model_construct(least=tensor.least, largest=tensor.largest)))
    if tensor.finite:
        found.append("finite")
    return ", ".join(found)


def _describe_range(limits: AxisRange) -> str:
    parts = []
    if limits.least is not None and limits.largest is not None:
        parts.append(f"{limits.least} to {limits.largest}")
    elif limits.largest is not None:
        parts.append(f"at most {limits.largest}")
    elif limits.least is not None:
        parts.append(f"at least {limits.least}")
    if limits.multiple_of > 1:
        parts.append(f"a multiple of {limits.multiple_of}")
    return ", ".join(parts)


def _list_sizes(sizes: Mapping[str, int]) -> str:
    return escape(", ".join(f"{name}={size}" for name, size in sizes.items()))


def _print_declared(console: Console, declared: tuple[Declared, ...]) -> None:
    if not declared:
        return
    table = _make_table()
    for value in declared:
        table.add_row(*map(escape, (value.name, value.kind, value.datatype, _show_shape(value))))
    console.print(table)


def _make_table(*more: str) -> Table:
    return Table(Column("tensor", overflow="fold"), "kind", "datatype", Column("shape", overflow="fold"), *more)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def as_record(found: Inspection) -> dict[str, Any]:
    """The inspection as JSON values."""
    record: dict[str, Any] = {"serves": found.serves, "batches": found.serves == "batches", "refusal": found.refusal}
    if found.manifest is None:
        tensors = [{"name": v.name, "kind": v.kind, "datatype": v.datatype, "shape": v.shape} for v in found.declared]
        return record | {"rows": None, "reason": "", "bits": None, "tensors": tensors}
    graph = found.manifest.graphs[MAIN]
    return record | {
        "rows": graph.rows.verdict if graph.rows else None,
        "reason": graph.rows.reason if graph.rows else "",
        "bits": found.bits.text,
        "provider": PROVIDER,
        "max_rows": found.manifest.batching.max_rows,
        "sizes": found.sizes,
        "proved_sizes": dict(graph.proved_sizes),
        "axis_ranges": {name: limits.model_dump() for name, limits in graph.axis_ranges.items()},
        "notes": found.notes,
        "tensors": list(_record_tensors(graph)),
    }


def _record_tensors(graph: Graph) -> Iterator[dict[str, Any]]:
    for kind, tensors in (("input", graph.inputs), ("output", graph.outputs)):
        for tensor in tensors:
            yield {"kind": kind, **tensor.model_dump(mode="json")}
