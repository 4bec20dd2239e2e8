"""sunspots-forecaster: yearly sunspot numbers, one year per step, each from the year before and a state.

A gated recurrent unit (Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014) reads the
history. The graph ``main`` makes one step; a caller feeds its outputs back. It works on square roots, whose spread
depends less on their size, and predicts the change from the year before.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.original import limit_threads
from export.spec import ExportSpec, GraphSpec, Predict, Progress, Sizes
from export.zoo.quality.linear import forecast_linearly
from model_store.manifest import Quality
from model_store.tasks import Carry, Forecast, Loop

NAME = "sunspots-forecaster"
SOURCE = "statsmodels sunspots (National Geophysical Data Center), yearly means, 1700-2008"
HISTORY_YEARS = 22  # two cycles
CYCLE_YEARS = 11
LONGEST_HISTORY_YEARS = 1000
MOST_STEPS = 1000
VALIDATION_YEARS = 40
TEST_YEARS = 78
LEAST_GAIN = 0.0
LARGEST_VALUE = 400.0  # twice the largest yearly mean on record: the limit for a forecast that diverges
LARGEST_ROOT = LARGEST_VALUE**0.5
EPOCHS = 80
BATCH_ROWS = 32
LEARNING_RATE = 5e-3
NOISE = 0.2  # added to the standardised roots of a history in training
HIDDEN = 32
LAGS = 9
_DECILE = 1.2816  # 80 % of standard normal numbers lie between this and its negative
_SAMPLE_SEED = 0  # a seed of the samples for the proof, not of a training
_ROWS_OF_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class Parts:
    """Sunspot numbers by year, float32 [years], in the order of time."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, slots=True)
class Windows:
    """``history`` float32 [rows, 22], and ``future`` float32 [rows], the year after it."""

    history: np.ndarray
    future: np.ndarray


class SunspotsForecaster(nn.Module):
    """value [batch] of the last year, state [batch, 32], noise [batch] -> (next_value [batch], next_state [batch, 32]).

    Values are sunspot numbers from 0 to 400. ``state`` holds the years up to ``value``, ``next_state`` those up to
    ``next_value``. With standard normal noise, ``next_value`` is a random draw; noise of 0 gives the median. Mean and
    scale of the roots come from the training ``years`` [years].
    """

    mean: torch.Tensor
    scale: torch.Tensor
    spread: torch.Tensor

    def __init__(self, years: np.ndarray) -> None:
        super().__init__()
        roots = np.sqrt(years)
        self.register_buffer("mean", torch.tensor(roots.mean()))
        self.register_buffer("scale", torch.tensor(roots.std()))
        self.register_buffer("spread", torch.ones(()))
        self.cell = nn.GRUCell(1, HIDDEN)
        self.head = nn.Linear(HIDDEN, 1)

    def standardise(self, values: torch.Tensor) -> torch.Tensor:
        """Sunspot numbers -> standardised roots of the same shape."""
        return (values.relu().sqrt() - self.mean) / self.scale

    def read(self, roots: torch.Tensor, length: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Standardised roots [batch, time], of which the first ``length`` [batch] count -> the state after those."""
        for year in range(roots.shape[1]):
            state = torch.where((year < length)[:, None], self.cell(roots[:, year : year + 1], state), state)
        return state

    def predict(self, root: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """The median of the next standardised root [batch], after this one and the state that holds it."""
        change: torch.Tensor = self.head(state)[:, 0]
        return root + change

    def forward(
        self, value: torch.Tensor, state: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = self.predict(self.standardise(value), state) + self.spread * noise
        root = (drawn * self.scale + self.mean).clamp(0.0, LARGEST_ROOT)
        return root.square(), self.cell(((root - self.mean) / self.scale)[:, None], state)


class Encoder(nn.Module):
    """history [batch, time], length int64 [batch], state [batch, 32] -> (last_value [batch], last_state [batch, 32]).

    The first ``length`` sunspot numbers of each history count, 1 or more; padding follows them. ``state`` is zeros for
    a new series, and the last state of the part before for one that continues.
    """

    def __init__(self, forecaster: SunspotsForecaster) -> None:
        super().__init__()
        self.forecaster = forecaster

    def forward(
        self, history: torch.Tensor, length: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        last = history.gather(1, length[:, None] - 1)[:, 0]
        return last, self.read(self.forecaster.standardise(history), length, state)

    def read(self, roots: torch.Tensor, length: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        return self.forecaster.read(roots, length, state)


class EncoderNode(Encoder):
    """The same with one GRU operator of ONNX, which takes any number of years; it runs nowhere else."""

    weights: torch.Tensor
    recurrent: torch.Tensor
    biases: torch.Tensor

    def __init__(self, forecaster: SunspotsForecaster) -> None:
        super().__init__(forecaster)
        cell = forecaster.cell
        self.register_buffer("weights", _reorder(cell.weight_ih)[None])
        self.register_buffer("recurrent", _reorder(cell.weight_hh)[None])
        self.register_buffer("biases", torch.cat([_reorder(cell.bias_ih), _reorder(cell.bias_hh)])[None])

    def read(self, roots: torch.Tensor, length: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        rows, time = roots.shape
        inputs = (roots.T[:, :, None], self.weights, self.recurrent, self.biases, length.int(), state[None])
        _, last = torch.onnx.ops.symbolic_multi_out(
            "GRU",
            inputs,
            attrs={"hidden_size": HIDDEN, "linear_before_reset": 1},  # 1: as torch applies the reset gate
            dtypes=(roots.dtype, roots.dtype),
            shapes=((time, 1, rows, HIDDEN), (1, rows, HIDDEN)),
            version=14,
        )
        return last[0]


def _reorder(gates: torch.Tensor) -> torch.Tensor:
    """torch stacks the reset, the update and the new gate; ONNX the update, the reset and the new gate."""
    reset, update, new = gates.detach().chunk(3)
    return torch.cat([update, reset, new])


def load_parts() -> Parts:
    """The last years are the test part, those before them validation, the rest train."""
    from statsmodels.datasets import sunspots

    years = sunspots.load().data["SUNACTIVITY"].to_numpy(np.float32)
    train, validation, test = np.split(years, [-TEST_YEARS - VALIDATION_YEARS, -TEST_YEARS])
    return Parts(train, validation, test)


def cut_windows(years: np.ndarray) -> Windows:
    """Every stretch of 22 + 1 years that lies wholly within ``years`` [years]."""
    stretches = np.lib.stride_tricks.sliding_window_view(years, HISTORY_YEARS + 1)
    return Windows(stretches[:, :-1].copy(), stretches[:, -1].copy())


def follow(before: np.ndarray, part: np.ndarray) -> Windows:
    """A window for each year of ``part``; the histories of the first ones reach into the years before it."""
    return cut_windows(np.concatenate([before[-HISTORY_YEARS:], part]))


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train, calibrate and describe the forecaster; the same seed gives the same weights."""
    progress("loading the sunspots")
    parts = load_parts()
    validation = follow(parts.train, parts.validation)
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SunspotsForecaster(parts.train)
        _fit(model, cut_windows(parts.train), validation, progress)
        _calibrate(model, validation)
    return _describe(model, parts, seed)


def _fit(model: SunspotsForecaster, part: Windows, validation: Windows, progress: Progress) -> None:
    roots, future = (model.standardise(torch.from_numpy(values)) for values in (part.history, part.future))
    batches = len(future) // BATCH_ROWS
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=EPOCHS * batches)
    for epoch in range(1, EPOCHS + 1):
        for rows in torch.randperm(len(future))[: batches * BATCH_ROWS].view(batches, BATCH_ROWS):
            noise = NOISE * torch.randn(BATCH_ROWS, HISTORY_YEARS)
            loss = functional.smooth_l1_loss(_predict(model, roots[rows] + noise), future[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        error = float(_measure_misses(model, validation).abs().mean())
        progress(f"training: epoch {epoch} of {EPOCHS}, validation error {error:.3f}")
    model.eval()


def _predict(model: SunspotsForecaster, roots: torch.Tensor) -> torch.Tensor:
    rows, years = roots.shape
    state = model.read(roots, torch.full((rows,), years), torch.zeros(rows, HIDDEN))
    return model.predict(roots[:, -1], state)


@torch.no_grad()
def _measure_misses(model: SunspotsForecaster, part: Windows) -> torch.Tensor:
    """The observed minus the predicted values, in standardised roots [rows]."""
    predicted = _predict(model, model.standardise(torch.from_numpy(part.history)))
    return model.standardise(torch.from_numpy(part.future)) - predicted


def _calibrate(model: SunspotsForecaster, part: Windows) -> None:
    """Give the draws the spread of the forecast errors of these years, which were not used for the fit."""
    model.spread.copy_(_measure_misses(model, part).square().mean().sqrt())


def _describe(model: SunspotsForecaster, parts: Parts, seed: int) -> ExportSpec:
    encode, states = _describe_encoder(model, parts, seed)
    generator = np.random.default_rng(_SAMPLE_SEED)
    samples = {
        "value": torch.from_numpy(follow(parts.train, parts.validation).history[:, -1]),
        "state": states,
        "noise": torch.from_numpy(generator.standard_normal(VALIDATION_YEARS, dtype=np.float32)),
    }
    return ExportSpec(
        name=NAME,
        task="predict_sequence",
        description="Forecasts the sunspots of the coming years, as far as is asked for, with draws for intervals.",
        module=model,
        inputs={name: tensor[:_ROWS_OF_SAMPLES] for name, tensor in samples.items()},
        outputs=("next_value", "next_state"),
        finite=tuple(samples),
        samples=samples,
        golden_atol=0.02,  # TensorFloat-32, which accelerators may multiply in, keeps three digits of a root
        graphs={"encode": encode},
        loop=Loop(
            start="encode",
            carries=(
                Carry(input="value", output="next_value", start="last_value"),
                Carry(input="state", output="next_state", start="last_state", resume="state"),
            ),
            max_steps=MOST_STEPS,
        ),
        forecast=Forecast(
            history="history",
            length="length",
            max_history=LONGEST_HISTORY_YEARS,
            output="next_value",
            noise="noise",
            unit="sunspots",
        ),
        quality=lambda predict: measure_quality(predict, parts),
        data=f"{SOURCE}: the first {len(parts.train)} years train, the next {len(parts.validation)} validate, the last "
        f"{len(parts.test)} test",
        seed=seed,
        parameters={
            "epochs": EPOCHS,
            "batch_rows": BATCH_ROWS,
            "optimiser": "AdamW",
            "schedule": "OneCycle",
            "learning_rate": LEARNING_RATE,
            "noise": NOISE,
            "hidden": HIDDEN,
            "history_years": HISTORY_YEARS,
            "spread": float(model.spread),
        },
        licence="Apache-2.0 (weights); sunspot numbers by NOAA, public domain",
    )


def _describe_encoder(model: SunspotsForecaster, parts: Parts, seed: int) -> tuple[GraphSpec, torch.Tensor]:
    """The graph that reads a history, and the states [validation years, 32] after the whole histories."""
    history = torch.from_numpy(follow(parts.train, parts.validation).history)
    rows = len(history)
    encoder = Encoder(model)
    with limit_threads(), torch.no_grad():
        _, states = encoder(history, torch.full((rows,), HISTORY_YEARS), torch.zeros(rows, HIDDEN))
    samples = {
        "history": history,
        "length": torch.arange(rows) % HISTORY_YEARS + 1,
        "state": states.roll(1, 0) * (torch.arange(rows) % 2)[:, None],  # every other series is a new one
    }
    graph = GraphSpec(
        module=encoder,
        export_as=EncoderNode(model),
        inputs={name: tensor[:_ROWS_OF_SAMPLES] for name, tensor in samples.items()},
        outputs=("last_value", "last_state"),
        dynamic={"history": {0: "batch", 1: "time"}, "length": {0: "batch"}, "state": {0: "batch"}},
        finite=("history", "state"),
        padded={"history": "length"},
        samples=samples,
        random_inputs=_draw_histories,
        lengths=({"time": HISTORY_YEARS}, {"time": 1}, {"time": 60}),
        seed=seed,
    )
    return graph, states


def _draw_histories(sizes: Sizes, seed: int) -> dict[str, torch.Tensor]:
    """Histories of any length that fits, with anything behind them; states from -1 to 1, as a GRU's are."""
    rows, time = sizes["batch"], sizes["time"]
    generator = torch.Generator().manual_seed(seed)
    return {
        "history": torch.rand(rows, time, generator=generator) * LARGEST_VALUE / 2,
        "length": torch.randint(1, time + 1, (rows,), generator=generator),
        "state": torch.rand(rows, HIDDEN, generator=generator) * 2 - 1,
    }


def measure_quality(predict: Predict, parts: Parts) -> Quality:
    """Errors one year ahead in sunspots, against simpler forecasts, and the share of years within 80 % of the draws.

    The baselines may use the validation years too, which the model was not fitted to.
    """
    known = np.concatenate([parts.train, parts.validation])
    test = follow(known, parts.test)
    low, median, high = (_forecast(predict, test.history, noise) for noise in (-_DECILE, 0.0, _DECILE))
    baselines = {
        "mae_persistence": test.history[:, -1],
        "mae_seasonal": test.history[:, -CYCLE_YEARS],
        "mae_ar": forecast_linearly(known, test.history, LAGS, 1)[:, 0],
    }
    metrics = {
        name: float(np.mean(np.abs(guess - test.future))) for name, guess in {"mae": median, **baselines}.items()
    }
    return Quality(
        data="sunspots, the last years (never used to fit or calibrate)",
        rows=len(test.future),
        metrics={
            **metrics,
            "mae_gain": min(metrics[name] for name in baselines) - metrics["mae"],
            "coverage": float(np.mean((low <= test.future) & (test.future <= high))),
        },
        bar={"mae_gain": LEAST_GAIN},
    )


def _forecast(predict: Predict, history: np.ndarray, noise: float) -> np.ndarray:
    """The year after each history [rows, years], with the same noise for all: more noise gives a larger value."""
    rows, years = history.shape
    start: dict[str, np.ndarray] = {
        "history": history,
        "length": np.full(rows, years, np.int64),
        "state": np.zeros((rows, HIDDEN), np.float32),
    }
    read = predict(start, graph="encode")
    step = {"value": read["last_value"], "state": read["last_state"], "noise": np.full(rows, noise, np.float32)}
    return predict(step)["next_value"]
