"""predict_sequence: series to their forecasts, rows to texts. The manifest says which of them a model does."""

from service.codecs.picture_reader import PictureFile
from service.errors import InvalidInput
from service.tasks.request import refuse
from service.tasks.sequences.forecast import ForecastOptions, forecast
from service.tasks.sequences.translate import TextOptions, translate
from service.tasks.sequences.write import Options as OptionsOfText
from service.tasks.sequences.write import WritingOptions, write
from service.tasks.work import Call, Result

NAME = "predict_sequence"


class Options(OptionsOfText):
    """The fields of a request besides its rows. A model takes those of what it predicts."""


async def work(call: Call[Options]) -> Result:
    """``{"model", "version", "predictions"}``, one for each row; see ``forecast``, ``translate``, ``write``."""
    rows, most, model = call.rows, call.limits.max_rows, call.model
    if not rows or len(rows) > most:
        raise InvalidInput(f"inputs: expected an array of 1 to {most} series or texts, got {len(rows or ()) or 'none'}")
    if model.manifest.writing is not None:
        others = [name for name in ForecastOptions.own() if name != "seed"]
        refuse(call.options, others, f"model {model.name!r} writes texts; leave it out")
        return call.answer(predictions=await write(call, rows))
    for row in rows:
        if isinstance(row, PictureFile):
            raise InvalidInput(f"{row.where}: expected a JSON body with series or texts as inputs, got a picture")
    if model.manifest.forecast is not None:
        refuse(call.options, WritingOptions.own(), f"model {model.name!r} forecasts series; leave it out")
        return call.answer(predictions=await forecast(call, rows))
    if model.manifest.text is not None:
        refuse(call.options, ForecastOptions.own(), f"model {model.name!r} writes texts; leave it out")
        further = [name for name in WritingOptions.own() if name not in TextOptions.own()]
        refuse(call.options, further, f"model {model.name!r} writes the likeliest characters; leave it out")
        return call.answer(predictions=await translate(call, rows))
    advice = f"use /v2/models/{model.name}/infer"
    raise InvalidInput(f"model {model.name!r} does not say how its tensors are series or texts: {advice}")
