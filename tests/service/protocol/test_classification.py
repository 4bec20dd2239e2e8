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
    with pytest.raises(InvalidInput, match=f"'y': expected one of UINT8, .* for a classification, got {datatype}"):
        check_classification(["y"], {"y": output})


@pytest.mark.parametrize(
    ("scores", "number", "labels", "expected"),
    [
        (SCORES, 1, (), [["3.300000:1"], ["7.250000:2"]]),
        (SCORES, 2, (), [["3.300000:1", "0.500000:0"], ["7.250000:2", "2.000000:0"]]),
        (SCORES[:1], 9, (), [["3.300000:1", "0.500000:0", "-1.000000:2"]]),
        (SCORES, 1, ("cat", "dog", "é:1"), [["3.300000:1:dog"], ["7.250000:2:é:1"]]),
        (np.array([[np.nan, -np.inf, np.inf, 0.0]]), 4, (), [["inf:2", "0.000000:3", "-inf:1", "nan:0"]]),
    ],
    ids=["one", "equal values", "more than there are", "labels", "NaN"],
)
def test_highest_come_first_and_the_lower_index_of_equals(
    scores: np.ndarray, number: int, labels: tuple[str, ...], expected: list[list[str]]
) -> None:
    """Each row gives its highest values first, at most all, with six decimals, index and label; NaN is last."""
    assert classify("y", scores, number, labels, True).tolist() == expected


def test_sizes_of_a_classification() -> None:
    """A classification of nothing keeps its shape, and one of more than a million values is refused as too slow."""
    assert classify("y", SCORES[:0], 2, (), True).shape == (0, 2)
    with pytest.raises(InvalidInput, match="expected at most 1000000 elements for a classification, got 1000001"):
        classify("y", np.zeros((1, MAX_ELEMENTS + 1), np.int8), 1, (), True)


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 6)])
def test_output_without_a_batch_is_one_row(shape: tuple[int, ...]) -> None:
    """All axes but the batch are one row, and an output without a batch is one row."""
    assert classify("y", SCORES.reshape(shape), 2, (), False).tolist() == ["7.250000:5", "3.300000:1"]


@pytest.mark.parametrize("name", [n for n, d in DATATYPES.items() if d.dtype.kind in "iu" or n in ("FP32", "FP64")])
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_every_number_is_ranked_as_python_ranks_it(name: str, data: st.DataObject) -> None:
    """Values of every datatype are ranked as Python ranks them, and whole numbers are written as such."""
    scores = data.draw(arrays.arrays(DATATYPES[name].dtype, st.tuples(st.integers(1, 3), st.integers(1, 6))))
    got = classify("y", np.nan_to_num(scores), 3, (), True)
    for texts, row in zip(got.tolist(), np.nan_to_num(scores).tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda index: -row[index])[:3]
        assert [int(text.rpartition(":")[2]) for text in texts] == order
        pattern = r"-?[0-9]+" if scores.dtype.kind in "iu" else r"-?[0-9]+\.[0-9]{6}"
        assert all(re.fullmatch(pattern, text.partition(":")[0]) for text in texts)
        if scores.dtype.kind in "iu":
            assert [int(text.partition(":")[0]) for text in texts] == [row[index] for index in order]
