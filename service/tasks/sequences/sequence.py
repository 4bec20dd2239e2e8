"""predict_sequence: series to their forecasts, texts, pictures and sounds to texts. The manifest says which."""

from service.codecs.picture_reader import PictureFile
from service.errors import InvalidInput
from service.tasks.request import refuse
from service.tasks.sequences.forecast import ForecastOptions, forecast
from service.tasks.sequences.read import ReadOptions, read
from service.tasks.sequences.translate import TextOptions, translate
from service.tasks.work import Call, Result

NAME = "predict_sequence"


class Options(ForecastOptions, TextOptions, ReadOptions):
    """The fields of a request besides its rows. A model takes those of what it predicts."""


async def work(call: Call[Options]) -> Result:
    """``{"model", "version", "predictions"}``, one for each row: see ``forecast``, ``translate``, ``read``."""
    rows, most, model = call.rows, call.limits.max_rows, call.model
    if model.manifest.reading is not None:
        refuse(call.options, [*ForecastOptions.own(), *TextOptions.own()], f"model {model.name!r} reads; leave it out")
        return call.answer(predictions=await read(call))
    if not rows or len(rows) > most:
        raise InvalidInput(f"inputs: expected an array of 1 to {most} series or texts, got {len(rows or ()) or 'none'}")
    for row in rows:
        if isinstance(row, PictureFile):
            raise InvalidInput(f"{row.where}: expected a JSON body with series or texts as inputs, got a picture")
    if model.manifest.forecast is not None:
        others = [*TextOptions.own(), *ReadOptions.own()]
        refuse(call.options, others, f"model {model.name!r} forecasts series; leave it out")
        return call.answer(predictions=await forecast(call, rows))
    if model.manifest.text is not None:
        others = [*ForecastOptions.own(), *ReadOptions.own()]
        refuse(call.options, others, f"model {model.name!r} writes texts; leave it out")
        return call.answer(predictions=await translate(call, rows))
    advice = f"use /v2/models/{model.name}/infer"
    raise InvalidInput(f"model {model.name!r} does not say how its tensors are series or texts: {advice}")
