"""Repositories of ONNX models that Triton serves, asked as its own tests ask: they answer as they do there."""

import json
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from model_store.datatypes import DATATYPES
from tests.support.models import triton_models as models
from tests.support.servers import settings_for
from tests.support.triton_clients import FORMS, Answered, TritonServing

TYPES = [
    *("UINT8 UINT8 UINT8", "INT8 INT8 INT8", "INT16 INT16 INT16", "INT32 INT32 INT32", "INT64 INT64 INT64"),
    *("FP16 FP16 FP16", "FP32 FP32 FP32", "FP64 FP64 FP64", "FP16 FP32 FP32", "INT8 INT32 INT32"),
    *("INT32 INT8 INT8", "INT32 INT8 INT16", "FP32 UINT8 UINT8", "UINT8 FP32 FP32", "FP32 UINT8 FP16"),
    *("INT32 FP32 FP32", "FP32 INT32 INT32", "INT32 FP16 INT16", "BYTES BYTES BYTES", "BYTES INT32 INT32"),
    *("BYTES INT32 BYTES", "BYTES BYTES INT32", "INT32 BYTES BYTES", "INT32 INT32 BYTES", "INT32 BYTES INT32"),
]
"""Of the inputs, of OUTPUT0, and of OUTPUT1."""
POLICIES = {
    "INT16": ("version_policy { latest { num_versions: 2 } }", (2, 3)),
    "INT32": ("version_policy: { all { } }", (1, 2, 3)),
    "FP16": ("version_policy { specific { versions: [ 1 ] } }", (1,)),
    "FP32": ("version_policy { specific { versions: [ 1, 3 ] } }", (1, 3)),
    "INT8": ("version_policy { latest { } }", (3,)),
}
"""Of models whose tensors are all of one type: what they say of three versions, and which serve."""
VARIABLE = {"variable_1": ((-1,), (16,)), "variable_2": ((-1, 4), (8, 4)), "variable_3": ((2, -1, -1), (2, 8, 3))}
"""Names to dims, and a shape that fits them."""
Same = list[tuple[list[int], list[int]]]


def alike(*shapes: list[int]) -> Same:
    return [(shape, shape) for shape in shapes]


THREE: Same = [([4, 4], [16]), ([2], [1, 2]), ([2, 2, 3], [3, 2, 2])]
IDENTITIES: dict[str, tuple[str, Same, Same]] = {
    "zero_1_float32": ("FP32", alike([-1]), alike([-1])),
    "zero_3_object": ("BYTES", alike([1], [-1, 2], [3]), alike([1], [-1, 2], [3])),
    "zero_2_bool": ("BOOL", alike([4], [-1]), alike([4], [-1])),
    "reshape_1": ("FP32", [([1], [])], [([1], [])]),
    "reshape_2": ("FP32", [([1], []), ([8], [4, 1, 2])], [([1], []), ([8], [4, 1, 2])]),
    "reshape_3": ("FP32", THREE, THREE),
    "reshape_4": (
        "FP32",
        [([4, 4], [2, 2, 4]), ([2], [1, 2, 1]), ([2, 2, 3], [3, 2, 2]), ([1], [1, 1, 1])],
        [([16], [2, 2, 4]), ([1, 2], [1, 2, 1]), ([3, 2, 2], [3, 2, 2]), ([1], [1, 1, 1])],
    ),
    "reshape_1_int32": ("INT32", [([2, -1, 5, -1], [2, -1, 1, 5, -1])], [([2, -1, 5, -1], [2, -1, 1, 5, -1])]),
    "reshape_1_object": ("BYTES", [([1], [])], [([1], [])]),
    "graph_reshapes": ("INT32", [([2, 4], [2, 4])], [([4, 2], [8])]),
}
"""Identities to their datatype, and inputs and outputs as the configuration and as the graph has them."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServing]:
    root = tmp_path_factory.mktemp("triton")
    for types in TYPES:
        datatypes = types.split()
        policy = POLICIES[datatypes[0]][0] if len({*datatypes}) == 1 and datatypes[0] in POLICIES else ""
        models.write_add_sub(root, datatypes, (16,), True, policy=policy)
        models.write_add_sub(root, datatypes, (16,), False)
    for name, (dims, _) in VARIABLE.items():
        models.write_add_sub(root, ("FP32", "FP32", "INT32"), dims, True, name=name)
        models.write_add_sub(root, ("FP32", "FP32", "INT32"), dims, False, name=f"nobatch_{name}")
    for name, (datatype, given, wanted) in IDENTITIES.items():
        models.write_identities(root, name, datatype, given, wanted, True)
        models.write_identities(root, f"nobatch_{name}", datatype, given, wanted, False)
    models.write_scalar(root, (1,))
    models.write_scalar(root, (1, 1))
    models.write_scalar(root, (1, 1), 8)
    with TritonServing(settings_for(root, provider="cpu")) as serving:
        yield serving


def numbers_of(shape: tuple[int, ...], datatype: str, seed: int) -> np.ndarray:
    """Small whole numbers that no sum, difference or datatype of ours changes, as what a request has."""
    numbers = np.random.default_rng(seed).integers(20, 60, shape) if seed else np.full(shape, 7)
    if datatype == "BYTES":
        return np.array([str(each).encode() for each in numbers.ravel()], object).reshape(shape)
    return numbers.astype(DATATYPES[datatype].dtype)


def sum_and_difference(first: np.ndarray, second: np.ndarray, swap: bool = False) -> dict[str, np.ndarray]:
    """What a model answers, in FP64."""
    a, b = (array.astype(np.float64) for array in (first, second))
    results = [a - b, a + b] if swap else [a + b, a - b]
    return {f"OUTPUT{i}": results[i] for i in (0, 1)}


def check_values(answered: Answered, expected: dict[str, np.ndarray], datatypes: tuple[str, ...]) -> None:
    assert [*answered.outputs] == [*expected]
    for (name, array), datatype in zip(answered.outputs.items(), datatypes, strict=True):
        assert array.dtype == DATATYPES[datatype].dtype, name
        np.testing.assert_array_equal(array.astype(np.float64), expected[name], err_msg=name)


@pytest.mark.parametrize("types", TYPES)
def test_sums_and_differences_are_those_of_numpy(server: TritonServing, types: str) -> None:
    """Every form of a request, with one row and with eight, and without a batch, has the right values and types."""
    datatypes = types.split()
    swap = len({*datatypes}) == 1 and datatypes[0] in POLICIES and POLICIES[datatypes[0]][1][-1] > 1
    for batches, shape in ((True, (1, 16)), (True, (8, 16)), (False, (16,))):
        name = models.add_sub_name(datatypes, batches)
        inputs = {f"INPUT{i}": numbers_of(shape, datatypes[0], 1 - i) for i in (0, 1)}
        expected = sum_and_difference(*inputs.values(), swap and batches)
        for form in FORMS:
            if form == "http json" and "FP16" in datatypes:
                continue
            answered = server.ask(form, name, inputs, ["OUTPUT0", "OUTPUT1"], request_id="7")
            check_values(answered, expected, tuple(datatypes[1:]))
            assert (answered.model, answered.id) == (name, "7")
            one = server.ask(form, name, inputs, ["OUTPUT1"])
            assert [*one.outputs] == ["OUTPUT1"]


@pytest.mark.parametrize("types", ["INT8 INT8 INT8", "INT64 INT64 INT64", "FP32 FP32 FP32", "INT32 FP32 FP32"])
def test_classes_are_the_highest_values_with_their_labels(server: TritonServing, types: str) -> None:
    """Of OUTPUT0 the three highest come with their labels, of OUTPUT1, which has none, without; row by row."""
    datatypes = types.split()
    for batches, shape in ((True, (1, 16)), (True, (8, 16)), (False, (16,))):
        name = models.add_sub_name(datatypes, batches)
        swap = batches and len({*datatypes}) == 1 and datatypes[0] in POLICIES
        inputs = {f"INPUT{i}": numbers_of(shape, datatypes[0], 2 * (1 - i)) for i in (0, 1)}
        expected = sum_and_difference(*inputs.values(), swap)
        for form in FORMS:
            answered = server.ask(form, name, inputs, [*expected], classes={"OUTPUT0": 3, "OUTPUT1": 3})
            for output, array in answered.outputs.items():
                assert array.shape == (*shape[:-1], 3)
                values = expected[output].reshape(-1, 16)
                for row, found in zip(values, array.reshape(-1, 3), strict=True):
                    for place, text in zip(np.argsort(-row, kind="stable"), found, strict=False):
                        value, index, *label = (text if isinstance(text, str) else text.decode()).split(":")
                        assert (float(value), int(index)) == (row[place], place)
                        assert label == ([f"label{index}"] if output == "OUTPUT0" else [])


@pytest.mark.parametrize("datatype", POLICIES)
def test_versions_serve_by_their_policy(server: TritonServing, datatype: str) -> None:
    """Versions of the policy answer by their number, others are unknown, and without one the highest answers."""
    serving = POLICIES[datatype][1]
    name = models.add_sub_name([datatype] * 3, True)
    inputs = {f"INPUT{i}": numbers_of((1, 16), datatype, 1 - i) for i in (0, 1)}
    for form in ("http binary", "grpc", "grpc stream"):
        for version in (1, 2, 3):
            if version not in serving:
                with pytest.raises(InferenceServerException, match=f"no version '{version}'"):
                    server.ask(form, name, inputs, version=str(version))
                continue
            answered = server.ask(form, name, inputs, version=str(version))
            check_values(answered, sum_and_difference(*inputs.values(), version > 1), (datatype, datatype))
            assert answered.version == str(version)
        assert server.ask(form, name, inputs).version == str(serving[-1])
    assert server.http.get_model_metadata(name)["versions"] == [str(version) for version in serving]


@pytest.mark.parametrize("name", VARIABLE)
def test_variable_sizes_are_taken(server: TritonServing, name: str) -> None:
    """Where dims have -1 any size is answered, in each form and number of rows."""
    for batches, lead in ((True, (1,)), (True, (8,)), (False, ())):
        model = name if batches else f"nobatch_{name}"
        inputs = {f"INPUT{i}": numbers_of((*lead, *VARIABLE[name][1]), "FP32", 1 - i) for i in (0, 1)}
        for form in FORMS:
            answered = server.ask(form, model, inputs)
            check_values(answered, sum_and_difference(*inputs.values()), ("FP32", "INT32"))


@pytest.mark.parametrize("name", IDENTITIES)
def test_shapes_of_callers_and_graph_may_differ(server: TritonServing, name: str) -> None:
    """Callers send and get the dims of the configuration, whatever shapes the graph has, with the same elements."""
    datatype, given, wanted = IDENTITIES[name]
    for lead in ((1,), (8,), ()):
        inputs, expected = {}, {}
        for i, ((dims, _), (wanted_dims, _)) in enumerate(zip(given, wanted, strict=True)):
            shape = (*lead, *(3 if size == -1 else size for size in dims))
            inputs[f"INPUT{i}"] = numbers_of(shape, "UINT8" if datatype == "BOOL" else datatype, i + 1)
            if datatype == "BOOL":
                inputs[f"INPUT{i}"] = inputs[f"INPUT{i}"] > 40
            back = (*lead, *(3 if size == -1 else size for size in wanted_dims))
            expected[f"OUTPUT{i}"] = inputs[f"INPUT{i}"].reshape(back)
        for form in FORMS:  # all outputs, so binary ones in each
            answered = server.ask(form, name if lead else f"nobatch_{name}", inputs)
            assert [*answered.outputs] == [*expected]
            for output, array in answered.outputs.items():
                assert array.shape == expected[output].shape
                np.testing.assert_array_equal(array, expected[output])


def test_raw_body_is_the_only_input(server: TritonServing) -> None:
    """Without a JSON part the body is the elements of one row, a free size is as long as it has, outputs are binary."""
    headers = {"Inference-Header-Content-Length": "0"}
    for name, content, shape in (
        ("zero_1_float32", np.arange(5, dtype=np.float32).tobytes(), [1, 5]),
        ("nobatch_zero_1_float32", bytes(12), [3]),
        ("reshape_1", np.float32(7).tobytes(), [1, 1]),
        ("reshape_1_object", b"text", [1, 1]),
    ):
        response = httpx.post(f"{server.url}/v2/models/{name}/infer", content=content, headers=headers)
        assert response.status_code == 200, response.text
        length = int(response.headers["inference-header-content-length"])
        assert json.loads(response.content[:length])["outputs"][0]["shape"] == shape
        assert response.content[length:] == (b"\4\0\0\0" if "object" in name else b"") + content


def test_graph_without_a_declared_rank_has_the_dims_of_its_configuration(server: TritonServing) -> None:
    """A graph without a declared rank has the dims of its configuration, with and without a batch."""
    for name, shape in (("1dim", (1,)), ("2dim", (1, 1)), ("2dim_batch", (1, 1, 1)), ("2dim_batch", (4, 1, 1))):
        inputs = {"INPUT": np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 1}
        for form in FORMS:
            answered = server.ask(form, f"onnx_scalar_{name}", inputs)
            np.testing.assert_array_equal(answered.outputs["OUTPUT"], inputs["INPUT"])
    with pytest.raises(InferenceServerException, match="expected shape"):
        server.ask("grpc", "onnx_scalar_2dim", {"INPUT": np.ones(2, np.float32)})
