"""Operators with a graph inside."""

from collections.abc import Mapping

import onnx

from model_store.rows.facts import Fact, Mixing, Rows, Unknown
from model_store.rows.nodes import read_outer
from model_store.rows.rules.elementwise import join
from model_store.rows.rules.indexing import RANDOM
from model_store.rows.sizes import ONE
from model_store.rows.steps import BY_VALUES, Rule, Step

_MAY_DRAW = RANDOM | {"Dropout"}


def draws_numbers(graph: onnx.GraphProto) -> bool:
    """Whether a node of the graph, or of one inside of it, may draw random numbers."""
    for node in graph.node:
        if node.op_type in _MAY_DRAW or any(draws_numbers(a.g) for a in node.attribute if a.HasField("g")):
            return True
    return False


def _scan(step: Step) -> list[Fact | None]:
    """A Scan that carries nothing new from turn to turn computes each place of the scanned axis by itself."""
    body, scanned = step.attribute("body"), step.attribute("num_scan_inputs")
    if step.opset < 9 or step.attribute("scan_input_directions") or step.attribute("scan_output_directions"):
        raise Unknown("a Scan of this form")
    states = len(body.input) - scanned
    rows: Rows | None = None
    axes = list(step.attribute("scan_input_axes") or [0] * scanned)
    for at in range(states + scanned):
        found = step.rows(at)
        if found is None:
            if at >= states:
                raise Unknown("it scans a fixed tensor beside the rows")
            continue
        if at < states or axes[at - states] != found.axis or (found.outer, found.inner) != (ONE, ONE):
            raise Mixing("it goes through the batch otherwise than row by row")
        rows = join(rows, found.at(0))
    step.expect_fixed(*range(states + scanned, len(step.facts)))
    if not all(_passes_on(body, number) for number in range(states)):
        raise Mixing("it carries something from row to row")
    if _shapes_by_values(body, {value.name for value in body.input[states:]}):
        raise Unknown("the shape that a row gives may depend on its values")
    if rows is None:
        raise Unknown("it scans no rows")
    outputs = list(step.attribute("scan_output_axes") or [0] * (len(body.output) - states))
    facts: list[Fact | None] = [step.fact(number) for number in range(states)]
    for at, axis in enumerate(outputs):
        facts.append(step.give(rows.at(axis), output=states + at) if step.node.outputs[states + at] else None)
    return facts


def _shapes_by_values(body: onnx.GraphProto, given: set[str]) -> bool:
    """Whether values of these tensors may decide about the shape of another."""
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
    """Whether a carried state comes out of the body as it went in."""
    given, left = body.input[number].name, body.output[number].name
    sources = {node.output[0]: node.input[0] for node in body.node if node.op_type == "Identity"}
    while left in sources:
        left = sources[left]
    return bool(left == given)


RULES: Mapping[str, Rule] = {"Scan": _scan}
