"""The table of datatypes."""

import numpy as np
import pytest

from model_store.datatypes import BY_DTYPE, BY_ONNX, DATATYPES, datatype_of

ITEM_BYTES = (
    {"BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8}
    | {"INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8}
    | {"FP16": 2, "FP32": 4, "FP64": 8, "BF16": 2, "BYTES": 0}
)


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "V2", "V4"])
def test_dtype_without_datatype_is_refused_with_the_choice(dtype: str) -> None:
    """The TypeError names the dtype and the datatypes that exist."""
    with pytest.raises(TypeError, match=r"no tensor datatype for NumPy dtype .*: use one of BOOL, .*BYTES"):
        datatype_of(np.empty(1, dtype))


def test_elements_are_as_wide_as_the_protocol_says() -> None:
    """Every datatype of the protocol is in the table with its width in bytes."""
    assert {name: datatype.itemsize for name, datatype in DATATYPES.items()} == ITEM_BYTES


def test_every_datatype_has_one_dtype_and_one_onnx_type() -> None:
    """No name, dtype or ONNX type occurs twice in the table."""
    assert len(BY_DTYPE) == len(BY_ONNX) == len(DATATYPES)
    assert all(BY_DTYPE[d.dtype] is BY_ONNX[d.onnx] is d for d in DATATYPES.values())


@pytest.mark.parametrize("name", DATATYPES)
def test_array_of_a_dtype_has_its_datatype(name: str) -> None:
    """A datatype is recognised by its dtype; only FP types and BF16 are floats."""
    assert datatype_of(np.empty(2, DATATYPES[name].dtype)).name == name
    assert DATATYPES[name].is_float == name.startswith(("FP", "BF"))


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([b"abc"]), np.array(["a", "bcd"], object)])
def test_strings_of_any_width_are_bytes(array: np.ndarray) -> None:
    """NumPy text, NumPy bytes and objects are all BYTES."""
    assert datatype_of(array).name == "BYTES"
