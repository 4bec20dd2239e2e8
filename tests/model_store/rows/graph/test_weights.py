"""Large weights are not parsed, and the verdict is that of the whole file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from model_store.rows import analyse
from model_store.rows.graph.weights import embed_small, strip_weights
from tests.support.rows.case import Case, independent, mixing

_LARGE = "w[96,96]"
_BODY = f"a = MatMul(x, {_LARGE}) b = Relu(a) c = MatMul(b, {_LARGE}) s = ReduceSum(c, [1])"
_SIGNATURE = "float[N,96] x => float[N,M] y"

CASES = [
    independent("large_weights", _SIGNATURE, _BODY + " y = Sub(c, s)", "columns are added up", opset=18),
    mixing("large_weights_mix", _SIGNATURE, _BODY + " m = ReduceSum(c, [0]) y = Sub(c, m)", "rows are", opset=18),
    independent(
        "weights_in_branches",
        "float[N,96] x, bool flag => float[N,96] y",
        f"y = If<then_branch = t () => (float[N,96] p) {{ p = MatMul(x, {_LARGE}) }}, "
        f"else_branch = e () => (float[N,96] q) {{ q = MatMul(x, {_LARGE}) }}>(flag)",
        "each branch has its own",
        axes={"flag": None},
    ),
]


def move_into_branch(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its weights in the branches of its If instead of in the main graph."""
    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in moved.graph.initializer}
    for attribute in moved.graph.node[0].attribute:
        names = {name for node in attribute.g.node for name in node.input}
        attribute.g.initializer.extend(weights[name] for name in sorted(names & weights.keys()))
    del moved.graph.initializer[:]
    return moved


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_file_with_large_weights_is_judged_as_its_graph_is(case: Case) -> None:
    """Weights that are not parsed change neither a proof nor a fault."""
    content = case.model.SerializeToString()
    stripped, files = strip_weights(content)
    assert sum(map(len, files.values())) == len(content)
    assert stripped.ByteSize() < len(content) / 10
    assert analyse(content).rows == ("proved" if case.truth == "independent" else "mixing")


def test_weights_inside_of_branches_stay_with_them() -> None:
    """Only the main graph's weights are left out."""
    content = move_into_branch(CASES[2].model).SerializeToString()
    assert strip_weights(content)[0].ByteSize() == len(content)
    assert analyse(content).rows == "proved"


def test_stripped_model_has_all_that_the_file_has_but_large_data() -> None:
    """Names, shapes and types, small weights, nodes, inputs and outputs stay."""
    content = CASES[0].model.SerializeToString()
    stripped = strip_weights(content)[0]
    whole = onnx.load_from_string(content)
    assert stripped.graph.node == whole.graph.node
    assert (stripped.graph.input, stripped.graph.output) == (whole.graph.input, whole.graph.output)
    for left, right in zip(stripped.graph.initializer, whole.graph.initializer, strict=True):
        assert (left.name, left.dims, left.data_type) == (right.name, right.dims, right.data_type)
        if left.data_location == TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in left.external_data}
            begin, length = int(place["offset"]), int(place["length"])
            assert content[begin : begin + length] == right.raw_data
        else:
            assert left == right


def test_small_file_is_parsed_as_it_is() -> None:
    """Leaving weights out of a few kilobytes would gain nothing."""
    content = independent(
        "small", "float[N,4] x => float[N,4] y", "y = MatMul(x, w[4,4])", ""
    ).model.SerializeToString()
    assert strip_weights(content) == (onnx.load_from_string(content), {})


@pytest.mark.parametrize("cut", [1, 1000, 40_000])
def test_file_that_ends_early_is_told_and_not_read_beyond(cut: int) -> None:
    """The verdict is unknown, with the reason."""
    found = analyse(CASES[0].model.SerializeToString()[:-cut])
    assert found.rows == "unknown"
    assert found.reason.startswith("it could not be analysed")


def test_parameters_in_another_file_are_read_from_there(tmp_path: Path) -> None:
    """Axes and lengths of slices may lie in a file beside the model, as weights do."""
    body = (
        "s = Shape(x) t = Slice(s, [1], [2]) p = Slice(w[64,4], [0], t, [0]) m = ReduceMean(x, [2]) d = Sub(x, m) "
        "y = Add(d, p)"
    )
    case = independent("positions", "float[N,T,4] x => float[N,T,4] y", body, "", opset=18)
    inside = analyse(case.model.SerializeToString())
    path = tmp_path / "model.onnx"
    onnx.save(case.model, path, save_as_external_data=True, location="data", size_threshold=0)
    content, data = path.read_bytes(), (tmp_path / "data").read_bytes()
    assert onnx.load_from_string(content).graph.initializer[0].data_location == TensorProto.EXTERNAL
    assert analyse(content, {"data": data}) == inside
    assert (inside.rows, inside.bounds) == ("proved", {"T": 64})


def test_tensor_beyond_the_end_of_its_file_stays_there() -> None:
    """ONNX Runtime says what is wrong with the file."""
    tensor = numpy_helper.from_array(np.arange(8), "axes")
    external_data_helper.set_external_data(tensor, "data", offset=0, length=64)
    tensor.ClearField("raw_data")
    model = helper.make_model(helper.make_graph([], "empty", [], [], [tensor]))
    embed_small(model, {"data": b"\0" * 63})
    assert model.graph.initializer[0].data_location == TensorProto.EXTERNAL
    embed_small(model, {"data": np.arange(8).tobytes()})
    assert numpy_helper.to_array(model.graph.initializer[0]).tolist() == list(range(8))
