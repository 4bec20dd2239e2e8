"""Rules for operators with graphs inside: If, Loop and Scan."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx

from model_store.rows.facts import Fact, Failed, Fixed, Mixing, Rows, Unknown
from model_store.rows.graph.nodes import read_outer
from model_store.rows.graph.unfolding import TURNS
from model_store.rows.measures import widen
from model_store.rows.rules.algebra import all_on_first_axis
from model_store.rows.rules.elementwise import join
from model_store.rows.rules.indexing import RANDOM
from model_store.rows.sizes import ONE, Size
from model_store.rows.steps import BY_VALUES, Rule, Step, explain, norm

_MAY_DRAW = RANDOM | {"Dropout"}


def draws_numbers(graph: onnx.GraphProto) -> bool:
    """Whether a node of the graph, or of one inside it, may draw random numbers."""
    for node in graph.node:
        if node.op_type in _MAY_DRAW or any(draws_numbers(a.g) for a in node.attribute if a.HasField("g")):
            return True
    return False


class Undecided(Unknown):
    """The result of an If depends on its condition."""

    def __init__(self, condition: str, reason: str) -> None:
        super().__init__(reason)
        self.condition = condition


def follow_inside(step: Step, assumed: Mapping[str, bool]) -> list[Fact | None]:
    """An If, Loop or Scan, by its unfolded parts. ``assumed`` has the outcomes of some conditions."""
    if step.node.op == "If":
        return _choose(step, assumed)
    if step.node.op == "Scan":
        return _scan(step)
    return _loop(step)


def _choose(step: Step, assumed: Mapping[str, bool]) -> list[Fact | None]:
    """The results of the branch that is taken. If both may be, they must be laid out alike."""
    condition, name = _expect_shared(step.fact(0), "which branch of an If is taken"), step.node.inputs[0]
    truth = None if condition.values is None else condition.values.reshape(-1)[0]
    if not isinstance(truth, bool):
        truth = assumed.get(name)
    branches = step.node.inside.branches if step.node.inside is not None else {}
    wanted = [True, False] if truth is None else [truth]
    if any(branch not in branches for branch in wanted):
        raise Undecided(name, "no tried size takes its other branch")
    found: list[Fact | None] = []
    for at, output in enumerate(step.node.outputs):
        facts = [_expect_whole(step.named(branches[branch][at])) for branch in wanted]
        found.append(_merge(step, name, facts, at) if output else None)
    return found


def _merge(step: Step, condition: str, facts: Sequence[Fact], output: int) -> Fact:
    """What is known about a result that either branch may give."""
    first, *others = facts
    for other in others:
        if widen(first).state != widen(other).state:
            raise Undecided(condition, "its branches lay out rows differently")
        if first.shape is None or other.shape is None or first.rank != other.rank:
            raise Undecided(condition, "its branches give different ranks")
    if not others:
        return replace(first, source=step.source)
    state = first.state if all(other.state == first.state for other in others) else widen(first).state
    shape = [
        length if all(other.dims[axis] == length for other in others) else step.measure_axis(axis, free=True, of=output)
        for axis, length in enumerate(first.dims)
    ]
    return step.give(state, tuple(shape), output)


def _loop(step: Step) -> list[Fact | None]:
    """What is carried must be laid out alike after each turn, and rows must not decide the number of turns."""
    inside, facts = step.node.inside, step.facts
    if inside is None:
        raise Unknown("this form of Loop")
    for at in (0, 1):
        if step.has(at):
            _expect_shared(step.fact(at), "how many turns a Loop takes")
    counts = [shape[0] for shape in step.measures.shapes(inside.count) or ()]
    most = step.numbers(0) if step.has(0) else None
    begins = facts[1] is None or (facts[1].values is not None and facts[1].values.reshape(-1)[0] is True)
    surely = most is not None and most[0] > 0 and begins
    length = step.measures.new(tuple(counts), least=0)
    return _repeat(step, length, surely, [0] * (len(step.node.outputs) - 1))


def _scan(step: Step) -> list[Fact | None]:
    attributes = step.node.attributes
    scanned = attributes["num_scan_inputs"]
    states = len(attributes["body"].input) - scanned
    axes = list(attributes.get("scan_input_axes") or [0] * scanned)
    lengths = []
    for at, axis in enumerate(axes):
        fact = _expect_whole(step.fact(states + at))
        axes[at] = norm(axis, fact.rank)
        if isinstance(fact.state, Rows) and fact.state.axis == axes[at]:
            return _scan_rows(step, states, axes)
        lengths.append(fact.dims[axes[at]])
    outputs = attributes.get("scan_output_axes") or [0] * (len(step.node.outputs) - states)
    return _repeat(step, lengths[0], (lengths[0].least() or 0) > 0, list(outputs))


def _repeat(step: Step, length: Size, surely: bool, axes: Sequence[int]) -> list[Fact | None]:
    """The results of a Loop or Scan: the carried tensors, then what each turn appends along these axes.

    ``surely``: there is at least one turn. Since the layout after the second turn equals that after the first, it is
    the same after every later turn: the rules know nothing else about what a turn receives.
    """
    turns = step.node.inside.turns if step.node.inside is not None else ()
    if len(turns) < TURNS or any(length.at(run) < TURNS for run in range(len(step.measures.runs))):
        raise Unknown("it takes too few turns at the sizes that were tried")
    for turn in turns:
        if turn.condition:
            _expect_shared(step.named(turn.condition), "how many turns a Loop takes")
    first, second = turns[0], turns[1]
    found: list[Fact | None] = []
    begin = len(first.given) - len(first.carried)
    for at, names in enumerate(zip(first.carried, second.carried, strict=True)):
        fact = _expect_alike(step, *names)
        given = widen(step.named(first.given[begin + at]))
        if not surely and (given.state, given.shape) != (fact.state, fact.shape):
            raise Unknown("it may take no turn, and its result is then laid out differently")
        found.append(replace(fact, source=step.source))
    for at, names in enumerate(zip(first.added, second.added, strict=True)):
        output = len(first.carried) + at
        if output < len(step.node.outputs) and step.node.outputs[output]:
            found.append(_pile_up(step, _expect_alike(step, *names), axes[at], length, output))
        else:
            found.append(None)
    return found


def _pile_up(step: Step, fact: Fact, axis: int, length: Size, output: int) -> Fact:
    """What turns append, concatenated along a new axis."""
    axis = norm(axis, fact.rank + 1)
    state = fact.state
    if isinstance(state, Rows):
        state = state.at(state.axis + (axis <= state.axis))
    elif not isinstance(state, Fixed):
        raise Unknown(explain(state))
    return step.give(state, (*fact.dims[:axis], length, *fact.dims[axis:]), output)


def _expect_alike(step: Step, one: str, other: str) -> Fact:
    """A tensor that is laid out alike after two turns. Raises Unknown if it is not."""
    first, second = (widen(_expect_whole(step.named(name))) for name in (one, other))
    if first.state != second.state or first.shape is None or first.shape != second.shape:
        raise Unknown("what it carries is laid out differently after each turn")
    return first


def _expect_shared(fact: Fact, what: str) -> Fact:
    if isinstance(_expect_whole(fact).state, Fixed):
        return fact
    raise Unknown(f"the rows or their number decide {what}")


def _expect_whole(fact: Fact) -> Fact:
    """Raise the failure of a tensor, if it has one."""
    if isinstance(fact.state, Failed):
        raise (Mixing if fact.state.verdict == "mixing" else Unknown)(f"inside of it, {fact.state.reason}")
    return fact


def _scan_rows(step: Step, states: int, axes: Sequence[int]) -> list[Fact | None]:
    """A Scan that carries nothing from turn to turn computes each place of the scanned axis alone."""
    body, inside = step.attribute("body"), step.node.inside
    if step.attribute("scan_input_directions") or step.attribute("scan_output_directions"):
        raise Unknown("this form of Scan")
    rows: Rows | None = None
    for at in range(states + len(axes)):
        found = step.rows(at)
        if found is None:
            if at >= states:
                raise Unknown("it scans a fixed tensor beside the rows")
            continue
        if at < states or axes[at - states] != found.axis or (found.outer, found.inner) != (ONE, ONE):
            raise Unknown("it does not go through the batch row by row")
        rows = join(rows, found.at(0))
    written = len(list(inside.list_names())) if inside is not None else 0
    step.expect_fixed(*range(states + len(axes), len(step.facts) - written))
    if not all(_passes_on(body, number) for number in range(states)):
        raise Mixing("it carries something from row to row")
    if _shapes_by_values(body, {value.name for value in body.input[states:]}):
        raise Unknown("the shape that a row gives may depend on its values")
    if rows is None:
        raise Unknown("it scans no rows")
    outputs = list(step.attribute("scan_output_axes") or [0] * (len(body.output) - states))
    facts: list[Fact | None] = [step.fact(number) for number in range(states)]
    for at, axis in enumerate(outputs):
        name = step.node.outputs[states + at]
        place = norm(axis, len((step.measures.shapes(name) or [()])[0])) if name else 0
        facts.append(step.give(rows.at(place), output=states + at) if name else None)
    return facts


def _scan_batches(step: Step) -> list[Fact | None]:
    """Scan of version 8: it goes through each example of a batch on axis 0 alone."""
    if step.opset > 8:
        raise Unknown("this form of Scan")
    body, scanned = step.attribute("body"), step.attribute("num_scan_inputs")
    given = len(body.input) + 1
    step.expect_fixed(*range(given, len(step.facts)))
    if not all(step.has(at) and step.rows(at) is not None for at in range(1, given)):
        raise Unknown("some of its inputs are the same for every row")
    if _shapes_by_values(body, {value.name for value in body.input[-scanned:]}):
        raise Unknown("the shape that a row gives may depend on its values")
    return all_on_first_axis(step, range(given))


def _shapes_by_values(body: onnx.GraphProto, given: set[str]) -> bool:
    """Whether values of these tensors may decide the shape of another."""
    for node in body.node:
        first = BY_VALUES.get(node.op_type, len(node.input))
        if given.intersection(node.input[first:]) or (node.domain and given.intersection(node.input)):
            return True
        if any(attribute.HasField("g") and given & read_outer(attribute.g) for attribute in node.attribute):
            return True
        if node.op_type not in ("Shape", "Size") and given.intersection(node.input):
            given = given | set(node.output)
    return False


def _passes_on(body: onnx.GraphProto, number: int) -> bool:
    """Whether a carried state leaves the body unchanged."""
    given, left = body.input[number].name, body.output[number].name
    sources = {node.output[0]: node.input[0] for node in body.node if node.op_type == "Identity"}
    while left in sources:
        left = sources[left]
    return bool(left == given)


RULES: Mapping[str, Rule] = {"Scan": _scan_batches}
