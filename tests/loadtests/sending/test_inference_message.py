"""Messages of gRPC against Triton's own; beginning with failures."""

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from loadtests.sending.inference_message import decode_message, encode_message
from loadtests.wire import WrongAnswer


def make_response(*, shape: tuple[int, ...] = (2, 2), raw: int = 1, datatype: str = "FP32") -> bytes:
    response = service_pb2.ModelInferResponse(model_name="m", model_version="1")
    response.outputs.add(name="y", datatype=datatype, shape=shape)
    response.raw_output_contents.extend([np.arange(4, dtype=np.float32).tobytes()] * raw)
    content: bytes = response.SerializeToString()
    return content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xff", "not a ModelInferResponse"),
        (make_response(raw=0), "the number of raw contents is not the number of outputs"),
        (make_response(shape=(3, 2)), "does not fill its shape"),
        (make_response(datatype="FP8"), "datatype 'FP8' is not one of"),
    ],
)
def test_answer_that_breaks_the_protocol_is_wrong(content: bytes, said: str) -> None:
    """The reason is short, and the same for equal faults."""
    with pytest.raises(WrongAnswer, match=said):
        decode_message(content)


def test_answer_has_its_tensors_by_name() -> None:
    """Triton's message is read with shape and values; fields that we do not know are passed over."""
    [(name, values)] = decode_message(make_response()).items()
    assert name == "y"
    assert values.tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_request_is_that_of_triton() -> None:
    """Triton's message reads what was written."""
    request = service_pb2.ModelInferRequest.FromString(encode_message("m", {"x": np.ones((2, 3), np.int64)}))
    assert request.model_name == "m"
    [tensor] = request.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("x", "INT64", [2, 3])
    assert request.raw_input_contents[0] == np.ones(6, np.int64).tobytes()
