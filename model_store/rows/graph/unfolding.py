"""Copies graphs inside nodes into the main graph, so that ONNX Runtime measures their tensors and rules can follow
rows.

The nodes of both branches of an If, and of the first turns of a Loop or Scan, are added under new names. Nothing reads
their results: the original node stays, and its rule (``rules/bodies.py``) looks at the copies. A part that does not run
at the tried sizes is left out.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

from model_store.rows.graph.inner import graphs_of

TURNS = 2
"""Turns of a loop that are unfolded. What the loop carries must be laid out alike after both, or nothing is proved."""
_MOST_NODES = 20_000
_BEFORE_A_NAME = ("'", "(", ":", " ")
"""The text before the name of a node in ONNX Runtime's messages."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a Loop or Scan: the tensors that it receives, passes on, and appends to the outputs."""

    given: tuple[str, ...]
    carried: tuple[str, ...]
    added: tuple[str, ...]
    condition: str = ""


@dataclass(frozen=True, slots=True)
class Inside:
    """The unfolded part of a node. ``branches`` has the results of each branch; ``count`` is a tensor as long as the
    number of turns."""

    branches: Mapping[bool, tuple[str, ...]] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()
    count: str = ""

    def list_names(self) -> Iterator[str]:
        for results in self.branches.values():
            yield from results
        for turn in self.turns:
            yield from (*turn.given, *turn.carried, *turn.added)
            if turn.condition:
                yield turn.condition


@dataclass(slots=True)
class Unfolded:
    """A graph with its parts unfolded.

    ``inside`` is keyed by the first output of a node. ``handed`` are the tensors that a turn receives; they differ in
    every turn. ``written`` are all copied tensors. ``parts`` names what can be left out.
    """

    model: onnx.ModelProto
    inside: dict[str, Inside] = field(default_factory=dict)
    handed: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    parts: list[str] = field(default_factory=list)

    def find_part(self, message: str) -> str | None:
        """The part in which a node failed, found by the node's name in an error message."""
        named = [part for part in self.parts if any(mark + part in message for mark in _BEFORE_A_NAME)]
        return max(named, key=len, default=None)


def unfold(
    model: onnx.ModelProto,
    assumed: Mapping[str, bool] | None = None,
    left_out: Collection[str] = (),
    *,
    forced: bool = False,
) -> Unfolded:
    """Unfold the parts of a model. For an If with an ``assumed`` condition, only that branch; with ``forced``, the
    branch replaces the If."""
    found = Unfolded(onnx.ModelProto())
    found.model.CopyFrom(model)
    writer = _Writer(found, assumed or {}, left_out, forced)
    waiting = list(model.graph.node)
    written: list[onnx.NodeProto] = []
    while waiting:
        node = waiting.pop(0)
        room = len(written) + len(waiting) < _MOST_NODES
        new = writer.write(node) if room and any(a.HasField("g") for a in node.attribute) else [node]
        written.append(new[0])
        waiting[:0] = new[1:]
    del found.model.graph.node[:]
    found.model.graph.node.extend(written)
    return found


class _Writer:
    def __init__(self, found: Unfolded, assumed: Mapping[str, bool], left_out: Collection[str], forced: bool) -> None:
        self._found = found
        self._assumed = assumed
        self._left_out = left_out
        self._forced = forced

    def write(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The node, or its replacement, and then its parts."""
        if node.domain not in ("", "ai.onnx") or not node.output:
            return [node]
        if node.op_type == "If":
            return self._write_branches(node)
        if node.op_type == "Loop":
            return self._write_loop(node)
        if node.op_type == "Scan" and not _is_old_scan(node):
            return self._write_scan(node)
        return [node]

    def _takes(self, part: str) -> bool:
        self._found.parts.append(part)
        return part not in self._left_out

    def _write_branches(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        nodes, branches = [node], {}
        assumed = self._assumed.get(node.input[0])
        for truth, name in ((True, "then"), (False, "else")):
            part = f"{_name(node)}.{name}/"
            if assumed in (None, truth) and ((self._forced and assumed is not None) or self._takes(part)):
                graph = _read_graph(node, f"{name}_branch")
                results, inner = self._copy(graph, part, {})
                nodes += inner
                branches[truth] = results
        if not self._forced or assumed is None:
            self._found.inside[_name(node)] = Inside(branches)
        else:
            results = branches[assumed]
            nodes[0] = helper.make_node("Identity", [results[0]], [node.output[0]])
            nodes += [
                helper.make_node("Identity", [result], [output])
                for result, output in list(zip(results, node.output, strict=False))[1:]
                if output
            ]
        return nodes

    def _write_loop(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Copy turns. Each receives the iteration number, the condition and the carried tensors."""
        counted = onnx.NodeProto()
        counted.CopyFrom(node)
        count = f"{_name(node)}.turns"
        graph = _read_graph(counted, "body")
        carried = len(graph.input) - 2
        graph.node.append(helper.make_node("Identity", [graph.input[0].name], [count + "/"]))
        graph.output.append(helper.make_tensor_value_info(count + "/", onnx.TensorProto.INT64, []))
        counted.output.extend([""] * (len(graph.output) - 2 - len(counted.output)))
        counted.output.append(count)
        nodes, turns = [counted], []
        graph = _read_graph(node, "body")
        sources = [*node.input[2:], *[""] * (carried + 2 - len(node.input))]
        condition = node.input[1] if len(node.input) > 1 else ""
        for number in range(TURNS):
            part = f"{_name(node)}.{number}/"
            if not self._takes(part):
                break
            given = [self._add_constant(f"{part}number", np.array(number, np.int64))]
            given += [condition or self._add_constant(f"{part}goes", np.array(True)), *sources]
            turn, inner = self._write_turn(graph, part, given, {}, 1, carried)
            nodes += inner
            turns.append(turn)
            condition, sources = turn.condition, list(turn.carried)
        self._found.inside[_name(node)] = Inside({}, tuple(turns), count)
        return nodes

    def _write_scan(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Copy turns. Each receives the carried tensors and a slice of each scanned input."""
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        graph, scanned = attributes["body"], attributes["num_scan_inputs"]
        carried = len(graph.input) - scanned
        axes = attributes.get("scan_input_axes") or [0] * scanned
        backwards = attributes.get("scan_input_directions") or [0] * scanned
        nodes, turns = [node], []
        sources = list(node.input[:carried])
        for number in range(TURNS):
            part = f"{_name(node)}.{number}/"
            if not self._takes(part):
                break
            slices = {}
            for at in range(scanned):
                place = self._add_constant(f"{part}place{at}", np.array(-1 - number if backwards[at] else number))
                slices[graph.input[carried + at].name] = name = f"{part}slice{at}"
                nodes.append(helper.make_node("Gather", [node.input[carried + at], place], [name], name, axis=axes[at]))
            self._found.handed.update(slices.values())
            turn, inner = self._write_turn(graph, part, sources, slices, 0, carried)
            nodes += inner
            turns.append(turn)
            sources = list(turn.carried)
        self._found.inside[_name(node)] = Inside({}, tuple(turns))
        return nodes

    def _write_turn(
        self,
        graph: onnx.GraphProto,
        part: str,
        sources: Sequence[str],
        names: dict[str, str],
        conditions: int,
        carried: int,
    ) -> tuple[Turn, list[onnx.NodeProto]]:
        """One turn of a body on these tensors. ``names`` maps inputs that already have a tensor."""
        nodes, given = [], []
        for value, source in zip(graph.input, sources, strict=False):
            name = f"{part}given/{value.name}"
            nodes.append(helper.make_node("Identity", [source], [name], name))
            names[value.name] = name
            given.append(name)
        self._found.handed.update(given)
        results, inner = self._copy(graph, part, names)
        split = conditions + carried
        condition = results[0] if conditions else ""
        return Turn(tuple(given), results[conditions:split], results[split:], condition), nodes + inner

    def _add_constant(self, name: str, value: np.ndarray) -> str:
        self._found.model.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _copy(
        self, graph: onnx.GraphProto, prefix: str, names: dict[str, str]
    ) -> tuple[tuple[str, ...], list[onnx.NodeProto]]:
        """The results and nodes of a graph, with a prefix before each name that it defines."""
        own = {name for node in graph.node for name in node.output if name}
        own.update(tensor.name for tensor in graph.initializer)
        own.update(tensor.values.name for tensor in graph.sparse_initializer)
        names = {**{name: prefix + name for name in own}, **names}
        for tensor in graph.initializer:
            self._found.model.graph.initializer.add().CopyFrom(tensor)
            self._found.model.graph.initializer[-1].name = names[tensor.name]
        for sparse in graph.sparse_initializer:
            self._found.model.graph.sparse_initializer.add().CopyFrom(sparse)
            self._found.model.graph.sparse_initializer[-1].values.name = names[sparse.values.name]
        copies = []
        for number, node in enumerate(graph.node):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = f"{prefix}{number}/{node.name or node.op_type}"
            copies.append(copy)
        _rename(copies, names)
        self._found.written.update(name for copy in copies for name in copy.output)
        return tuple(names.get(output.name, output.name) for output in graph.output), copies


def _name(node: onnx.NodeProto) -> str:
    """The key of a node: its first output."""
    return next((name for name in node.output if name), "")


def _read_graph(node: onnx.NodeProto, name: str) -> onnx.GraphProto:
    graph: onnx.GraphProto = next(attribute.g for attribute in node.attribute if attribute.name == name)
    return graph


def _is_old_scan(node: onnx.NodeProto) -> bool:
    """Whether it is a Scan of version 8, which has a batch axis of its own."""
    graph = _read_graph(node, "body")
    return len(node.input) == len(graph.input) + 1


def _rename(nodes: Sequence[onnx.NodeProto], names: Mapping[str, str]) -> None:
    """Rename tensors, also in the graphs inside the nodes unless those define the name themselves."""
    for node in nodes:
        for places in (node.input, node.output):
            for at, name in enumerate(places):
                places[at] = names.get(name, name)
        for graph in graphs_of(node):
            own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
            own.update(name for inner in graph.node for name in inner.output)
            outer = {name: other for name, other in names.items() if name not in own}
            _rename(graph.node, outer)
            for output in graph.output:
                output.name = outer.get(output.name, output.name)
