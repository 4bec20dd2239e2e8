"""predict_sequence: series to their forecasts, texts to texts. The manifest says which of the two a model does."""

from collections.abc import Iterable
from typing import Any

from service.codecs.model_context import ModelContext
from service.codecs.picture_reader import PictureFile
from service.errors import InvalidInput
from service.tasks.forecast import ForecastOptions, forecast
from service.tasks.request import TaskOptions, TaskRequest
from service.tasks.translate import TextOptions, translate
from service.tasks.work import Emit, Limits, Result

NAME = "predict_sequence"


class Options(ForecastOptions, TextOptions):
    """The fields of a request besides its rows. A model takes those of what it predicts."""


async def work(
    options: Options, request: TaskRequest, context: ModelContext, limits: Limits, emit: Emit | None
) -> Result:
    """``{"model", "version", "predictions"}``, one prediction for each row; see ``forecast`` and ``translate``."""
    rows = request.rows
    if not rows or len(rows) > limits.max_rows:
        got = len(rows) if rows else "none"
        raise InvalidInput(f"inputs: expected an array of 1 to {limits.max_rows} series or texts, got {got}")
    for row in rows:
        if isinstance(row, PictureFile):
            raise InvalidInput(f"{row.where}: expected a JSON body with series or texts as inputs, got a picture")
    predictions: list[dict[str, Any]]
    if context.manifest.forecast is not None:
        _refuse(options, TextOptions.model_fields, f"model {context.name!r} forecasts series")
        predictions = await forecast(options, rows, context, limits, emit)
    elif context.manifest.text is not None:
        _refuse(options, ForecastOptions.model_fields, f"model {context.name!r} writes texts")
        predictions = await translate(options, rows, context, limits, emit)
    else:
        advice = f"use /v2/models/{context.name}/infer"
        raise InvalidInput(f"model {context.name!r} does not say how its tensors are series or texts: {advice}")
    return Result({"model": context.name, "version": context.version, "predictions": predictions})


def _refuse(options: Options, fields: Iterable[str], reason: str) -> None:
    """Refuse those of ``fields`` that were asked for, apart from the options of every task."""
    for field in fields:
        if field not in TaskOptions.model_fields and getattr(options, field) != Options.model_fields[field].default:
            raise InvalidInput(f"{field}: {reason}; leave it out")
