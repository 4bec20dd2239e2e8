"""diabetes-regressor: a ridge regression from ten named measurements to a number."""

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import nn

from export.spec import ExportSpec, Predict, Progress
from model_store.manifest import Quality
from model_store.tasks import Column, Regression, Table

NAME = "diabetes-regressor"
LEAST_R2 = 0.4
TEST_ROWS = 142
RIDGE = 3.0
"""The weight of the penalty, in rows."""
COLUMNS = (
    *("age", "sex", "body_mass_index", "blood_pressure", "cholesterol", "ldl", "hdl", "cholesterol_per_hdl"),
    *("log_triglycerides", "glucose"),
)
"""In the order of scikit-learn's table, which calls the last six s1 to s6."""

Part = tuple[np.ndarray, np.ndarray]


class Ridge(nn.Module):
    """measurements [batch, 10] in their own units -> progression [batch, 1]."""

    mean: torch.Tensor
    scale: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor

    def __init__(self, rows: np.ndarray, values: np.ndarray) -> None:
        super().__init__()
        mean, scale = rows.mean(axis=0), rows.std(axis=0)
        normal = (rows - mean) / scale
        square = normal.T @ normal + RIDGE * np.eye(rows.shape[1])
        weights = np.linalg.solve(square, normal.T @ (values - values.mean()))
        for name, value in {"mean": mean, "scale": scale, "weights": weights[:, None], "bias": values.mean()}.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def forward(self, measurements: torch.Tensor) -> torch.Tensor:
        return (measurements - self.mean) / self.scale @ self.weights + self.bias


def load_parts(seed: int = 0) -> tuple[Part, Part]:
    """Training and test part: measurements float32 [rows, 10], progressions float64 [rows]."""
    rows, values = load_diabetes(return_X_y=True, scaled=False)
    order = np.random.default_rng(seed).permutation(len(rows))
    rows, values = rows[order].astype(np.float32), values[order]
    return (rows[TEST_ROWS:], values[TEST_ROWS:]), (rows[:TEST_ROWS], values[:TEST_ROWS])


def train(seed: int, progress: Progress) -> ExportSpec:
    """Fit and describe the regression. Nothing is random but the split, which is always the same."""
    progress("fitting")
    (rows, values), test = load_parts()
    samples = torch.from_numpy(rows)
    return ExportSpec(
        name=NAME,
        task="regress",
        description="How much diabetes has progressed a year after ten measurements, on the scale of its data.",
        module=Ridge(rows.astype(np.float64), values).eval(),
        inputs={"measurements": samples[:3]},
        outputs=("progression",),
        table=Table(
            columns=tuple(Column(name=name, input="measurements", position=i) for i, name in enumerate(COLUMNS))
        ),
        regression=Regression(output="progression"),
        finite=("measurements",),
        samples={"measurements": samples},
        quality=lambda predict: measure_quality(predict, test),
        data=f"load_diabetes (Efron et al. 2004): {len(values)} train, {len(test[1])} test",
        seed=seed,
        parameters={"ridge": RIDGE},
        licence="BSD-3-Clause",
    )


def measure_quality(predict: Predict, test: Part) -> Quality:
    """The share of the variance that is explained, and the mean absolute error, on the test part."""
    rows, values = test
    errors = predict({"measurements": rows})["progression"][:, 0].astype(np.float64) - values
    return Quality(
        data="load_diabetes, test part",
        rows=len(values),
        metrics={
            "r2": float(1 - np.mean(errors**2) / np.var(values)),
            "mae": float(np.abs(errors).mean()),
            "mae_of_mean": float(np.abs(values - values.mean()).mean()),
        },
        bar={"r2": LEAST_R2},
    )
