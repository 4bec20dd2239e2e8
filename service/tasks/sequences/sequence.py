"""predict_sequence: series to their forecasts; texts, pictures and sounds to texts. The manifest says which."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from service.codecs.pictures.reader import RowFile
from service.errors import InvalidInput
from service.tasks.request import TaskOptions, refuse
from service.tasks.sequences.forecast import ForecastOptions, forecast
from service.tasks.sequences.read import ReadOptions, read
from service.tasks.sequences.translate import TextOptions, translate
from service.tasks.sequences.write import Options as OptionsOfText
from service.tasks.sequences.write import WritingOptions, write
from service.tasks.work import Call, Result

NAME = "predict_sequence"


class Options(OptionsOfText, ReadOptions):
    """The fields of a request besides its rows. A model takes those of what it predicts."""


class _Way(NamedTuple):
    """A way to predict: what it does, the options that it takes, and its function."""

    does: str
    options: frozenset[str]
    predict: Callable[[Call[Options]], Awaitable[list[dict[str, Any]]]]


async def _write(call: Call[Options]) -> list[dict[str, Any]]:
    _check_count(call)
    return await write(call, call.rows or ())


async def _forecast(call: Call[Options]) -> list[dict[str, Any]]:
    _check_no_picture(call)
    return await forecast(call, call.rows or ())


async def _translate(call: Call[Options]) -> list[dict[str, Any]]:
    _check_no_picture(call)
    return await translate(call, call.rows or ())


def _options(*kinds: type[TaskOptions]) -> frozenset[str]:
    return frozenset(name for kind in kinds for name in kind.own())


_WAYS = {
    "reading": _Way("reads", _options(ReadOptions), read),
    "writing": _Way("writes texts", _options(WritingOptions) | {"seed"}, _write),
    "forecast": _Way("forecasts series", _options(ForecastOptions), _forecast),
    "text": _Way("writes the likeliest characters", _options(TextOptions), _translate),
}
"""By the field of the manifest that describes it."""


async def work(call: Call[Options]) -> Result:
    """``{"model", "version", "predictions"}``: one for each row, as the function of the model's way gives it."""
    model = call.model
    way = next((way for field, way in _WAYS.items() if getattr(model.manifest, field) is not None), None)
    if way is None:
        advice = f"use /v2/models/{model.name}/infer"
        raise InvalidInput(f"model {model.name!r} does not say how its tensors are series or texts: {advice}")
    others = [name for name in Options.own() if name not in way.options]
    refuse(call.options, others, f"model {model.name!r} {way.does}; leave it out")
    return call.answer(predictions=await way.predict(call))


def _check_count(call: Call[Options]) -> None:
    rows, most = call.rows, call.limits.max_rows
    if not rows or len(rows) > most:
        raise InvalidInput(f"inputs: expected an array of 1 to {most} series or texts, got {len(rows or ()) or 'none'}")


def _check_no_picture(call: Call[Options]) -> None:
    _check_count(call)
    for row in call.rows or ():
        if isinstance(row, RowFile):
            raise InvalidInput(f"{row.where}: expected a JSON body with series or texts as inputs, got a picture")
