"""predict_sequence: series to their forecasts, texts to texts, by what the manifest says of the model."""

from collections.abc import Iterable
from typing import Any

from service.codecs.model_context import ModelContext
from service.codecs.picture_reader import PictureFile
from service.errors import InvalidInput
from service.tasks.forecast import ForecastOptions, forecast
from service.tasks.request import TaskOptions, TaskRequest
from service.tasks.translate import TextOptions, translate
from service.tasks.work import Emit, Limits, Result, Work

NAME = "predict_sequence"


class Options(ForecastOptions, TextOptions):
    """Everything of a request but its rows; which of it a model takes depends on what it predicts."""


def work(options: Options, request: TaskRequest, context: ModelContext, limits: Limits, emit: Emit | None) -> Work:
    """Answers with the model, the version and one prediction a row, in their order; see ``forecast``, ``translate``.

    Raises InvalidInput, which names the field at fault, what was expected and what came; ModelFailure for an output
    that is no number.
    """
    rows = request.rows
    if not rows or len(rows) > limits.max_rows:
        got = "none" if not rows else len(rows)
        raise InvalidInput(f"inputs: expected an array of 1 to {limits.max_rows} series or texts, got {got}")
    for row in rows:
        if isinstance(row, PictureFile):
            raise InvalidInput(f"{row.where}: expected a JSON body with series or texts as inputs, got a picture")
    predictions: list[dict[str, Any]]
    if context.manifest.forecast is not None:
        _refuse(options, TextOptions.model_fields, f"model {context.name!r} forecasts series")
        predictions = yield from forecast(options, rows, context, limits, emit)
    elif context.manifest.text is not None:
        _refuse(options, ForecastOptions.model_fields, f"model {context.name!r} writes texts")
        predictions = yield from translate(options, rows, context, limits, emit)
    else:
        raise InvalidInput(
            f"model {context.name!r} does not say how its tensors are series or texts: use "
            f"/v2/models/{context.name}/infer"
        )
    return Result({"model": context.name, "version": context.version, "predictions": predictions})


def _refuse(options: Options, fields: Iterable[str], reason: str) -> None:
    """Refuse options that are asked for in vain, those of ``fields`` that not every model has."""
    for field in fields:
        if field not in TaskOptions.model_fields and getattr(options, field) != Options.model_fields[field].default:
            raise InvalidInput(f"{field}: {reason}; leave it out")
