"""Flat JSON arrays of numbers take a fast way, with the result or the error of the general parser."""

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.datatypes import DATATYPES
from service.errors import InvalidInput
from service.protocol.infer_request import InferRequest, parse_infer


def parse(body: bytes) -> InferRequest | str:
    """The request, or the complaint."""
    try:
        return parse_infer(body, None)
    except InvalidInput as error:
        return re.sub(r"column.*", "", str(error))


def assert_same(body: bytes) -> None:
    """Both ways give the same arrays, or the same complaint: a space before the colon asks the general parser."""
    short, general = parse(body), parse(body.replace(b'"data":', b'"data" :'))
    if isinstance(general, str) or isinstance(short, str):
        assert short == general
        return
    assert short.inputs.keys() == general.inputs.keys()
    for name, array in general.inputs.items():
        assert short.inputs[name].dtype == array.dtype
        assert short.inputs[name].shape == array.shape
        bits = np.ndarray.tolist if array.dtype.hasobject else np.ndarray.tobytes
        assert bits(short.inputs[name]) == bits(array)


NUMBER = st.one_of(
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.floats(width=32),
    st.booleans(),
    st.none(),
    st.just("1"),
    st.just("]"),
)


@settings(deadline=None, max_examples=300)
@given(
    datatypes=st.lists(st.sampled_from([*DATATYPES]), min_size=1, max_size=3),
    data=st.lists(
        st.lists(NUMBER, max_size=5) | st.lists(st.lists(NUMBER, max_size=2), max_size=3), min_size=3, max_size=3
    ),
    compact=st.booleans(),
    request_id=st.text(alphabet='"\\data:[]{}, 01', max_size=20),
)
def test_short_way_and_parser_agree(datatypes: list[str], data: list[Any], compact: bool, request_id: str) -> None:
    """The short way gives the same bits or the same complaint as the general parser, for any values and texts."""
    inputs = [
        {"name": f"x{i}", "shape": [len(values)], "datatype": datatype, "data": values}
        for i, (datatype, values) in enumerate(zip(datatypes, data, strict=False))
    ]
    separators = (",", ":") if compact else None
    assert_same(json.dumps({"inputs": inputs, "id": request_id}, separators=separators).encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1],"data":[2]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}],"outputs":[{"name":"y","data":[3]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"data":[3]},"data" :0}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,[2]]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,2}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,2]}]} ]',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,2,]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1e39,2]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[NaN,2]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"INT8","data":[1,200]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"INT8","data":[1,2.5]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"UINT64","data":[1,18446744073709551615]}]}',
        b'{"inputs":[{"name":"x","shape":[0],"datatype":"FP32","data":[]}]}',
        b'{"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[1,2]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}',
        b'{"data":[1]}',
        b'"data":[1]',
    ],
)
def test_odd_bodies_are_read_as_the_general_parser_reads_them(body: bytes) -> None:
    """Repeated fields, hidden fields and arrays that are none are read as the general parser reads them."""
    for _ in range(2):  # a body that was refused leaves nothing behind
        assert_same(body)
