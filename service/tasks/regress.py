"""regress: numbers for rows."""

from typing import Any

from service.codecs.model_context import known
from service.codecs.rows import in_order
from service.errors import InvalidInput
from service.tasks.answer import check_finite
from service.tasks.request import TaskOptions
from service.tasks.windows import average_windows
from service.tasks.work import Call, Result, decode_rows, infer_group, run_in_thread

NAME = "regress"


class Options(TaskOptions):
    """The fields of a request besides its rows."""


async def work(call: Call[Options]) -> Result:
    """``{"model", "version", "unit"?, "predictions": [{"value"} | {"values": {name: value}}]}``.

    The numbers of a sound are the means over its windows. A stream has one event, the last.
    """
    if call.wants_picture:
        raise InvalidInput("accept: image/png: numbers are no picture: ask for JSON")
    facts = known(call.model.manifest.regression)
    decoded = await decode_rows(call, one_window=False)
    merged = [average_windows(group, await infer_group(group), [facts.output]) for group in decoded]
    groups, outputs = [group for group, _ in merged], [of_group for _, of_group in merged]

    def describe() -> list[list[dict[str, Any]]]:
        found = [check_finite(call.model.name, facts.output, of_group[facts.output]) for of_group in outputs]
        rows = [array.reshape(len(array), -1).tolist() for array in found]
        if facts.names:
            return [[{"values": dict(zip(facts.names, row, strict=True))} for row in group] for group in rows]
        return [[{"value": row[0]} for row in group] for group in rows]

    answers = await run_in_thread(describe, sum(of_group[facts.output].nbytes for of_group in outputs))
    unit: dict[str, Any] = {"unit": facts.unit} if facts.unit else {}
    return call.answer(**unit, predictions=in_order(groups, answers))
