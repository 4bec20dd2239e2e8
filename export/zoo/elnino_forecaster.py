"""elnino-forecaster: the sea surface temperature off Peru for the next six months, each with an interval of 80 %.

The quantiles are fitted with the pinball loss (Koenker and Bassett, Regression Quantiles, Econometrica 1978); their
width is then scaled on years that the fit has not seen (split conformal prediction: Lei et al., Distribution-Free
Predictive Inference for Regression, JASA 2018).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from export.errors import QualityError
from export.original import limit_threads
from export.spec import ExportSpec, Predict, Progress
from export.zoo.quality.linear import forecast_linearly
from model_store.manifest import Quality
from model_store.tasks import Forecast

NAME = "elnino-forecaster"
SOURCE = "statsmodels elnino (NOAA ERSST.V3B, Nino 1+2), monthly means in degrees Celsius, 1950-2010"
YEAR_MONTHS = 12
HISTORY_MONTHS = 24
LEAST_HISTORY_MONTHS, LONGEST_HISTORY_MONTHS = 12, 600  # on the validation years a year serves nearly as well as 24
AHEAD_MONTHS = 6
VALIDATION_YEARS = 12
TEST_YEARS = 12
QUANTILES = (0.1, 0.5, 0.9)
LEAST_GAIN_CELSIUS = 0.0
LEAST_COVERAGE = 0.70
LARGEST_COVERAGE = 0.90
EPOCHS = 15
BATCH_ROWS = 32
LEARNING_RATE = 5e-3
NOISE = 0.05
HIDDEN = 32
LAGS = 12


@dataclass(frozen=True, slots=True)
class Parts:
    """Whole years from January on, float32 [years, 12] in degrees Celsius, in the order of time."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, slots=True)
class Windows:
    """``history`` float32 [rows, 24], ``month`` int64 [rows] 0..11 of its last value, ``future`` float32 [rows, 6]."""

    history: np.ndarray
    month: np.ndarray
    future: np.ndarray


class ElninoForecaster(nn.Module):
    """history [batch, time] in degrees Celsius, month [batch] 0..11 of the last value -> forecast [batch, 6, 3].

    The forecast holds the quantiles 0.1, 0.5 and 0.9 of each of the next six months in degrees Celsius. The normal year
    and the scale come from ``years`` [years, 12], which are those of the training.
    """

    normal: torch.Tensor
    scale: torch.Tensor
    circle: torch.Tensor
    spread: torch.Tensor

    def __init__(self, years: np.ndarray) -> None:
        super().__init__()
        normal = years.mean(axis=0)
        angle = 2 * np.pi * np.arange(YEAR_MONTHS) / YEAR_MONTHS
        self.register_buffer("normal", torch.from_numpy(normal))
        self.register_buffer("scale", torch.tensor((years - normal).std()))
        self.register_buffer("circle", torch.from_numpy(np.stack([np.sin(angle), np.cos(angle)], 1)).float())
        self.register_buffer("spread", torch.ones(()))
        self.gru = nn.GRU(1 + self.circle.shape[1], HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, AHEAD_MONTHS * len(QUANTILES))

    def forward(self, history: torch.Tensor, month: torch.Tensor) -> torch.Tensor:
        time = history.shape[1]
        past = (month[:, None] + torch.arange(time) - (time - 1)) % YEAR_MONTHS
        ahead = (month[:, None] + torch.arange(1, AHEAD_MONTHS + 1)) % YEAR_MONTHS
        anomaly = (history - self.normal[past]) / self.scale
        states, _ = self.gru(torch.cat([anomaly[:, :, None], self.circle[past]], dim=2))
        below, median, above = self.head(states[:, -1]).view(-1, AHEAD_MONTHS, len(QUANTILES)).unbind(2)
        # The outer quantiles are distances from the median, so that they cannot cross it.
        quantiles = torch.stack([median - self.spread * below.abs(), median, median + self.spread * above.abs()], 2)
        return quantiles * self.scale + self.normal[ahead][:, :, None]


def load_parts() -> Parts:
    """The last years are the test part, those before them validation, the rest train."""
    from statsmodels.datasets import elnino

    years = elnino.load().data.iloc[:, 1:].to_numpy(np.float32)
    train, validation, test = np.split(years, [-TEST_YEARS - VALIDATION_YEARS, -TEST_YEARS])
    return Parts(train, validation, test)


def cut_windows(years: np.ndarray) -> Windows:
    """Every stretch of 24 + 6 months that lies wholly within ``years`` [years, 12], so that parts share no month."""
    stretches = np.lib.stride_tricks.sliding_window_view(years.reshape(-1), HISTORY_MONTHS + AHEAD_MONTHS)
    last = np.arange(len(stretches), dtype=np.int64) + HISTORY_MONTHS - 1
    return Windows(stretches[:, :HISTORY_MONTHS].copy(), last % YEAR_MONTHS, stretches[:, HISTORY_MONTHS:].copy())


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train, calibrate and describe the forecaster; the same seed gives the same weights."""
    progress("loading the temperatures")
    parts = load_parts()
    validation = cut_windows(parts.validation)
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ElninoForecaster(parts.train)
        _fit(model, cut_windows(parts.train), validation, progress)
        _calibrate(model, validation)
    return _describe(model, parts, validation, seed)


def _fit(model: ElninoForecaster, part: Windows, validation: Windows, progress: Progress) -> None:
    """A set number of epochs: to stop where the validation years fare best would make their intervals too narrow."""
    history, month, future = (torch.from_numpy(array) for array in (part.history, part.month, part.future))
    batches = len(month) // BATCH_ROWS
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=EPOCHS * batches)
    for epoch in range(1, EPOCHS + 1):
        for rows in torch.randperm(len(month))[: batches * BATCH_ROWS].view(batches, BATCH_ROWS):
            noise = NOISE * model.scale * torch.randn(BATCH_ROWS, HISTORY_MONTHS)
            loss = _measure_pinball(model(history[rows] + noise, month[rows]), future[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        error = float(_measure_pinball(_forecast(model, validation), torch.from_numpy(validation.future)))
        progress(f"training: epoch {epoch} of {EPOCHS}, validation loss {error:.3f}")
    model.eval()


def _forecast(model: ElninoForecaster, part: Windows) -> torch.Tensor:
    with torch.no_grad():
        forecast: torch.Tensor = model(torch.from_numpy(part.history), torch.from_numpy(part.month))
    return forecast


def _measure_pinball(forecast: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
    """The mean pinball loss of the quantiles [rows, 6, 3] in degrees Celsius."""
    quantile = torch.tensor(QUANTILES)
    under = future[:, :, None] - forecast
    return torch.maximum(quantile * under, (quantile - 1) * under).mean()


def _calibrate(model: ElninoForecaster, part: Windows) -> None:
    """Scale the intervals so that 80 % of what really came in these years lies within them."""
    low, median, high = _forecast(model, part).double().numpy().transpose(2, 0, 1)
    miss = part.future - median
    reach = np.where(miss < 0, miss / (low - median), miss / (high - median))
    model.spread.fill_(float(np.quantile(reach, QUANTILES[-1] - QUANTILES[0])))


def _describe(model: ElninoForecaster, parts: Parts, validation: Windows, seed: int) -> ExportSpec:
    samples = {"history": torch.from_numpy(validation.history), "month": torch.from_numpy(validation.month)}
    return ExportSpec(
        name=NAME,
        task="predict_sequence",
        description="Forecasts the sea surface temperature off Peru for six months; quantiles 0.1, 0.5 and 0.9.",
        module=model,
        inputs={name: tensor[:3] for name, tensor in samples.items()},
        outputs=("forecast",),
        dynamic={"history": {0: "batch", 1: "time"}, "month": {0: "batch"}},
        finite=("history",),
        ranges={"month": (0, YEAR_MONTHS - 1)},
        samples=samples,
        forecast=Forecast(
            history="history",
            least_history=LEAST_HISTORY_MONTHS,
            max_history=LONGEST_HISTORY_MONTHS,
            output="forecast",
            horizon=AHEAD_MONTHS,
            quantiles=QUANTILES,
            unit="degrees Celsius",
        ),
        lengths=({"time": HISTORY_MONTHS}, {"time": LEAST_HISTORY_MONTHS}, {"time": 60}),
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
            "history_months": HISTORY_MONTHS,
            "spread": float(model.spread),
        },
        licence="Apache-2.0 (weights); temperatures by NOAA, public domain",
    )


def measure_quality(predict: Predict, parts: Parts) -> Quality:
    """Errors six months ahead in degrees Celsius, against simpler forecasts, and the share that the intervals cover.

    Raises QualityError where the intervals are too wide.
    """
    test = cut_windows(parts.test)
    low, median, high = predict({"history": test.history, "month": test.month})["forecast"].transpose(2, 0, 1)
    coverage = float(np.mean((low <= test.future) & (test.future <= high)))
    if coverage > LARGEST_COVERAGE:
        raise QualityError(
            f"{NAME}: coverage of the 80 % interval on the test part: expected at most {LARGEST_COVERAGE}, got "
            f"{coverage:.3f}: calibrate on years that are more like these"
        )
    baselines = {
        "mae_ar": forecast_linearly(parts.train.reshape(-1), test.history, LAGS, AHEAD_MONTHS)[:, -1],
        "mae_persistence": test.history[:, -1],
        "mae_seasonal": test.history[:, AHEAD_MONTHS - YEAR_MONTHS - 1],  # the same month of the year before
    }
    errors = {"mae_6_months": median[:, -1], **baselines}
    metrics = {name: float(np.mean(np.abs(guess - test.future[:, -1]))) for name, guess in errors.items()}
    return Quality(
        data="elnino, the last years (never used to fit or calibrate)",
        rows=len(test.month),
        metrics={**metrics, "mae_gain": metrics["mae_ar"] - metrics["mae_6_months"], "coverage": coverage},
        bar={"mae_gain": LEAST_GAIN_CELSIUS, "coverage": LEAST_COVERAGE},
    )
