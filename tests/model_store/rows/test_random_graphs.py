"""Random graphs: running them at other sizes never refutes a proof."""

from collections.abc import Iterator

import numpy as np
import pytest

from model_store.rows import analyse
from tests.support.inferring import Plain
from tests.support.rows.random_graphs import LENGTH, WIDTH, write_graph

_GRAPHS = 600
_LEAST_PROVED = 25
_ROWS = (2, 3, 4, 5, 7)
_LENGTHS = (8, 6, 5, 1, 2, 3, 12, 17)
_ROUNDING = 1e-7


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_random_graph_is_proved_whose_rows_mix() -> None:
    """Rows of a proved graph are equal alone and together at sizes that the analysis did not try; enough are proved."""
    refuted, proved = [], 0
    for seed in range(_GRAPHS):
        model, output, batch = write_graph(seed)
        content = model.SerializeToString()
        found = analyse(content)
        if found.rows == "proved":
            proved += 1
            lengths = (LENGTH,) if found.only_sizes else _LENGTHS
            refuted += [
                f"{seed}: {text}" for text in _refute(Plain(content), output, batch, found.axes[output], lengths)
            ]
    assert refuted == []
    assert proved >= _LEAST_PROVED


def _refute(plain: Plain, output: str, batch: int, axis: int, lengths: tuple[int, ...]) -> Iterator[str]:
    """Sizes at which a row is another in company than alone."""
    draw = np.random.default_rng(0)
    for length in lengths:
        for rows in _ROWS:
            shape = (rows, length, WIDTH) if batch == 0 else (length, rows, WIDTH)
            x = draw.standard_normal(shape)
            alone = [_run(plain, output, np.take(x, [row], batch)) for row in range(rows)]
            together = _run(plain, output, x)
            if any(not _is_alike(row, at, together, rows, axis) for at, row in enumerate(alone)):
                yield f"{rows} rows of length {length}"


def _run(plain: Plain, output: str, x: np.ndarray) -> np.ndarray | None:
    try:
        return plain.run({"x": x})[output]
    except Exception:  # noqa: BLE001  # whatever ONNX Runtime raises
        return None


def _is_alike(alone: np.ndarray | None, at: int, together: np.ndarray | None, rows: int, axis: int) -> bool:
    if alone is None or together is None:
        return alone is together
    if together.ndim != alone.ndim or together.shape[axis] != rows or alone.shape[axis] != 1:
        return False
    own = np.take(together, [at], axis)
    if own.shape != alone.shape or not np.isfinite(alone).all():
        return own.shape == alone.shape
    return bool(np.abs(own - alone).max(initial=0) <= _ROUNDING * (1 + np.abs(alone).max(initial=0)))
