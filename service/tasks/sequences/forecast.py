"""Forecasts of series: by models that answer at once, and by models that run step by step in a loop."""

import functools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from model_store.graph import MAIN
from model_store.tasks import Forecast
from service.codecs.model_context import known
from service.codecs.rows import group_rows, stack_rows
from service.codecs.series import SeriesReader, begin_loop, resumable, zeros_of
from service.codecs.state import origin_of, seal
from service.engine.loop.noise import LARGEST_SEED, draw_normal
from service.engine.loop.request import ByStep, LoopRequest, Watch
from service.errors import InvalidInput
from service.tasks.answer import check_finite
from service.tasks.request import FromText, TaskOptions, refuse
from service.tasks.work import Call, Emit, Iterate, infer_rows, run_in_thread

DEFAULT_HORIZON = 12
"""For a model with a loop."""
DEFAULT_PATHS = 200
MAX_PATHS = 2000
MAX_QUANTILES = 99
MAX_VALUES = 1 << 24
"""In all paths of a request, which are in memory at the same time."""
_KEPT_STEPS = 16
"""The noise of this many steps is kept, for rows of a request that run in different batches."""

Quantile = Annotated[float, Field(gt=0, lt=1)]
Quantiles = Annotated[list[Quantile], Field(max_length=MAX_QUANTILES), FromText]


class ForecastOptions(TaskOptions):
    horizon: Annotated[int, Field(ge=1)] | None = None
    """steps ahead; default: 12, or the model's own horizon"""
    quantiles: Quantiles | None = None
    """between 0 and 1; those of a model that answers at once are fixed"""
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    """the same seed gives the same bits, in any batch"""
    paths: Annotated[int, Field(ge=1, le=MAX_PATHS)] = DEFAULT_PATHS
    """how many paths are drawn for the quantiles of a series"""
    return_state: bool = False
    """answer with a state too, which a later request can continue, on any replica with the same key"""


async def forecast(call: Call[ForecastOptions]) -> list[dict[str, Any]]:
    """One prediction for each series: ``mean`` [horizon], ``quantiles`` by name, and ``state`` if it is asked for.

    If the model has a loop, ``mean`` is the path without noise. If it gives quantiles, ``mean`` is the quantile nearest
    to 0.5, and without the option ``quantiles`` the answer has all of them. Events: row, step from 0, value. Raises
    InvalidInput; ModelFailure for values that are not finite.
    """
    return await (_answer_at_once if call.model.manifest.loop is None else _roll_out)(call, call.rows or ())


async def _answer_at_once(call: Call[ForecastOptions], rows: Sequence[Any]) -> list[dict[str, Any]]:
    options, name = call.options, call.model.name
    facts = known(call.model.manifest.forecast)
    why = f"model {name!r} answers at once, without draws or state; leave it out"
    refuse(options, ("seed", "paths", "return_state"), why)
    most = known(facts.horizon)
    horizon = _read_horizon(options.horizon, most, most, name)
    columns = _choose_columns(options.quantiles, facts, name)
    series = SeriesReader(call.model, call.limits.state_key).read(rows)
    predictions: list[dict[str, Any]] = []
    for output in await infer_rows(series, MAIN):
        values = check_finite(name, facts.output, output[facts.output])[:horizon]
        centre = values if values.ndim == 1 else values[:, int(np.argmin(np.abs(np.array(facts.quantiles) - 0.5)))]
        prediction: dict[str, Any] = {"mean": np.ascontiguousarray(centre)}
        if columns:
            prediction["quantiles"] = {of: np.ascontiguousarray(values[:, at]) for of, at in columns.items()}
        predictions.append(prediction)
    if call.emit is not None:
        for row, prediction in enumerate(predictions):
            for step, value in enumerate(prediction["mean"]):
                call.emit({"row": row, "step": step, "value": value})
    return predictions


def _choose_columns(asked: Sequence[float] | None, facts: Forecast, model: str) -> dict[str, int]:
    """Quantile -> its column in the output. Raises InvalidInput for a quantile that the model does not give."""
    have = list(facts.quantiles)
    for quantile in asked or ():
        if quantile not in have:
            shown = f"one of {', '.join(map(str, have))}" if have else f"none, for model {model!r} gives no quantiles"
            raise InvalidInput(f"quantiles: expected {shown}, got {quantile}")
    return {str(quantile): have.index(quantile) for quantile in (have if asked is None else asked)}


async def _roll_out(call: Call[ForecastOptions], rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Forecast step by step.

    The rows of a loop request are first the path without noise of each series, then the paths with noise of each.
    """
    options, context, key = call.options, call.model, call.limits.state_key
    loop, facts = known(context.manifest.loop), known(context.manifest.forecast)
    paths = options.paths if options.quantiles else 0
    horizon = _check_loop(call, len(rows), paths)
    series = SeriesReader(context, key).read(rows)
    started = await infer_rows(series, loop.start) if loop.start else series
    begun = [begin_loop(context, outputs) for outputs in started]
    if facts.noise is not None and not paths:
        begun = [{**row, facts.noise: zeros_of(context.inputs()[facts.noise])} for row in begun]
    predictions: list[dict[str, Any]] = [{} for _ in rows]
    for positions in group_rows(begun):
        begin, count = stack_rows(begun, positions), len(positions)
        by_step: dict[str, ByStep] = {}
        if paths:
            begin = {name: np.concatenate([a, np.repeat(a, paths, axis=0)]) for name, a in begin.items()}
            by_step[known(facts.noise)] = _draw(options.seed, count, paths)
        watch = _watch(call.emit, facts.output, positions) if call.emit else None
        result = await Iterate(LoopRequest(begin, horizon, by_step, keep=(facts.output,), watch=watch))
        values = check_finite(context.name, facts.output, result.kept[facts.output])
        draws = values[count:].reshape(count, paths, horizon)
        quantiles = await _find_quantiles(draws, options.quantiles or ())
        for at, position in enumerate(positions):
            predictions[position] = {"mean": values[at]}
            if quantiles:
                predictions[position]["quantiles"] = {name: of[at] for name, of in quantiles.items()}
    if options.return_state:  # the state after the history, not after the forecast
        for prediction, outputs in zip(predictions, started, strict=True):
            state = {name: outputs[source] for name, source in resumable(context.manifest).items()}
            prediction["state"] = seal(key, origin_of(context), state)
    return predictions


def _check_loop(call: Call[ForecastOptions], series: int, paths: int) -> int:
    """The horizon. Raises InvalidInput for what the model cannot do, or what is too much for one request."""
    options, context, limits = call.options, call.model, call.limits
    loop, facts = known(context.manifest.loop), known(context.manifest.forecast)
    most = min(loop.max_steps, limits.max_steps)
    horizon = _read_horizon(options.horizon, min(DEFAULT_HORIZON, most), most, context.name)
    if paths and facts.noise is None:
        raise InvalidInput(f"quantiles: model {context.name!r} draws nothing, so it gives none; leave them out")
    if options.return_state and not resumable(context.manifest):
        raise InvalidInput(f"return_state: model {context.name!r} cannot go on from a state; leave it out")
    count = series * (1 + paths)
    shown = f"{series} series of 1 and {paths}"
    if count > limits.max_rows:
        raise InvalidInput(f"paths: expected at most {limits.max_rows} in a request, got {count}: {shown}")
    if count * horizon > MAX_VALUES:
        expected = f"at most {MAX_VALUES // count} steps for {count} paths ({shown})"
        raise InvalidInput(f"horizon: expected {expected}, got {horizon}")
    return horizon


async def _find_quantiles(draws: np.ndarray, asked: Sequence[float]) -> dict[str, np.ndarray]:
    """Name of a quantile -> its values [series, steps]. ``draws`` is [series, paths, steps]."""
    if not asked:
        return {}
    found = await run_in_thread(lambda: np.quantile(draws, asked, axis=1).astype(draws.dtype), draws.nbytes)
    return {str(quantile): of for quantile, of in zip(asked, found, strict=True)}


def _draw(seed: int, series: int, paths: int) -> ByStep:
    """The noise of the rows of a loop request: 0 for the first ``series`` rows, then ``paths`` normal draws per series.

    A draw depends only on the seed, the path and the step. It is the same for each series, so the quantiles of a series
    do not depend on the other series.
    """
    which = np.concatenate([np.zeros(series, np.intp), np.tile(np.arange(1, paths + 1), series)])

    @functools.lru_cache(_KEPT_STEPS)
    def draw(step: int) -> np.ndarray:
        return np.concatenate([np.zeros(1, np.float32), draw_normal(seed, 0, step, (paths,))])

    return lambda rows, step: draw(step)[which[rows]]


def _watch(emit: Emit, output: str, positions: Sequence[int]) -> Watch:
    """Sends the paths without noise as events. Values that are not finite are left out: the request will fail later."""

    def watch(row: int, step: int, kept: Mapping[str, np.ndarray]) -> None:
        if row < len(positions) and np.isfinite(kept[output]):
            emit({"row": positions[row], "step": step, "value": kept[output][()]})

    return watch


def _read_horizon(asked: int | None, default: int, most: int, model: str) -> int:
    if asked is not None and asked > most:
        raise InvalidInput(f"horizon: expected 1 to {most} steps for model {model!r}, got {asked}")
    return default if asked is None else asked
