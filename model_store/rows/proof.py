"""The proof: one pass over a measured graph that finds how each tensor depends on the rows of the batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from model_store.rows.arithmetic import evaluate, lift
from model_store.rows.bounds import Bounds
from model_store.rows.facts import (
    FIXED,
    SIZED,
    Fact,
    Failed,
    Fixed,
    Mixing,
    NotIndependent,
    Rows,
    Shape,
    Sized,
    Source,
    State,
    Unknown,
)
from model_store.rows.graph.nodes import (
    MOST_KNOWN,
    OWN_DOMAINS,
    Constant,
    Node,
    read_constant,
    read_constants,
    read_nodes,
)
from model_store.rows.graph.unfolding import Unfolded
from model_store.rows.lengths import compute_shape
from model_store.rows.measures import Measures, check_shape, widen
from model_store.rows.rules import ELEMENTWISE, RANDOM, RULES
from model_store.rows.rules import SIZED as MAKES_ROWS
from model_store.rows.rules.assigning import assign_by_mask
from model_store.rows.rules.bodies import Undecided, draws_numbers, follow_inside
from model_store.rows.rules.elementwise import broadcast_shape, trains
from model_store.rows.sizes import ONE, Size
from model_store.rows.steps import Step, explain

_OLDEST = 7
"""In older versions, operators broadcast and trained differently."""
_BODIES = frozenset({"If", "Loop", "Scan", "SequenceMap"})


@dataclass(frozen=True, slots=True)
class Proof:
    """The result of a proof.

    ``axes`` has the axis of the rows of each output, None for one that is the same for every row. ``failure`` says why
    the rows are not known to be independent; None if they are. ``undecided`` is an If's condition: splitting the proof
    by its outcome may help. ``limits`` are sizes with their largest value; above it, every input fails. ``facts`` has
    what is known about each tensor.
    """

    axes: Mapping[str, int | None]
    failure: Failed | None
    undecided: str | None = None
    limits: Sequence[tuple[Size, int]] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)


def prove(
    graph: Unfolded, inputs: Mapping[str, Fact], measures: Measures, assumed: Mapping[str, bool] | None = None
) -> Proof:
    """Follow the rows from the inputs to the outputs.

    ``inputs`` has a fact for each input of the graph. ``assumed`` has the assumed outcomes of conditions.
    """
    model = graph.model
    if any(o.domain in OWN_DOMAINS and o.version < _OLDEST for o in model.opset_import):
        return Proof({}, Failed("unknown", f"its operators are of a version before {_OLDEST}"))
    prover = _Prover(graph, inputs, measures, assumed or {})
    for node in read_nodes(model.graph, graph.inside):
        prover.follow(node)
    proof = prover.conclude([output.name for output in model.graph.output])
    return replace(proof, limits=tuple(measures.limits), facts=prover.facts)


class _Prover:
    def __init__(
        self, graph: Unfolded, inputs: Mapping[str, Fact], measures: Measures, assumed: Mapping[str, bool]
    ) -> None:
        model = graph.model
        self._measures = measures
        self._handed = graph.handed
        self._written = graph.written
        self._assumed = assumed
        self._undecided: str | None = None
        self._opsets = {_name_domain(o.domain): o.version for o in model.opset_import}
        self._own = {(_name_domain(f.domain), f.name) for f in model.functions}
        self._makers: dict[str, Node] = {}
        self.facts: dict[str, Fact] = {}
        self._bounds = Bounds(self.facts.get, self._makers.get)
        self.facts.update((name, _know(constant)) for name, constant in read_constants(model.graph).items())
        self.facts.update(inputs)

    def follow(self, node: Node) -> None:
        """Find the facts of a node's outputs from the facts of its inputs."""
        if self._handed.isdisjoint(node.outputs):
            self._makers.update(dict.fromkeys(node.outputs, node))
        facts = tuple(self.facts.get(name) if name else None for name in node.inputs)
        for name, fact in zip(node.outputs, self._find(node, facts), strict=False):
            if name and fact is not None:
                self.facts[name] = widen(fact) if name in self._handed else fact
        for name in node.outputs:
            if name:
                self.facts.setdefault(name, Fact(Failed("unknown", f"{node}: nothing is known of {name!r}"), None))

    def _find(self, node: Node, facts: Sequence[Fact | None]) -> Sequence[Fact | None]:
        failed = self._find_failure(node, facts)
        if failed is not None:
            if node.op in ("Shape", "Size") and not node.domain:
                known = facts[0] is not None and facts[0].shape is not None
                return [self._measure_values(self._step(node, facts))] if known else [Fact(SIZED, None)]
            if node.op != "ScatterND" or node.domain:
                return self._fail(node, facts, failed)
        step = self._step(node, facts)
        self._measures.always = self._written.isdisjoint(node.outputs)
        try:
            assigned = None if failed is None else assign_by_mask(step)
            if failed is not None and assigned is None:
                return self._fail(node, facts, failed)
            return self._check(step, assigned or self._apply(step))
        except NotIndependent as error:
            return self._fail(node, facts, Failed(error.verdict, f"{node}: {error}"))
        except (ValueError, IndexError, TypeError, KeyError, AttributeError) as error:
            # A rule misread the node: this is no proof, but no reason to refuse the model either.
            return self._fail(node, facts, Failed("unknown", f"{node}: not understood ({error})"))

    def _trace(self, name: str) -> tuple[Node | None, Fact | None]:
        return self._makers.get(name), self.facts.get(name)

    def _opset(self, node: Node) -> int:
        return int(self._opsets.get(node.domain, 1))

    def _step(self, node: Node, facts: Sequence[Fact | None]) -> Step:
        source = max((fact.source for fact in facts if fact is not None), default=Source.FILE)
        if source != Source.FILE and node.op in ("Shape", "Size") and not node.domain:
            maker = self._makers.get(node.inputs[0])
            of_shape = maker is not None and maker.op == "Shape" and not maker.domain
            source = Source.FILE if of_shape else Source.SIZES  # the length of a shape is a rank, which never changes
        if source == Source.SIZES and self._measures.exact:
            source = Source.FILE
        opset = self._opset(node)
        return Step(node, tuple(facts), self._measures, opset, self._bounds.find, self._trace, source)

    def _fail(self, node: Node, facts: Sequence[Fact | None], failed: Failed) -> Sequence[Fact]:
        """The outputs of a failed node. If only their shapes are needed, the failure does no harm."""
        shape = broadcast_shape(facts) if node.op in ELEMENTWISE and not node.domain else None
        return [Fact(failed, shape)] * len(node.outputs)

    def _find_failure(self, node: Node, facts: Sequence[Fact | None]) -> Failed | None:
        if node.inside is not None:
            return None  # what a branch reads matters only if it is taken; the rule of the If checks it
        for fact in facts:
            if fact is not None and isinstance(fact.state, Failed):
                return fact.state
        missing = [name for name, fact in zip(node.inputs, facts, strict=True) if name and fact is None]
        if missing:
            return Failed("unknown", f"{node}: nothing is known of its input {missing[0]!r}")
        return None

    def _apply(self, step: Step) -> Sequence[Fact | None]:
        node = step.node
        if node.op == "Constant" and not node.domain:
            return [_know(read_constant(node.attributes))]
        if node.op in ("Shape", "Size") and not node.domain:
            return [self._measure_values(step)]
        states = [fact.state for fact in step.facts if fact is not None]
        if (node.domain, node.op) in self._own:
            raise Unknown("a function of the file that could not be inlined")
        if _is_random(step):
            raise Mixing("it draws random numbers")
        if all(isinstance(state, Fixed) for state in states):
            return self._fix(step)
        if node.inside is not None:
            return self._follow_inside(step)
        if all(isinstance(state, Fixed | Sized) for state in states) and node.op not in _BODIES:
            found = self._measure_values(step)
            if isinstance(found.state, Fixed) or node.op not in MAKES_ROWS or node.domain:
                return [found, *([Fact(SIZED, None)] * (len(node.outputs) - 1))]
        rule = RULES.get(node.domain, {}).get(node.op)
        if rule is None:
            raise Unknown("no rule for this operator")
        facts = rule(step)
        for at, fact in enumerate(step.facts):
            if fact is not None and at not in step.read and not isinstance(fact.state, Fixed):
                raise Unknown(f"input {at} ({node.inputs[at]!r}) depends on the rows")
        return facts

    def _follow_inside(self, step: Step) -> Sequence[Fact | None]:
        """The outputs of a node with graphs inside, from its unfolded parts."""
        try:
            return follow_inside(step, self._assumed)
        except Undecided as error:
            self._undecided = self._undecided or error.condition
            raise

    def _limit_table(self, step: Step) -> None:
        """Indexing a constant table by a number that grows with a free size fails if the number is too large."""
        table, largest = step.fact(0), self._bounds.find_largest(step.node.inputs[1])
        if table.source == Source.FILE and largest is not None and largest.constant is None:
            entries = table.dims[step.axis(table.rank, 0)].constant
            if entries is not None:
                self._measures.limit(largest + ONE, entries)

    def _fix(self, step: Step) -> Sequence[Fact | None]:
        """Outputs of fixed inputs are fixed. Small integers among them are known from measurements."""
        if step.node.op == "Gather" and not step.node.domain:
            self._limit_table(step)
        facts: list[Fact | None] = []
        for at, name in enumerate(step.node.outputs):
            if not name:
                facts.append(None)
                continue
            shapes = self._measures.shapes(name)
            known = evaluate(step) if at == 0 else None
            shape = (compute_shape(step) if at == 0 else None) or step.measure(name, FIXED) if shapes else None
            facts.append(Fact(FIXED, shape, self._complete(step, name, known), step.source))
        return facts

    def _complete(self, step: Step, name: str, known: np.ndarray | None) -> np.ndarray | None:
        """Elements that arithmetic does not give, taken from the runs if they do not depend on the rows."""
        measured = self._measures.values(name)
        if measured is None or any(array.shape != measured[0].shape for array in measured):
            return known
        if measured[0].size > MOST_KNOWN or (known is not None and known.shape != measured[0].shape):
            return known
        result = np.empty(measured[0].shape, object)
        for at in np.ndindex(result.shape):
            if known is not None and known[at] is not None:
                result[at] = known[at]
            elif step.source == Source.FILE:
                result[at] = bool(measured[0][at]) if measured[0].dtype.kind == "b" else Size.of(int(measured[0][at]))
            elif step.source == Source.SIZES and measured[0].dtype.kind != "b":
                result[at] = self._measures.new(tuple(int(array[at]) for array in measured), least=-1)
        return result

    def _measure_values(self, step: Step) -> Fact:
        """A tensor computed from sizes. It is fixed if none of its elements depends on the number of rows."""
        name = step.node.outputs[0]
        known = evaluate(step)
        if known is None:
            return Fact(SIZED, self._shape_without_rows(name))
        self._compare(name, known)
        shape = tuple(Size.of(length) for length in known.shape)
        depends = any(value is None or (isinstance(value, Size) and value.has_rows) for value in known.reshape(-1))
        return Fact(SIZED if depends else FIXED, shape, known, step.source)

    def _shape_without_rows(self, name: str) -> Shape | None:
        measured = self._measures.shapes(name)
        if measured is None or len({len(shape) for shape in measured}) > 1:
            return None
        try:
            return tuple(self._measures.length(n, free=True) for n in zip(*measured, strict=True))
        except NotIndependent:
            return None

    def _compare(self, name: str, known: np.ndarray) -> None:
        """Compare arithmetic with measurements. Raises Unknown if they differ."""
        measured = self._measures.values(name)
        for run, array in enumerate(measured or ()):
            for at in np.ndindex(known.shape):
                value = known[at]
                expected = value.at(run) if isinstance(value, Size) else value
                if expected is not None and (array.shape != known.shape or int(array[at]) != int(expected)):
                    raise Unknown("its measured values differ from the computed ones")

    def _check(self, step: Step, facts: Sequence[Fact | None]) -> Sequence[Fact | None]:
        """Compare shapes with the states and with the runs. Raises Unknown if they differ."""
        for name, fact in zip(step.node.outputs, facts, strict=False):
            if fact is None or fact.shape is None or isinstance(fact.state, Failed):
                continue
            check_shape(fact.state, fact.shape, self._measures)
            for run, shape in enumerate(self._measures.shapes(name) or () if name else ()):
                if tuple(size.at(run) for size in fact.shape) != shape:
                    raise Unknown(f"its measured shape is {shape}, not {list(fact.shape)}")
        return facts

    def conclude(self, outputs: Sequence[str]) -> Proof:
        axes: dict[str, int | None] = {}
        for name in outputs:
            fact = self.facts.get(name)
            failure = _find_fault(name, fact)
            if failure is not None:
                return Proof({}, failure, self._undecided)
            state: State | None = fact.state if fact is not None else None
            axes[name] = state.axis if isinstance(state, Rows) else None
        if outputs and all(axis is None for axis in axes.values()):
            return Proof({}, Failed("unknown", "no output has an axis of rows"))
        return Proof(axes, None)


def _know(constant: Constant) -> Fact:
    """The fact of a constant of the file."""
    dims, values = constant
    return Fact(FIXED, tuple(map(Size.of, dims)), None if values is None else lift(values), Source.FILE)


def _name_domain(domain: str) -> str:
    return "" if domain in OWN_DOMAINS else domain


def _is_random(step: Step) -> bool:
    """Whether the node, or one in its bodies, draws random numbers."""
    node = step.node
    if node.op == "Dropout" and not node.domain:
        return trains(step)
    bodies = [value for value in node.attributes.values() if isinstance(value, onnx.GraphProto)]
    return (node.op in RANDOM and not node.domain) or any(draws_numbers(body) for body in bodies)


def _find_fault(name: str, fact: Fact | None) -> Failed | None:
    """Why an output cannot be split into rows; None if it can, or if it is the same for every row."""
    if fact is None:
        return Failed("unknown", f"nothing is known of the output {name!r}")
    state = fact.state
    if isinstance(state, Failed):
        return state
    if isinstance(state, Fixed):
        return None
    if not isinstance(state, Rows):
        return Failed("mixing", f"output {name!r}: {explain(state)}")
    if not state.even and (state.outer, state.inner) != (ONE, ONE):
        return Failed("mixing", f"output {name!r} has several places on axis {state.axis} for each row")
    if state.even and state.outer * state.inner != ONE:
        return Failed("mixing", f"output {name!r} has several places on axis {state.axis} for each row")
    return None
