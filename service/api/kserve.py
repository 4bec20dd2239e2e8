"""KServe's routes that carry data: predict and explain of its protocol v1, and forecasts of time series."""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model_store.datatypes import datatype_of
from service.api.generate import refuse_binary_outputs
from service.api.task_plan import Planner, TaskPlan
from service.codecs.rows import check_count, in_order
from service.codecs.series import VALUES
from service.engine.tensors import Arrays
from service.errors import InvalidInput, ServiceError
from service.models.entry import Model
from service.models.registry import Registry
from service.protocol.infer_response import to_json, to_nested
from service.protocol.json import render_json, type_name
from service.protocol.large_json import parse_object
from service.protocol.timeseries import TimeSeries, describe_forecast, read_forecast
from service.tasks import classify
from service.tasks.request import TaskOptions
from service.tasks.sequences.forecast import ForecastOptions, forecast
from service.tasks.work import Call, Emit, Infer, Limits, Result, decode_rows, run_in_thread
from service.transport.request import Reply, Request
from service.transport.status import ErrorFormat, error_reply

PREDICT = "/v1/models/{model}:predict"
EXPLAIN = "/v1/models/{model}:explain"
FORECAST = "/v1/timeseries/forecast"
_FIELD = re.compile(r"[\w.\[\]]+")


def plan_predict(request: Request, registry: Registry, limits: Limits) -> TaskPlan:
    """Answer with a prediction for each instance: a row of the only output, or an object of all outputs."""
    model = registry.find(request.endpoint.model, None, request)
    model.check_stateless()
    signature = model.signature
    if not signature.batches or not signature.leads_with_rows:
        raise InvalidInput(f"model {model.name!r} takes no rows: use /v2/models/{model.name}/infer")
    refuse_binary_outputs(signature)
    rows = _read_instances(request, model, limits)

    async def work(emit: Emit | None) -> Result:
        groups = await decode_rows(Call(TaskOptions(), rows, model.context, limits))
        outputs = [await Infer(group.inputs) for group in groups]
        size = sum(array.nbytes for of_group in outputs for array in of_group.values())
        shown = await run_in_thread(lambda: in_order(groups, [_show(of_group) for of_group in outputs]), size)
        return Result({"predictions": shown})

    return TaskPlan(model, work, schedule=model.schedule(None, 0), rows=len(rows))


def plan_explain(request: Request, registry: Registry, limits: Limits) -> TaskPlan:
    """Answer with the most probable label of each instance, and how much each part of the row counts for it."""
    model = registry.find_for_task("classify", request.endpoint.model, None, request)
    rows = _read_instances(request, model, limits)
    options = classify.Options(explain=True)

    async def work(emit: Emit | None) -> Result:
        result = await classify.work(Call(options, rows, model.context, limits))
        return Result({"explanations": result.body["predictions"]})

    return TaskPlan(model, work, rows=len(rows))


def plan_forecast(request: Request, registry: Registry, limits: Limits) -> TaskPlan:
    """Answer with a forecast of each series, by the task predict_sequence."""
    asked = read_forecast(request.body)
    model = registry.find_for_task("predict_sequence", asked.model, None, request)
    if model.manifest.forecast is None:
        raise InvalidInput(f"model: expected one that forecasts series, {model.name!r} writes texts")
    options = ForecastOptions.parse(asked.options.model_dump(exclude_none=True))
    rows = [_row_of(item, f"inputs[{i}]") for i, item in enumerate(asked.inputs)]

    async def work(emit: Emit | None) -> Result:
        predictions = await forecast(Call(options, rows, model.context, limits))
        return Result(describe_forecast(asked, predictions, request.request_id, int(time.time())))

    return TaskPlan(model, work, rows=len(rows))


PLANNERS: Mapping[str, Planner] = {PREDICT: plan_predict, EXPLAIN: plan_explain, FORECAST: plan_forecast}


def forecast_error_reply(error: ServiceError, request_id: str) -> Reply:
    """An error in the form that KServe's forecast route has. The status is the same as on all other routes."""
    reply = error_reply(error, request_id)
    text = parse_object(b"".join(reply.chunks))["error"]
    field = text.partition(":")[0]
    param = field if reply.status == 400 and ":" in text and _FIELD.fullmatch(field) else ""
    told = {"code": str(reply.status), "message": text, "type": type(error).__name__, "param": param}
    return Reply(reply.status, [render_json({"error": told, "request_id": request_id})], reply.headers)


ERROR_FORMATS: Mapping[str, ErrorFormat] = {FORECAST: ErrorFormat(forecast_error_reply)}


def _read_instances(request: Request, model: Model, limits: Limits) -> list[Any]:
    fields = parse_object(request.body)
    instances = fields.pop("instances", None)
    if not isinstance(instances, list):
        raise InvalidInput(f"instances: expected an array of rows, got {type_name(instances)}")
    if fields:
        raise InvalidInput(f"body: expected instances, got {min(fields)!r:.60} as well")
    check_count(instances, limits.max_rows)  # before each row is looked at
    return [_unwrap(row, model) for row in instances]


def _unwrap(row: Any, model: Model) -> Any:
    """The value of the only input if the row is an object with that input's name; else the row as it is."""
    if not isinstance(row, dict) or len(row) != 1 or row.keys() != model.signature.inputs.keys():
        return row
    [value] = row.values()
    return row if isinstance(value, str) else value


def _show(outputs: Arrays) -> Sequence[Any]:
    rows = {name: _rows_of(name, array) for name, array in outputs.items()}
    if len(rows) == 1:
        return next(iter(rows.values()))
    return [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]


def _rows_of(name: str, array: np.ndarray) -> Sequence[Any]:
    if not array.dtype.hasobject:
        return [to_nested(row) for row in np.ascontiguousarray(array)]
    return list(np.array(to_json(name, array, datatype_of(array)), object).reshape(array.shape).tolist())


def _row_of(item: TimeSeries, where: str) -> Any:
    """A series in the form that the task predict_sequence takes."""
    further = item.model_extra or {}
    if VALUES in further:
        raise InvalidInput(f"{where}.{VALUES}: expected the history as series, got it as {VALUES} too")
    return {VALUES: item.series, **further} if further else item.series
