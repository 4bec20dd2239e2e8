"""The classification extension: the highest values of an output as texts."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from service.errors import InvalidInput
from service.protocol.classification import MAX_ELEMENTS, check_classification, classify

SCORES = np.array([[0.5, 3.3, -1.0], [2.0, 2.0, 7.25]], np.float32)


@pytest.mark.parametrize("datatype", ["BOOL", "FP16", "BF16", "BYTES"])
def test_values_without_an_order_are_refused(datatype: str) -> None:
    """Outputs of these datatypes cannot be classified, which is said before anything runs."""
    output = Tensor(name="y", datatype=datatype, shape=("batch", 3), batch_axis=0)
    with pytest.raises(
        InvalidInput, match=f"output 'y': expected one of UINT8, .* for a classification, got {datatype}"
    ):
        check_classification(["y"], {"y": output})


def test_vast_output_is_not_sorted() -> None:
    """More than a million values are refused: to sort them would keep everybody waiting."""
    with pytest.raises(InvalidInput, match="expected at most 1000000 elements for a classification, got 1000001"):
        classify("y", np.zeros((1, MAX_ELEMENTS + 1), np.int8), 1, (), True)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, [["3.300000:1"], ["7.250000:2"]]),
        (2, [["3.300000:1", "0.500000:0"], ["7.250000:2", "2.000000:0"]]),
        (9, [["3.300000:1", "0.500000:0", "-1.000000:2"], ["7.250000:2", "2.000000:0", "2.000000:1"]]),
    ],
)
def test_highest_come_first_and_the_lower_index_of_equals(number: int, expected: list[list[str]]) -> None:
    """As many as wanted, but no more than there are, each row for itself, with six decimals."""
    assert classify("y", SCORES, number, (), True).tolist() == expected


def test_labels_follow_the_index() -> None:
    """Where the output has labels they are the third part."""
    assert classify("y", SCORES, 1, ("cat", "dog", "é:1"), True).tolist() == [["3.300000:1:dog"], ["7.250000:2:é:1"]]


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 6)])
def test_output_without_a_batch_is_one_row(shape: tuple[int, ...]) -> None:
    """All axes but the batch are taken together, and without a batch that is all of them."""
    assert classify("y", SCORES.reshape(shape), 2, (), False).tolist() == ["7.250000:5", "3.300000:1"]


def test_nan_is_last() -> None:
    """What is no number is never among the best while there are others; infinities are in their places."""
    scores = np.array([[np.nan, -np.inf, np.inf, 0.0]])
    assert classify("y", scores, 4, (), True).tolist() == [["inf:2", "0.000000:3", "-inf:1", "nan:0"]]


@pytest.mark.parametrize("name", [n for n, d in DATATYPES.items() if d.dtype.kind in "iu" or n in ("FP32", "FP64")])
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_every_number_is_ranked_as_python_ranks_it(name: str, data: st.DataObject) -> None:
    """Whatever the datatype, the least and largest values included, whole numbers are written as such."""
    scores = data.draw(arrays.arrays(DATATYPES[name].dtype, st.tuples(st.integers(1, 3), st.integers(1, 6))))
    got = classify("y", np.nan_to_num(scores), 3, (), True)
    for texts, row in zip(got.tolist(), np.nan_to_num(scores).tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda index: -row[index])[:3]
        assert [int(text.rpartition(":")[2]) for text in texts] == order
        pattern = r"-?[0-9]+" if scores.dtype.kind in "iu" else r"-?[0-9]+\.[0-9]{6}"
        assert all(re.fullmatch(pattern, text.partition(":")[0]) for text in texts)
        if scores.dtype.kind in "iu":
            assert [int(text.partition(":")[0]) for text in texts] == [row[index] for index in order]
