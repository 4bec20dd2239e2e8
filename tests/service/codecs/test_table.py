"""Rows of named columns to tensors."""

import math
from typing import Any

import numpy as np
import pytest

from model_store.graph import Tensor
from model_store.tasks import Column, Table
from service.codecs.pictures.reader import RowFile
from service.codecs.table import read_table
from service.errors import InvalidInput

TABLE = Table(
    columns=(
        Column(name="age", input="numbers", position=1, missing=True),
        Column(name="job", input="job", missing=True),
        Column(name="height", input="numbers"),
        Column(name="visits", input="visits"),
    )
)
TENSORS = (
    Tensor(name="numbers", datatype="FP32", shape=("batch", 2), batch_axis=0),
    Tensor(name="job", datatype="BYTES", shape=("batch", 1), batch_axis=0),
    Tensor(name="visits", datatype="INT64", shape=("batch",), batch_axis=0),
)
ANN = {"age": 30, "job": "clerk", "height": 1.7, "visits": 2}


def read(*rows: Any) -> dict[str, np.ndarray]:
    return read_table(rows, TABLE, TENSORS, "inputs")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("ann", r"inputs\[1\]: expected an object of the columns age, job, height, visits, got a string"),
        (RowFile(b"", "body"), "body: expected an object of the columns age, job, height, visits, got a picture"),
        (RowFile(b"fLaC", "body"), "body: expected an object of the columns age, job, height, visits, got a sound"),
        ({**ANN, "hight": 1.7}, r"inputs\[1\]: expected the columns age, job, height, visits, got 'hight' too"),
        (
            {"age": 30, "job": "clerk", "height": 1.7},
            r"inputs\[1\]: expected a value for the column 'visits', got none",
        ),
        (
            {**ANN, "visits": None},
            r"inputs\[1\].visits: expected a number, got null: the model takes no missing values",
        ),
        ({**ANN, "visits": 1.5}, r"inputs\[1\].visits: expected INT64, got 1.5"),
        ({**ANN, "height": "tall"}, r"inputs\[1\].height: expected a number, got 'tall'"),
        ({**ANN, "height": True}, r"inputs\[1\].height: expected a number, got a boolean"),
        (
            {**ANN, "height": "NaN"},
            r"inputs\[1\].height: expected a number, got NaN: the model takes no missing values",
        ),
        ({**ANN, "height": [1.7]}, r"inputs\[1\].height: expected one value, got an array"),
        ({**ANN, "job": 5}, r"inputs\[1\].job: expected a text, got a number"),
        ([30, "clerk", 1.7], r"inputs\[1\]: expected a value for each of 4 columns, got 3"),
    ],
)
def test_faulty_row_is_refused(row: Any, complaint: str) -> None:
    """With the row and the column at fault."""
    with pytest.raises(InvalidInput, match=complaint):
        read(ANN, row)


def test_columns_fill_the_inputs() -> None:
    """Each at its place, whatever the order of the columns in a row."""
    found = read(ANN, dict(reversed(ANN.items())))
    assert found["numbers"].tolist() == [[pytest.approx(1.7), 30], [pytest.approx(1.7), 30]]
    assert found["numbers"].dtype == np.float32
    assert found["job"].tolist() == [["clerk"], ["clerk"]]
    assert found["visits"].tolist() == [2, 2]


def test_row_may_be_an_array_in_the_order_of_the_columns() -> None:
    """As a line of a CSV file is."""
    assert {name: array.tolist() for name, array in read(list(ANN.values())).items()} == {
        name: array.tolist() for name, array in read(ANN).items()
    }


def test_value_that_a_column_does_not_have_is_refused() -> None:
    """As encoders of scikit-learn do. What is missing is no value."""
    columns = (
        Column(name="job", input="job", missing=True, values=("clerk", "cook")),
        Column(name="visits", input="visits", values=(1.0, 2.0)),
    )

    def read_known(*rows: Any) -> dict[str, np.ndarray]:
        return read_table(rows, Table(columns=columns), TENSORS[1:], "inputs")

    assert read_known({"job": None, "visits": 2})["job"].tolist() == [[""]]
    with pytest.raises(InvalidInput, match=r"inputs\[1\]\.job: expected one of clerk, cook, got 'Cook'"):
        read_known({"job": "cook", "visits": 1}, {"job": "Cook", "visits": 1})
    with pytest.raises(InvalidInput, match=r"inputs\[0\]\.visits: expected one of 1\.0, 2\.0, got 3"):
        read_known({"job": "cook", "visits": 3})


@pytest.mark.parametrize("row", [{**ANN, "age": None, "job": None}, {"height": 1.7, "visits": 2}])
def test_missing_value_is_nan_or_an_empty_text(row: Any) -> None:
    """Where the manifest allows it, null and absent are the same."""
    found = read(row)
    assert math.isnan(found["numbers"][0, 1])
    assert found["job"].tolist() == [[""]]
