"""What a load test learns from metadata, and the rows it makes of it."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from loadtests.sending.rows import make_inputs
from loadtests.signature import NoModel, Signature, Tensor, find_model, parse_signature

NO_AXIS = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": []}], "outputs": []}'
NO_SHAPE = b'{"inputs": [{"name": "x", "datatype": "FP32"}], "outputs": []}'


@pytest.mark.parametrize(
    ("document", "text"),
    [
        *((document, "not the protocol's") for document in (b"", b"[]", b'{"inputs": []}', NO_SHAPE)),
        *((document, "no input with a batch axis") for document in (b'{"inputs": [], "outputs": []}', NO_AXIS)),
    ],
)
def test_unusable_metadata_is_refused(document: bytes, text: str) -> None:
    """Metadata that a load cannot be made from is refused with the model's name."""
    with pytest.raises(NoModel, match=text) as refused:
        parse_signature("digits", document)
    assert "'digits'" in str(refused.value)


def test_text_inputs_are_refused() -> None:
    """BYTES inputs have no numbers to make; the refusal lists what there is."""
    signature = Signature("words", (Tensor("text", "BYTES", (-1,)),), ())
    with pytest.raises(NoModel, match="'text' of model 'words' is BYTES"):
        make_inputs(signature, 1, np.random.default_rng(0))


def test_server_without_models_is_named(serve: Callable) -> None:
    """When no ready model has the task, the refusal says how to go on."""
    with serve() as server, pytest.raises(NoModel, match=r"no ready model for the task 'generate'.*--model"):
        find_model(server.address, "generate")


def test_first_ready_model_of_the_task(serve: Callable) -> None:
    """Without a name, the first ready model of the task is asked; one that is not ready is passed over."""
    with serve() as server:
        assert find_model(server.address, "classify") == "digits"
        assert find_model(server.address) == "echo"


@pytest.mark.parametrize(
    ("datatype", "shape", "expected"),
    [
        ("FP32", (-1, 1, 28, 28), (3, 1, 28, 28)),
        ("FP16", (-1, 3, 8, 8), (3, 3, 8, 8)),
        ("FP64", (-1, 64), (3, 64)),
        ("FP32", (-1, -1, 2), (3, 16, 2)),
        ("INT64", (-1, -1), (3, 16)),
        ("BOOL", (-1,), (3,)),
        ("UINT8", (-1, 8, 8, 3), (3, 8, 8, 3)),
    ],
)
def test_rows_fit_the_signature(datatype: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Rows have the model's dtype and shape, an open axis gets a length, and values lie in [0, 1]."""
    signature = parse_signature(
        "m", json.dumps({"inputs": [{"name": "x", "datatype": datatype, "shape": shape}], "outputs": []}).encode()
    )
    values = make_inputs(signature, 3, np.random.default_rng(1))["x"]
    assert values.shape == expected
    assert signature.inputs[0].datatype == {"e": "FP16", "f": "FP32", "d": "FP64", "q": "INT64"}.get(
        values.dtype.char, datatype
    )
    assert values.min() >= 0
    assert values.max() <= 1


def test_pictures_are_strokes_and_repeatable() -> None:
    """A picture is mostly dark with a bright stroke, rows differ, and the same seed draws the same ones."""
    signature = Signature("m", (Tensor("x", "FP32", (-1, 1, 28, 28)),), ())
    first, again = (make_inputs(signature, 2, np.random.default_rng(5))["x"] for _ in range(2))
    assert first.max() > 0.8
    assert np.median(first) < 0.2
    assert not np.array_equal(first[0], first[1])
    np.testing.assert_array_equal(first, again)
