"""The base of pydantic models that read requests and describe them in the OpenAPI document."""

from typing import Any, Self

from pydantic import ConfigDict, ValidationError

from model_store.manifest import describe
from model_store.strict_model import StrictModel
from service.errors import InvalidInput


class RequestModel(StrictModel):
    """Types are strict and unknown fields are refused. The docstring of a field is its description."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    @classmethod
    def read(cls, fields: Any, **how: Any) -> Self:
        """``how`` is for ``model_validate``.

        Raises InvalidInput, which names the field, what was expected and what came.
        """
        try:
            return cls.model_validate(fields, **how)
        except ValidationError as error:
            raise InvalidInput(describe(error)) from None
