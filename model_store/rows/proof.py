"""One pass over a graph that was measured: what each tensor owes to the rows of the batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from model_store.rows.arithmetic import evaluate, lift
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
    State,
    Unknown,
)
from model_store.rows.nodes import MOST_KNOWN, OWN_DOMAINS, Node, read_constants, read_nodes, read_small
from model_store.rows.rules import ELEMENTWISE, RANDOM, RULES
from model_store.rows.rules import SIZED as MAKES_ROWS
from model_store.rows.rules.bodies import draws_numbers
from model_store.rows.rules.elementwise import broadcast_shape
from model_store.rows.sizes import ONE, Size
from model_store.rows.steps import Measures, Step, explain

_BODIES = frozenset({"If", "Loop", "Scan", "SequenceMap"})


@dataclass(frozen=True, slots=True)
class Proof:
    """``axes`` has the axis of the rows of each output, None for one that is the same for every row.

    ``failure`` says why the rows are not known to be independent; None where they are.
    """

    axes: Mapping[str, int | None]
    failure: Failed | None
    facts: Mapping[str, Fact]


def prove(model: onnx.ModelProto, guards: Mapping[str, str], inputs: Mapping[str, Fact], measures: Measures) -> Proof:
    """Follow the rows from the inputs to the outputs. ``inputs`` has a fact for each input of the graph."""
    prover = _Prover(model, inputs, measures)
    for node in read_nodes(model.graph, guards):
        prover.follow(node)
    return prover.conclude([output.name for output in model.graph.output])


class _Prover:
    def __init__(self, model: onnx.ModelProto, inputs: Mapping[str, Fact], measures: Measures) -> None:
        self._measures = measures
        self._opsets = {o.domain if o.domain not in OWN_DOMAINS else "": o.version for o in model.opset_import}
        self._constants: dict[str, np.ndarray | None] = {}
        self._facts: dict[str, Fact] = {}
        for name, (dims, values) in read_constants(model.graph).items():
            self._constants[name] = values
            known = None if values is None else lift(values)
            self._facts[name] = Fact(FIXED, tuple(Size.of(dim) for dim in dims), known)
        self._facts.update(inputs)

    def follow(self, node: Node) -> None:
        """Find what is known of the outputs of a node, from what is known of its inputs."""
        if node.op == "Constant" and not node.domain:
            self._note_constant(node)
        elif node.op == "ConstantOfShape" and "value" in node.attributes:
            self._constants[node.outputs[0]] = read_small(node.attributes["value"])
        facts = tuple(self._facts.get(name) if name else None for name in node.inputs)
        for name, fact in zip(node.outputs, self._find(node, facts), strict=False):
            if name and fact is not None:
                self._facts[name] = fact
        for name in node.outputs:
            if name:
                self._facts.setdefault(name, Fact(Failed("unknown", f"{node}: nothing is known of {name!r}"), None))

    def _find(self, node: Node, facts: Sequence[Fact | None]) -> Sequence[Fact | None]:
        failed = self._find_failure(node, facts)
        if failed is not None:
            if node.op in ("Shape", "Size") and not node.domain:
                known = facts[0] is not None and facts[0].shape is not None
                return [self._measure_values(self._step(node, facts))] if known else [Fact(SIZED, None)]
            return self._fail(node, facts, failed)
        try:
            return self._check(node, self._apply(self._step(node, facts)))
        except NotIndependent as error:
            return self._fail(node, facts, Failed(error.verdict, f"{node}: {error}"))
        except (ValueError, IndexError, TypeError, KeyError, AttributeError) as error:
            # A rule read the node otherwise than it is: no proof, and never a reason not to serve.
            return self._fail(node, facts, Failed("unknown", f"{node}: not understood ({error})"))

    def _step(self, node: Node, facts: Sequence[Fact | None]) -> Step:
        return Step(node, tuple(facts), self._measures, self._opsets.get(node.domain, 1), self._constants.get)

    def _fail(self, node: Node, facts: Sequence[Fact | None], failed: Failed) -> Sequence[Fact]:
        """Where only the shape of a failed tensor is asked for, nothing is lost."""
        shape = broadcast_shape(facts) if node.op in ELEMENTWISE and not node.domain else None
        return [Fact(failed, shape)] * len(node.outputs)

    def _find_failure(self, node: Node, facts: Sequence[Fact | None]) -> Failed | None:
        for fact in facts:
            if fact is not None and isinstance(fact.state, Failed):
                return fact.state
        missing = [name for name, fact in zip(node.inputs, facts, strict=True) if name and fact is None]
        if missing and node.op not in _BODIES:
            return Failed("unknown", f"{node}: nothing is known of its input {missing[0]!r}")
        guard = self._facts.get(node.guard) if node.guard else None
        if guard is not None and not isinstance(guard.state, Fixed):
            if isinstance(guard.state, Failed):
                return guard.state
            return Failed(
                "unknown", f"{node}: it depends on the rows or on their number which branch of an If is taken"
            )
        return None

    def _apply(self, step: Step) -> Sequence[Fact | None]:
        node = step.node
        if node.op in ("Shape", "Size") and not node.domain:
            return [self._measure_values(step)]
        states = [fact.state for fact in step.facts if fact is not None]
        if _is_random(node):
            raise Mixing("it draws random numbers")
        if all(isinstance(state, Fixed) for state in states):
            return self._fix(step)
        if all(isinstance(state, Fixed | Sized) for state in states) and node.op not in _BODIES:
            found = self._measure_values(step)
            if isinstance(found.state, Fixed) or node.op not in MAKES_ROWS:
                return [found, *([Fact(SIZED, None)] * (len(node.outputs) - 1))]
        rule = RULES.get(node.domain, {}).get(node.op)
        if rule is None:
            raise Unknown(f"no rule for {'this operator' if node.op not in _BODIES else node.op + ' on data'}")
        return rule(step)

    def _fix(self, step: Step) -> Sequence[Fact | None]:
        """Outputs of fixed inputs are fixed; small whole numbers among them are known by what was measured."""
        facts: list[Fact | None] = []
        for at, name in enumerate(step.node.outputs):
            if not name:
                facts.append(None)
                continue
            shapes = self._measures.shapes(name)
            known = evaluate(step) if at == 0 else None
            shape = None if shapes is None else step.measure(name, FIXED)
            facts.append(Fact(FIXED, shape, self._complete(name, shape, known)))
        return facts

    def _complete(self, name: str, shape: Shape | None, known: np.ndarray | None) -> np.ndarray | None:
        """Elements that arithmetic does not give, as they were measured: they do not depend on the rows."""
        measured = self._measures.values(name)
        if measured is None or shape is None or any(array.shape != measured[0].shape for array in measured):
            return known
        if measured[0].size > MOST_KNOWN or (known is not None and known.shape != measured[0].shape):
            return known
        result = np.empty(measured[0].shape, object)
        for at in np.ndindex(result.shape):
            if known is not None and known[at] is not None:
                result[at] = self._measures.same(known[at]) if isinstance(known[at], Size) else known[at]
            elif measured[0].dtype.kind == "b":
                truths = {bool(array[at]) for array in measured}
                result[at] = truths.pop() if len(truths) == 1 and len(set(self._measures.settings)) == 1 else None
            else:
                result[at] = self._measures.size_of(tuple(int(array[at]) for array in measured))
        return result

    def _measure_values(self, step: Step) -> Fact:
        """A tensor computed from sizes: fixed if none of its elements depends on the number of rows."""
        name = step.node.outputs[0]
        known = evaluate(step)
        if known is None:
            return Fact(SIZED, self._shape_without_rows(name))
        self._compare(name, known)
        known = self._rename(known)
        shape = tuple(Size.of(length) for length in known.shape)
        depends = any(value is None or (isinstance(value, Size) and value.has_rows) for value in known.reshape(-1))
        return Fact(SIZED if depends else FIXED, shape, known)

    def _rename(self, known: np.ndarray) -> np.ndarray:
        renamed = np.empty(known.shape, object)
        for at in np.ndindex(known.shape):
            renamed[at] = self._measures.same(known[at]) if isinstance(known[at], Size) else known[at]
        return renamed

    def _shape_without_rows(self, name: str) -> Shape | None:
        measured = self._measures.shapes(name)
        if measured is None or len({len(shape) for shape in measured}) > 1:
            return None
        try:
            return tuple(self._measures.size_of(lengths) for lengths in zip(*measured, strict=True))
        except NotIndependent:
            return None

    def _compare(self, name: str, known: np.ndarray) -> None:
        """Arithmetic against what was measured. Raises Unknown where they differ."""
        measured = self._measures.values(name)
        for run, array in enumerate(measured or ()):
            for at in np.ndindex(known.shape):
                value = known[at]
                expected = value.at(run) if isinstance(value, Size) else value
                if expected is not None and (array.shape != known.shape or int(array[at]) != int(expected)):
                    raise Unknown("its values are not what the sizes give")

    def _check(self, node: Node, facts: Sequence[Fact | None]) -> Sequence[Fact | None]:
        """Shapes against those that were measured. Raises Unknown where they differ."""
        for name, fact in zip(node.outputs, facts, strict=False):
            measured = self._measures.shapes(name) if name else None
            if fact is None or fact.shape is None or measured is None:
                continue
            for run, shape in enumerate(measured):
                if tuple(size.at(run) for size in fact.shape) != shape:
                    raise Unknown(f"its shape is {shape} and not {list(fact.shape)}")
        return facts

    def _note_constant(self, node: Node) -> None:
        value = node.attributes.get("value")
        for name, dtype in (("value_int", np.int64), ("value_ints", np.int64), ("value_float", np.float32)):
            if name in node.attributes:
                self._constants[node.outputs[0]] = np.array(node.attributes[name], dtype)
        if isinstance(value, onnx.TensorProto):
            self._constants[node.outputs[0]] = read_small(value)

    def conclude(self, outputs: Sequence[str]) -> Proof:
        axes: dict[str, int | None] = {}
        for name in outputs:
            fact = self._facts.get(name)
            failure = _find_fault(name, fact)
            if failure is not None:
                return Proof({}, failure, self._facts)
            state: State | None = fact.state if fact is not None else None
            axes[name] = state.axis if isinstance(state, Rows) else None
        if outputs and all(axis is None for axis in axes.values()):
            return Proof({}, Failed("unknown", "no output has an axis of rows"), self._facts)
        return Proof(axes, None, self._facts)


def _is_random(node: Node) -> bool:
    """Whether the node draws random numbers, or one in its bodies does."""
    bodies = [value for value in node.attributes.values() if isinstance(value, onnx.GraphProto)]
    return (node.op in RANDOM and not node.domain) or any(draws_numbers(body) for body in bodies)


def _find_fault(name: str, fact: Fact | None) -> Failed | None:
    """Why an output cannot be cut into rows; None where it can, or where it is the same for every row."""
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
