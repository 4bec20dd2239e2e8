import numpy as np
import pytest

from export.errors import ExportError
from tests.support.models.reference import Reference

pytest.importorskip("statsmodels")
pytest.importorskip("torch")
import torch

from export.zoo import sunspots_forecaster
from export.zoo.quality.linear import forecast_linearly

HIDDEN = sunspots_forecaster.HIDDEN


class Published(Reference):
    """The model in the store, looped as the manifest says."""

    def encode(self, history, length=None, state=None):
        """``history`` [rows, time]; all of it counts, and the series is a new one, unless told otherwise."""
        rows, time = history.shape
        return self.predict(
            {
                "history": history,
                "length": np.full(rows, time) if length is None else length,
                "state": np.zeros((rows, HIDDEN), np.float32) if state is None else state,
            },
            self.manifest.loop.start,
        )

    def roll(self, history, noise):
        """The paths [rows, steps] after the histories; ``noise`` [rows, steps]."""
        loop, forecast = self.manifest.loop, self.manifest.forecast
        begun = self.encode(history)
        carried = {carry.input: begun[carry.start] for carry in loop.carries}
        path = []
        for step in noise.astype(np.float32).T:
            answer = self.predict({**carried, forecast.noise: step})
            carried = {carry.input: answer[carry.output] for carry in loop.carries}
            path.append(answer[forecast.output])
        return np.stack(path, axis=1)


@pytest.fixture(scope="module")
def parts():
    return sunspots_forecaster.load_parts()


@pytest.fixture(scope="module")
def series(parts):
    return np.concatenate([parts.train, parts.validation, parts.test])


@pytest.fixture(scope="module")
def published():
    return Published(sunspots_forecaster.NAME)


def test_persistence_is_below_the_bar(parts):
    """A model that predicts no change does not beat the autoregression, so it is not published."""

    def predict(inputs, graph="main"):
        if graph == "encode":
            return {"last_value": inputs["history"][:, -1], "last_state": inputs["state"]}
        return {"next_value": inputs["value"]}

    quality = sunspots_forecaster.measure_quality(predict, parts)
    assert quality.metrics["mae"] == quality.metrics["mae_persistence"]
    assert quality.metrics["mae_gain"] < quality.bar["mae_gain"] == 0


@pytest.mark.parametrize("length", [-1, 6])
def test_length_that_does_not_fit_its_history_is_refused(published, length):
    """The graph fails for a length above the history's, or below zero."""
    history = np.full((2, 5), 30, np.float32)
    with pytest.raises(ExportError):
        published.encode(history, length=np.array([5, length]))


def test_parts_are_years_in_the_order_of_time(parts, series):
    """309 years: the first train, then 40 to validate, the last 78 to test."""
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [191, 40, 78]
    assert series[:3] == pytest.approx([5, 11, 16])  # 1700 to 1702
    assert (series.dtype, series.min()) == (np.float32, 0)
    assert series.max() == pytest.approx(190.2)


def test_windows_follow_each_other():
    """A window is 22 consecutive years and the one after; each year of a part has one."""
    windows = sunspots_forecaster.follow(np.arange(30.0), np.arange(30.0, 35))
    assert windows.history.shape == (5, 22)
    assert np.array_equal(windows.future, np.arange(30, 35))
    assert np.array_equal(windows.history[:, -1] + 1, windows.future)
    assert np.all(np.diff(windows.history, axis=1) == 1)


def test_linear_forecast_continues_what_is_linear():
    """A wave is an autoregression, so the baseline continues it exactly."""
    wave = 60 + 50 * np.sin(2 * np.pi * np.arange(100) / 11)
    windows = sunspots_forecaster.cut_windows(wave)
    forecast = forecast_linearly(wave, windows.history, sunspots_forecaster.LAGS, 1)[:, 0]
    assert forecast == pytest.approx(windows.future, abs=1e-6)


def test_reading_is_that_of_a_packed_gru(parts):
    """The state equals that of torch's GRU on the packed series."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = sunspots_forecaster.SunspotsForecaster(parts.train)
        gru = torch.nn.GRU(1, HIDDEN, batch_first=True)
        for name, weight in model.cell.named_parameters():
            getattr(gru, f"{name}_l0").copy_(weight)
        roots, state, length = torch.randn(3, 7), torch.randn(3, HIDDEN), torch.tensor([7, 1, 4])
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            roots[:, :, None], length, batch_first=True, enforce_sorted=False
        )
        _, expected = gru(packed, state[None])
        assert torch.allclose(model.read(roots, length, state), expected[0], atol=1e-6)


def test_draws_are_as_wide_as_the_forecasts_missed(parts):
    """The scale of the noise is the root mean square of the errors, in standardised roots."""
    windows = sunspots_forecaster.follow(parts.train, parts.validation)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = sunspots_forecaster.SunspotsForecaster(parts.train)
        sunspots_forecaster._calibrate(model, windows)
        history = torch.from_numpy(windows.history)
        rows = len(history)
        value, state = sunspots_forecaster.Encoder(model)(history, torch.full((rows,), 22), torch.zeros(rows, HIDDEN))
        median, _ = model(value, state, torch.zeros(rows))
        missed = np.sqrt(windows.future) - np.sqrt(median.numpy())
    expected = np.sqrt(np.mean(np.square(missed / np.sqrt(parts.train).std())))
    assert float(model.spread) == pytest.approx(expected, rel=1e-4)


def test_series_that_goes_on_year_by_year_is_forecast_as_well(published, parts):
    """One new year at a time with the kept state, the forecasts still beat the autoregression."""
    before = np.concatenate([parts.train, parts.validation])
    read = published.encode(before[None])
    guesses = []
    for year in parts.test:
        step = {"value": read["last_value"], "state": read["last_state"], "noise": np.zeros(1, np.float32)}
        guesses.append(published.predict(step)["next_value"][0])
        read = published.encode(np.array([[year]]), state=read["last_state"])
    assert np.abs(guesses - parts.test).mean() < published.manifest.quality.metrics["mae_ar"]


@pytest.mark.parametrize("years", [1, 7, 22, 300])
def test_series_in_two_parts_ends_as_the_whole_does(published, series, years):
    """Reading a series in two parts, with the state between, equals reading it at once."""
    whole = published.encode(series[None])
    first = published.encode(series[None, :years])
    both = published.encode(series[None, years:], state=first["last_state"])
    assert np.array_equal(both["last_value"], whole["last_value"])
    assert both["last_state"] == pytest.approx(whole["last_state"], abs=1e-5)


def test_padding_and_company_change_nothing(published, series):
    """A short history has the same bits alone, among longer ones, and with any padding."""
    lengths = np.array([22, 1, 9, 30, 17])
    history = np.random.default_rng(0).uniform(0, 300, (5, 40)).astype(np.float32)
    for row, length in enumerate(lengths):
        history[row, :length] = series[row : row + length]
    together = published.encode(history, length=lengths)
    for row, length in enumerate(lengths):
        alone = published.encode(np.stack([history[row, :length]] * 2))
        assert together["last_value"][row] == alone["last_value"][0] == history[row, length - 1]
        assert np.array_equal(together["last_state"][row], alone["last_state"][0])


def test_step_reads_what_it_drew(published, series):
    """The state after a step equals the state after reading the drawn value."""
    read = published.encode(np.stack([series[:50], series[50:100]]))
    noise = np.array([-1, 2], np.float32)
    step = published.predict({"value": read["last_value"], "state": read["last_state"], "noise": noise})
    again = published.encode(step["next_value"][:, None], state=read["last_state"])
    assert again["last_state"] == pytest.approx(step["next_state"], abs=1e-5)


def test_forecast_of_a_century_keeps_the_cycle(published, series):
    """A forecast of 100 years without noise keeps a cycle of about eleven years."""
    path = published.roll(series[None], np.zeros((1, 100)))[0]
    assert np.all((path >= 0) & (path <= 200))
    tops = np.flatnonzero((path[1:-1] > path[:-2]) & (path[1:-1] > path[2:]))
    assert 9 <= np.diff(tops).mean() <= 12
    assert path[-11:].max() - path[-11:].min() > 30


def test_paths_of_draws_stay_plausible(published, series):
    """100 paths of a century stay in the range of sunspots, and spread as the record does."""
    noise = np.random.default_rng(0).standard_normal((100, 100))
    paths = published.roll(np.tile(series[-22:], (100, 1)), noise)
    assert np.all((paths >= 0) & (paths <= 400))
    assert np.quantile(paths, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(series, [0.1, 0.5, 0.9]), abs=20)


@pytest.mark.parametrize(("history", "noise"), [(1e30, 0), (0, -60), (180, 60), (-5, 0)])
def test_roll_out_from_anything_stays_within_its_ends(published, history, noise):
    """Any history or noise leads to finite values from 0 to 400."""
    path = published.roll(np.full((2, 5), history, np.float32), np.full((2, 20), noise))
    assert np.all((path >= 0) & (path <= 400))


def test_more_noise_means_a_larger_draw(published, series):
    """The next value rises with the noise, so quantiles of the noise are quantiles of the draws."""
    read = published.encode(np.tile(series[-22:], (9, 1)))
    noise = np.linspace(-2, 2, 9).astype(np.float32)
    drawn = published.predict({"value": read["last_value"], "state": read["last_state"], "noise": noise})["next_value"]
    assert np.all(np.diff(drawn) >= 0)
    assert drawn[-1] > drawn[0]


def test_manifest_says_how_the_server_rolls_out(published):
    """The state is kept between requests, the value is fed back, and a history of one year is enough."""
    loop, forecast = published.manifest.loop, published.manifest.forecast
    assert (loop.start, loop.max_steps) == ("encode", 1000)
    carries = {carry.input: (carry.start, carry.output, carry.resume) for carry in loop.carries}
    assert carries == {"value": ("last_value", "next_value", None), "state": ("last_state", "next_state", "state")}
    assert (forecast.history, forecast.length, forecast.noise, forecast.output, forecast.unit) == (
        "history",
        "length",
        "noise",
        "next_value",
        "sunspots",
    )
    assert (forecast.least_history, forecast.max_history) == (1, 1000)
