import numpy as np
import pytest

from export.errors import QualityError
from tests.support.models.reference import Reference

pytest.importorskip("statsmodels")
pytest.importorskip("torch")
from export.zoo import elnino_forecaster
from export.zoo.quality.linear import forecast_linearly


@pytest.fixture(scope="module")
def parts():
    return elnino_forecaster.load_parts()


@pytest.fixture(scope="module")
def published():
    return Reference(elnino_forecaster.NAME)


def test_parts_are_whole_years_in_the_order_of_time(parts):
    """61 years of 12 months: the first train, then 12 to validate, the last 12 to test."""
    assert [part.shape for part in (parts.train, parts.validation, parts.test)] == [(37, 12), (12, 12), (12, 12)]
    assert parts.train[0, :2] == pytest.approx([23.11, 24.2])  # January and February 1950
    assert parts.train.dtype == np.float32
    assert np.isfinite(np.concatenate([parts.train, parts.validation, parts.test])).all()


def test_windows_stay_within_their_years():
    """A window is 24 + 6 consecutive months, and its month is that of the last known value."""
    windows = elnino_forecaster.cut_windows(np.arange(36, dtype=np.float32).reshape(3, 12))
    assert (windows.history.shape, windows.future.shape) == ((7, 24), (7, 6))
    assert np.array_equal(windows.history[:, -1] % 12, windows.month)
    assert np.array_equal(windows.future, windows.history[:, -1:] + np.arange(1, 7))
    assert (windows.history.min(), windows.future.max()) == (0, 35)


def test_linear_forecast_continues_what_is_linear():
    """A yearly wave is an autoregression, so the baseline continues it exactly."""
    wave = 20 + np.sin(2 * np.pi * np.arange(120) / 12).reshape(10, 12)
    windows = elnino_forecaster.cut_windows(wave)
    forecast = forecast_linearly(wave.reshape(-1), windows.history, elnino_forecaster.LAGS, 6)
    assert forecast == pytest.approx(windows.future, abs=1e-9)


def test_intervals_that_cover_too_much_are_refused(parts):
    """Intervals that hold every value are too wide for 80 %, and are not published."""

    def predict(inputs, graph="main"):
        return {"forecast": np.tile(np.array([0, 22, 44], np.float32), (len(inputs["month"]), 6, 1))}

    with pytest.raises(QualityError, match=r"coverage .* expected at most 0\.9, got 1\.000"):
        elnino_forecaster.measure_quality(predict, parts)


def test_calibrated_intervals_hold_four_in_five(parts):
    """After calibration 80 % of the values lie within the intervals, even of an untrained model."""
    import torch

    windows = elnino_forecaster.cut_windows(parts.validation)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = elnino_forecaster.ElninoForecaster(parts.train)
    elnino_forecaster._calibrate(model, windows)
    low, _, high = elnino_forecaster._forecast(model, windows).numpy().transpose(2, 0, 1)
    assert np.mean((low <= windows.future) & (windows.future <= high)) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("months", [12, 24, 600])
def test_published_model_takes_any_length_of_history(published, parts, months):
    """Any length of history gives six ordered triples of plausible temperatures."""
    assert published.manifest.forecast.least_history <= months <= published.manifest.forecast.max_history
    series = np.concatenate([parts.train, parts.validation, parts.test]).reshape(-1)
    history = np.stack([series[-months:], series[-months - 12 : -12]])
    forecast = published.predict({"history": history, "month": np.array([11, 11])})["forecast"]
    assert forecast.shape == (2, 6, 3)
    assert np.all(np.diff(forecast, axis=2) >= 0)
    assert np.all((forecast > 15) & (forecast < 32))


def test_published_model_says_what_its_forecast_is(published):
    """The manifest names the history, the six months, their quantiles and the unit."""
    facts = published.manifest.forecast
    assert (facts.history, facts.output, facts.unit) == ("history", "forecast", "degrees Celsius")
    assert (facts.horizon, facts.quantiles) == (6, (0.1, 0.5, 0.9))
    history = np.full((2, facts.least_history), 22, np.float32)
    forecast = published.predict({facts.history: history, "month": np.array([5, 11])})[facts.output]
    assert forecast.shape == (2, facts.horizon, len(facts.quantiles))


def test_shortest_history_serves_nearly_as_well(published, parts):
    """One year of history costs less than 5 % of the error of two."""
    windows = elnino_forecaster.cut_windows(parts.validation)
    errors = [
        np.abs(
            published.predict({"history": history, "month": windows.month})["forecast"][:, :, 1] - windows.future
        ).mean()
        for history in (windows.history, windows.history[:, -published.manifest.forecast.least_history :])
    ]
    assert errors[1] < 1.05 * errors[0]
