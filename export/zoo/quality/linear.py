"""The linear baseline that the forecasters have to beat."""

import numpy as np


def forecast_linearly(series: np.ndarray, history: np.ndarray, lags: int, steps: int) -> np.ndarray:
    """AR(``lags``), fitted to ``series`` [time] by least squares and iterated.

    ``history`` [rows, lags or more] -> the next ``steps`` values of each row, float64 [rows, steps].
    """
    lagged = np.lib.stride_tricks.sliding_window_view(series.astype(np.float64), lags + 1)
    weights = np.linalg.lstsq(np.insert(lagged[:, :-1], 0, 1.0, axis=1), lagged[:, -1], rcond=None)[0]
    known = history.astype(np.float64)
    for _ in range(steps):
        known = np.column_stack([known, weights[0] + known[:, -lags:] @ weights[1:]])
    return known[:, -steps:]
