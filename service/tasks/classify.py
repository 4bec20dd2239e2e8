"""classify: rows to labels with probabilities."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_store.manifest import Manifest, describe
from service.errors import InvalidInput, ModelFailure


class ClassifyOptions(BaseModel):
    """Everything of a request but its rows."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: str | None = None
    version: str | int | None = None
    top_k: Annotated[int, Field(ge=1, le=1000)] = 1
    explain: bool = False

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> "ClassifyOptions":
        """Raises InvalidInput, which names the field, what was expected and what came."""
        if not fields:
            return _PLAIN
        try:
            options = cls.model_validate(fields)
        except ValidationError as error:
            raise InvalidInput(describe(error)) from None
        if options.explain:
            raise InvalidInput("explain: this version of the service has no explanations; leave it out or send false")
        return options

    @classmethod
    def parse_query(cls, fields: Mapping[str, str]) -> "ClassifyOptions":
        """The same from a query string, where every value is text. Raises InvalidInput."""
        try:
            options = cls.model_validate(fields, strict=False)
        except ValidationError as error:
            raise InvalidInput(describe(error)) from None
        return cls.parse(options.model_dump())


_PLAIN = ClassifyOptions()


def predictions(manifest: Manifest, outputs: Mapping[str, np.ndarray], top_k: int) -> list[dict[str, Any]]:
    """One prediction a row, with the ``top_k`` most probable labels in falling order. Raises ModelFailure on NaN."""
    assert manifest.classes is not None  # noqa: S101  # a manifest of the task classify has them
    probabilities = outputs[manifest.classes.probabilities]
    if not np.isfinite(probabilities).all():
        raise ModelFailure(f"model {manifest.name!r} gave probabilities that are not numbers")
    count = min(top_k, probabilities.shape[1])
    # A stable sort, so that labels of equal probability come in their own order whoever shares the batch.
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    chosen = np.take_along_axis(probabilities, best, axis=1)
    labels = manifest.labels
    answers = []
    for indices, values in zip(best.tolist(), chosen.tolist(), strict=True):
        top = [{"label": labels[i], "index": i, "probability": p} for i, p in zip(indices, values, strict=True)]
        answers.append({**top[0], "top": top})
    return answers
