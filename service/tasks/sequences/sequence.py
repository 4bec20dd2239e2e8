"""predict_sequence: forecasts of series; texts from texts, pictures and sounds. The manifest says which."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, NamedTuple

from service.codecs.pictures.reader import RowFile
from service.errors import InvalidInput
from service.tasks.request import refuse
from service.tasks.sequences.forecast import ForecastOptions, forecast
from service.tasks.sequences.read import ReadOptions, read
from service.tasks.sequences.translate import TextOptions, translate
from service.tasks.sequences.write import Options as OptionsOfText
from service.tasks.sequences.write import WritingOptions, write
from service.tasks.work import Call, Result

NAME = "predict_sequence"


class Options(OptionsOfText, ReadOptions):
    """The fields of a request besides its rows. A model takes only the options of its kind of prediction."""


class _Kind(NamedTuple):
    """A kind of prediction: what it does (for messages), its options, its function, and a check of its rows."""

    does: str
    options: Collection[str]
    predict: Callable[[Call[Options]], Awaitable[list[dict[str, Any]]]]
    check: Callable[[Call[Options]], None] = lambda call: None


def _check_count(call: Call[Options]) -> None:
    rows, most = call.rows, call.limits.max_rows
    if not rows or len(rows) > most:
        raise InvalidInput(f"inputs: expected an array of 1 to {most} series or texts, got {len(rows or ()) or 'none'}")


def _check_no_files(call: Call[Options]) -> None:
    _check_count(call)
    for row in call.rows or ():
        if isinstance(row, RowFile):
            raise InvalidInput(f"{row.where}: expected a JSON body with series or texts as inputs, got {row.kind}")


_KINDS = {
    "reading": _Kind("reads", ReadOptions.own(), read),
    "writing": _Kind("writes texts", [*WritingOptions.own(), "seed"], write, _check_count),
    "forecast": _Kind("forecasts series", ForecastOptions.own(), forecast, _check_no_files),
    "text": _Kind("writes the likeliest characters", TextOptions.own(), translate, _check_no_files),
}
"""The kinds by their field of the manifest."""


async def work(call: Call[Options]) -> Result:
    """``{"model", "version", "predictions"}``: one prediction for each row, of the kind that the manifest describes."""
    model = call.model
    kind = next((kind for field, kind in _KINDS.items() if getattr(model.manifest, field) is not None), None)
    if kind is None:
        advice = f"use /v2/models/{model.name}/infer"
        raise InvalidInput(f"model {model.name!r} does not say how its tensors are series or texts: {advice}")
    others = [name for name in Options.own() if name not in kind.options]
    refuse(call.options, others, f"model {model.name!r} {kind.does}; leave it out")
    kind.check(call)
    return call.answer(predictions=await kind.predict(call))
