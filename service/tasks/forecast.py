"""Series to series: forecasts of models that answer at once, and of models that are rolled out step by step."""

import functools
from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from model_store.graph import MAIN
from model_store.tasks import Forecast, Loop
from service.codecs.model_context import ModelContext
from service.codecs.rows import group_rows, stack_rows
from service.codecs.series import SeriesReader, resumable, zeros_of
from service.codecs.state import origin_of, seal
from service.engine.loop.noise import LARGEST_SEED, draw_normal
from service.engine.loop.request import ByStep, LoopRequest, LoopResult, Watch
from service.engine.tensors import Arrays, are_finite
from service.errors import InvalidInput, ModelFailure
from service.tasks.request import FromText, TaskOptions
from service.tasks.work import Emit, Infer, Iterate, Limits, RunInThread, infer_rows, run_in_thread

DEFAULT_HORIZON = 12
"""Steps of a loop, where none are asked for."""
DEFAULT_PATHS = 200
MAX_PATHS = 2000
MAX_QUANTILES = 99
MAX_VALUES = 1 << 24
"""Of all paths of a request together: what the answer is made of has to fit into memory."""
_KEPT_STEPS = 16
"""Draws of the last steps are kept, for the rows of a request that do not fit into one batch."""

Quantile = Annotated[float, Field(gt=0, lt=1)]


class ForecastOptions(TaskOptions):
    """``horizon`` in steps; ``seed`` and ``paths`` draws a series are what quantiles of a loop come from."""

    horizon: Annotated[int, Field(ge=1)] | None = None
    quantiles: Annotated[list[Quantile], Field(max_length=MAX_QUANTILES), FromText] | None = None
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    paths: Annotated[int, Field(ge=1, le=MAX_PATHS)] = DEFAULT_PATHS
    return_state: bool = False


Predictions = Generator[Infer | Iterate | RunInThread, Any, list[dict[str, Any]]]


def forecast(
    options: ForecastOptions, rows: Sequence[Any], context: ModelContext, limits: Limits, emit: Emit | None
) -> Predictions:
    """One prediction a series: ``mean`` [horizon], ``quantiles`` by their text, ``state`` where it is asked for.

    ``mean`` is the centre of the forecast: of a loop the path without noise, of a model that gives quantiles the one
    nearest to 0.5, as a rule the median. Such a model answers with all its quantiles unless some are named. Events:
    row, step from 0, value. Raises InvalidInput, and ModelFailure for values that are not finite.
    """
    if context.manifest.loop is None:
        return _answer_at_once(options, rows, context, limits, emit)
    return _RollOut(options, len(rows), context, limits, emit).run(rows)


def _answer_at_once(
    options: ForecastOptions, rows: Sequence[Any], context: ModelContext, limits: Limits, emit: Emit | None
) -> Predictions:
    facts = context.manifest.forecast
    assert facts is not None  # noqa: S101  # asked by the caller
    assert facts.horizon is not None  # noqa: S101  # a forecaster without a loop has one
    for field in ("seed", "paths", "return_state"):
        if getattr(options, field) != ForecastOptions.model_fields[field].default:
            raise InvalidInput(f"{field}: model {context.name!r} answers at once, without draws or state; leave it out")
    horizon = _check_horizon(options.horizon, facts.horizon, facts.horizon, context.name)
    columns = _choose_columns(options.quantiles, facts, context.name)
    series = SeriesReader(context, limits.state_key).read(rows)
    predictions: list[dict[str, Any]] = []
    for output in (yield from infer_rows(series, MAIN)):
        values = _check_finite(output[facts.output], context.name)[:horizon]
        centre = values if values.ndim == 1 else values[:, int(np.argmin(np.abs(np.array(facts.quantiles) - 0.5)))]
        prediction: dict[str, Any] = {"mean": np.ascontiguousarray(centre)}
        if columns:
            prediction["quantiles"] = {name: np.ascontiguousarray(values[:, at]) for name, at in columns.items()}
        predictions.append(prediction)
    if emit is not None:
        for row, prediction in enumerate(predictions):
            for step, value in enumerate(prediction["mean"]):
                emit({"row": row, "step": step, "value": value})
    return predictions


def _choose_columns(asked: Sequence[float] | None, facts: Forecast, model: str) -> dict[str, int]:
    """Where the quantiles are in the output. None between them is made up. Raises InvalidInput."""
    have = list(facts.quantiles)
    for quantile in asked or ():
        if quantile not in have:
            shown = f"one of {', '.join(map(str, have))}" if have else f"none, for model {model!r} gives no quantiles"
            raise InvalidInput(f"quantiles: expected {shown}, got {quantile}")
    return {str(quantile): have.index(quantile) for quantile in (have if asked is None else asked)}


class _RollOut:
    """One request to a forecaster that is a loop.

    The rows of a loop request are the centre path of each series, then ``paths`` rows a series with drawn noise.
    """

    def __init__(
        self, options: ForecastOptions, series: int, context: ModelContext, limits: Limits, emit: Emit | None
    ) -> None:
        manifest = context.manifest
        assert manifest.loop is not None  # noqa: S101  # asked by the caller
        assert manifest.forecast is not None  # noqa: S101
        self._loop: Loop = manifest.loop
        self._facts: Forecast = manifest.forecast
        self._options = options
        self._context = context
        self._limits = limits
        self._emit = emit
        most = min(self._loop.max_steps, limits.max_steps)
        self._horizon = _check_horizon(options.horizon, min(DEFAULT_HORIZON, most), most, context.name)
        self._paths = options.paths if options.quantiles else 0
        if options.quantiles and self._facts.noise is None:
            raise InvalidInput(f"quantiles: model {context.name!r} draws nothing, so it gives none; leave them out")
        if options.return_state and not resumable(manifest):
            raise InvalidInput(f"return_state: model {context.name!r} cannot go on from a state; leave it out")
        self._check_room(series)

    def _check_room(self, series: int) -> None:
        """Raises InvalidInput if the paths of all series are more than a request may have."""
        count = series * (1 + self._paths)
        if count > self._limits.max_rows:
            raise InvalidInput(
                f"paths: expected at most {self._limits.max_rows} in a request, got {count}: {series} series of 1 and "
                f"{self._paths}"
            )
        if count * self._horizon > MAX_VALUES:
            raise InvalidInput(
                f"horizon: expected at most {MAX_VALUES // count} steps for {count} paths ({series} series of 1 and "
                f"{self._paths}), got {self._horizon}"
            )

    def run(self, rows: Sequence[Any]) -> Predictions:
        series = SeriesReader(self._context, self._limits.state_key).read(rows)
        started = (yield from infer_rows(series, self._loop.start)) if self._loop.start else series
        begun = [self._begin(row) for row in started]
        predictions: list[dict[str, Any]] = [{} for _ in rows]
        for positions in group_rows(begun):
            result: LoopResult = yield Iterate(self._loop_request(stack_rows(begun, positions), positions))
            values = _check_finite(result.kept[self._facts.output], self._context.name)
            count = len(positions)
            quantiles = yield from self._find_quantiles(values[count:].reshape(count, self._paths, self._horizon))
            for at, position in enumerate(positions):
                predictions[position] = {"mean": values[at]}
                if quantiles:
                    predictions[position]["quantiles"] = {name: of[at] for name, of in quantiles.items()}
        if self._options.return_state:
            for prediction, outputs in zip(predictions, started, strict=True):
                prediction["state"] = self._seal(outputs)
        return predictions

    def _begin(self, started: Arrays) -> dict[str, np.ndarray]:
        """What a series' row takes to the first step: from the start graph, or its inputs where there is none."""
        begun = {} if self._loop.start else dict(started)
        inputs = {tensor.name: tensor for tensor in self._context.manifest.graphs[MAIN].inputs}
        for carry in self._loop.carries:
            if carry.start:
                begun[carry.input] = started[carry.start]
            elif carry.input not in begun:
                begun[carry.input] = zeros_of(inputs[carry.input])
        if self._facts.noise is not None and not self._paths:
            begun[self._facts.noise] = zeros_of(inputs[self._facts.noise])
        return begun

    def _loop_request(self, begin: Arrays, positions: Sequence[int]) -> LoopRequest:
        if self._paths:
            begin = {name: np.concatenate([a, np.repeat(a, self._paths, axis=0)]) for name, a in begin.items()}
        by_step: dict[str, ByStep] = {}
        if self._facts.noise is not None and self._paths:
            by_step[self._facts.noise] = _draw(self._options.seed, len(positions), self._paths)
        watch = _watch(self._emit, self._facts.output, positions) if self._emit else None
        return LoopRequest(begin, self._horizon, by_step, keep=(self._facts.output,), watch=watch)

    def _find_quantiles(self, draws: np.ndarray) -> Generator[RunInThread, Any, dict[str, np.ndarray]]:
        """By their text, [series, steps], of ``draws`` [series, paths, steps]."""
        asked = self._options.quantiles
        if not asked:
            return {}

        found = yield from run_in_thread(lambda: np.quantile(draws, asked, axis=1).astype(draws.dtype), draws.nbytes)
        return {str(quantile): of for quantile, of in zip(asked, found, strict=True)}

    def _seal(self, outputs: Arrays) -> str:
        """What the model remembers after the history, before the forecast."""
        remembered = {name: outputs[output] for name, output in resumable(self._context.manifest).items()}
        return seal(self._limits.state_key, origin_of(self._context), remembered)


def _draw(seed: int, series: int, paths: int) -> ByStep:
    """The noise of a loop request's rows: 0 for the first ``series``, then standard normal numbers, ``paths`` a series.

    They depend on the seed, the path and the step alone. Every series takes the same ones, so its quantiles are those
    that it has alone and in any order.
    """
    which = np.concatenate([np.zeros(series, np.intp), np.tile(np.arange(1, paths + 1), series)])

    @functools.lru_cache(_KEPT_STEPS)
    def draw(step: int) -> np.ndarray:
        return np.concatenate([np.zeros(1, np.float32), draw_normal(seed, 0, step, (paths,))])

    return lambda rows, step: draw(step)[which[rows]]


def _watch(emit: Emit, output: str, positions: Sequence[int]) -> Watch:
    """Send the centre paths as they come. What is not finite is not sent: the request fails at its end."""

    def watch(row: int, step: int, kept: Mapping[str, np.ndarray]) -> None:
        if row < len(positions) and np.isfinite(kept[output]):
            emit({"row": positions[row], "step": step, "value": kept[output][()]})

    return watch


def _check_horizon(asked: int | None, default: int, most: int, model: str) -> int:
    if asked is not None and asked > most:
        raise InvalidInput(f"horizon: expected 1 to {most} steps for model {model!r}, got {asked}")
    return default if asked is None else asked


def _check_finite(values: np.ndarray, model: str) -> np.ndarray:
    if not are_finite(values):
        raise ModelFailure(f"model {model!r} gave values that are not finite")
    return values
