"""Tiny models of every task that fail when a row asks for it, for the error table of the task routes."""

from pathlib import Path
from typing import Any

import numpy as np

from model_store import Store
from model_store.tasks import Carry, Classes, Forecast, Generation, Loop, Reconstruction
from tests.support.driving import make
from tests.support.models import graphs
from tests.support.models.text import make_model

HUGE = 3e38

GOOD: dict[str, dict[str, Any]] = {
    "/classify": {"inputs": [[[[1, 2], [3, 4]]]]},
    "/predict_sequence": {"inputs": [[1, 2, 3]], "horizon": 4},
    "/reconstruct": {"inputs": [[1, 2, 3]]},
    "/generate": {"labels": ["fine"], "seed": 1},
}
"""Route -> a request that its model answers."""

BAD: dict[str, dict[str, Any]] = {
    "/classify": {"inputs": [[[[HUGE, HUGE], [HUGE, HUGE]]]]},
    "/predict_sequence": {"inputs": [[HUGE]], "horizon": 4},
    "/reconstruct": {"inputs": [[HUGE, 0, 0]]},
    "/generate": {"labels": ["bad"], "seed": 1},
}
"""Route -> a request for which its model gives infinity or NaN."""


def write_store(root: Path) -> Path:
    """A model for each task, and one called broken that cannot be loaded; returns the root."""
    store = Store(root)
    labels = ("a", "b", "c")
    _publish(
        store,
        "classifier",
        {"main": graphs.classifier()},
        task="classify",
        labels=labels,
        classes=Classes(probabilities="probabilities"),
    )
    loop = Loop(start="begin", max_steps=50, carries=(Carry(input="value", output="next", start="last"),))
    _publish(
        store,
        "tenfold",
        {"main": _tenfold(), "begin": _last()},
        task="predict_sequence",
        loop=loop,
        forecast=Forecast(history="history", output="next"),
    )
    reconstruction = Reconstruction(output="y")
    _publish(store, "double", {"main": graphs.double()}, task="reconstruct", reconstruction=reconstruction)
    generation = Generation(output="row", noise="noise", label="label")
    _publish(store, "scale", {"main": _scale()}, task="generate", labels=("fine", "bad"), generation=generation)
    folder = root / "broken" / "1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{")
    return root


def _publish(store: Store, name: str, content: dict[str, bytes], **facts: Any) -> None:
    manifest = make(content, **facts).manifest.model_copy(update={"name": name})
    store.publish(manifest, {f"{graph}.onnx": of for graph, of in content.items()})


def _last() -> bytes:
    """The last value of a history."""
    return make_model("float[batch,time] history => float[batch] last", "last = Gather<axis=1>(history, -1)")


def _tenfold() -> bytes:
    """next = 10 * value, which is infinite before long."""
    return make_model("float[batch] value => float[batch] next", "next = Mul(value, 10.0)")


def _scale() -> bytes:
    """row = noise, or infinite noise for the label at 1."""
    return make_model(
        "float[batch,2] noise, int64[batch] label => float[batch,2] row",
        "factor = Gather(factors, label) column = Unsqueeze(factor, [1]) row = Mul(noise, column)",
        factors=[1.0, np.inf],
    )
