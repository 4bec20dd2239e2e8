"""compare: how similar vectors are to other vectors, in the metric of the model that made them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from model_store.tasks import Embedding
from service.errors import InvalidInput
from service.tasks.embed import MOST_PAIRS, compare_vectors, describe_comparison
from service.tasks.pipelines.values import StepWires, show
from service.tasks.work import run_in_thread


async def compare(
    wires: StepWires, rows: Sequence[int], operands: Sequence[Sequence[Any]], facts: Embedding
) -> list[list[dict[str, Any] | None]]:
    """For each row of the request, for each of its vectors: ``{"best": {"index", "similarity" | "distance", "same"?},
    "comparisons": [...]}``. ``best`` is null if there are no other vectors.

    Raises InvalidInput, which names the value that is not a vector.
    """

    def judge(at: int, *operands: Any) -> list[dict[str, Any] | None]:
        places = [show(wire, at) for wire in wires.others]
        for value, place in zip(operands, places, strict=True):
            if not isinstance(value, list):
                raise InvalidInput(f"{place}: expected an array of vectors")
        if math.prod(map(len, operands)) > MOST_PAIRS:
            sizes = " x ".join(str(len(value)) for value in operands)
            raise InvalidInput(f"expected at most {MOST_PAIRS} pairs of vectors, got {sizes}")
        mine, theirs = (_read(value, place) for value, place in zip(operands, places, strict=True))
        sizes_of = sorted({len(vector) for vector in (*mine, *theirs) if vector is not None})
        if len(sizes_of) > 1:
            raise InvalidInput(f"{places[1]}: expected vectors of one size, got {sizes_of[0]} and {sizes_of[-1]}")
        return [None if vector is None else _describe(vector, theirs, facts) for vector in mine]

    def judge_all() -> list[list[dict[str, Any] | None]]:
        return [judge(at, *of_row) for at, of_row in zip(rows, operands, strict=True)]

    return await run_in_thread(judge_all, sum(_weigh(value) for of_row in operands for value in of_row))


def _weigh(vectors: Any) -> int:
    """The cost of reading vectors, as ``run_in_thread`` counts. The value may not be a list of vectors."""
    if not isinstance(vectors, list):
        return 0
    return sum(512 + (8 * len(vector) if isinstance(vector, list) else 0) for vector in vectors)


def _describe(vector: np.ndarray, others: Sequence[np.ndarray | None], facts: Embedding) -> dict[str, Any]:
    present = [at for at, other in enumerate(others) if other is not None]
    comparisons: list[dict[str, Any] | None] = [None] * len(others)
    if not present:
        return {"best": None, "comparisons": comparisons}
    values = compare_vectors(vector, np.stack([other for other in others if other is not None]), facts)
    for at, value in zip(present, values.tolist(), strict=True):
        comparisons[at] = describe_comparison(value, facts)
    best = present[int(values.argmin() if facts.metric == "euclidean" else values.argmax())]
    return {"best": {"index": best, **(comparisons[best] or {})}, "comparisons": comparisons}


def _read(value: list[Any], where: str) -> list[np.ndarray | None]:
    """float64 vectors; None for a null."""
    return [None if one is None else _read_vector(one, f"{where}[{i}]") for i, one in enumerate(value)]


def _read_vector(value: Any, where: str) -> np.ndarray:
    if isinstance(value, list) and value and all(type(number) in (int, float) for number in value):
        with np.errstate(over="ignore"):  # too large numbers become infinite and are refused below
            vector = np.array(value, np.float64)
        if np.isfinite(vector).all():
            return vector
    raise InvalidInput(f"{where}: expected an array of finite numbers, got {value!r:.60}")
