"""Named columns to inputs, and rows to numbers."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from model_store.strict_model import Finite, Index, StrictModel


class Column(StrictModel):
    """A column of a table: it fills an input of ``main`` alone, [batch, 1] or [batch], or a place of [batch, n]."""

    name: str
    input: str
    position: Index = 0
    """The place in the rows of the input."""
    missing: bool = False
    """Whether a value may be missing: null, or absent. It becomes NaN, or an empty text."""
    values: tuple[str | Finite, ...] = ()
    """The texts or numbers that it may have. Empty: any."""


class Table(StrictModel):
    """The columns of a row. They fill every place of every input of ``main`` once."""

    columns: Annotated[tuple[Column, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _differ(self) -> Self:
        names = [column.name for column in self.columns]
        places = [(column.input, column.position) for column in self.columns]
        if len(set(names)) < len(names) or len(set(places)) < len(places):
            raise ValueError("expected different names and places of columns")
        return self


class Regression(StrictModel):
    """The output of ``main`` with numbers, float [batch], [batch, 1] or [batch, values]."""

    output: str
    names: tuple[str, ...] = ()
    """What the values are. Empty: there is one value without a name."""
    unit: str = ""
    """The unit of the values, for people."""
