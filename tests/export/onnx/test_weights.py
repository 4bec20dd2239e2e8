"""Weights in a file of their own."""

import numpy as np
import onnx
import pytest

from export import ExportError, publish
from export.onnx.weights import restore, serialise
from export.runtime import Runtime
from model_store import IntegrityError
from service.models.loading import load_version
from service.settings import Settings
from tests.support.models.text import parse

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("export_once")


@pytest.fixture
def spec(make_spec, one_thread):
    module = torch.nn.Sequential(torch.nn.Linear(4, 600), torch.nn.Tanh(), torch.nn.Linear(600, 3))
    return make_spec(module, external_data_bytes=0)


def make_model() -> onnx.ModelProto:
    """y = (x @ a + small) @ b, with two large weights and a small one."""
    draw = np.random.default_rng(0)
    shapes = {"a": (4, 500), "small": (500,), "b": (500, 3)}
    weights = {name: draw.random(shape, dtype=np.float32) for name, shape in shapes.items()}
    body = "h = MatMul(x, a) s = Add(h, small) y = MatMul(s, b)"
    return parse("float[batch,4] x => float[batch,3] y", body, weights, {"": 20})


def test_altered_weights_are_refused(spec, store):
    """One changed bit in the file of weights makes the store and the server refuse the version."""
    version = publish(spec, store)
    path = version.folder / "main.onnx.data"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"main\.onnx\.data"):
        version.verify()
    with pytest.raises(IntegrityError, match=r"main\.onnx\.data"):
        load_version(version, Settings(store=store.root, provider="cpu"))


def test_weight_that_the_runtime_does_not_take_from_memory_is_refused_by_name():
    """A tensor above 2 GB cannot be served from memory, and the message names it."""
    model = make_model()
    huge = model.graph.initializer.add(name="huge", data_type=onnx.TensorProto.UINT8, raw_data=b"x")
    huge.dims.append(2**31 + 1)
    with pytest.raises(ExportError, match=r"weight 'huge' has 2,147,483,649 bytes.*split it"):
        serialise(model)


def test_missing_weights_do_not_come_from_the_disk(tmp_path, monkeypatch):
    """A file of that name in the working directory is not opened in place of the checked content."""
    files = serialise(make_model(), "m.onnx", 0)
    (tmp_path / "m.onnx.data").write_bytes(files.external["m.onnx.data"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExportError, match=r"m\.onnx\.data"):
        Runtime(files.content)


def test_model_with_weights_beside_it_is_published_and_served(spec, store):
    """The store verifies the version, the server loads it, and it answers as PyTorch does."""
    version = publish(spec, store)
    manifest = version.verify()
    assert manifest.graphs["main"].external_data == ("main.onnx.data",)
    assert manifest.files["main.onnx.data"].size_bytes >= 4 * (4 * 600 + 600 * 3)
    assert manifest.files["main.onnx"].size_bytes < 10_000
    loaded = load_version(version, Settings(store=store.root, provider="cpu"))
    x = torch.randn(6, 4)
    with torch.no_grad():
        expected = spec.module(x).numpy()
    assert np.allclose(loaded.session.run({"x": x.numpy()})[0], expected, atol=1e-5)


def test_offsets_are_pages_in_the_order_of_the_graph():
    """Large weights move at page offsets, small ones stay, and the same model gives the same two files."""
    first, second = (serialise(make_model(), "m.onnx", 0) for _ in range(2))
    assert first == second
    found = {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in onnx.load_from_string(first.content).graph.initializer
    }
    assert found == {
        "a": {"location": "m.onnx.data", "offset": "0", "length": "8000"},
        "small": {},
        "b": {"location": "m.onnx.data", "offset": "8192", "length": "6000"},
    }
    assert len(first.external["m.onnx.data"]) == 8192 + 6000


def test_weights_stay_in_the_graph_below_the_limit():
    """Weights move when they have more bytes than the limit."""
    assert serialise(make_model(), "m.onnx", 16_000).external == {}
    assert serialise(make_model(), "m.onnx", 15_999).external.keys() == {"m.onnx.data"}


def test_restored_model_is_the_one_that_was_taken_apart():
    """A model whose weights were moved out and put back has the same bytes."""
    assert restore(serialise(make_model(), "m.onnx", 0)) == make_model()


def test_check_of_a_model_without_its_weights_still_finds_what_does_not_fit():
    """Large weights become inputs of the same shape, so the checker needs no message above 2 GB."""
    from export.onnx.weights import without_weights

    light = without_weights(make_model())
    assert [value.name for value in light.graph.input] == ["x", "a", "b"]
    assert light.ByteSize() < 4000
    onnx.checker.check_model(light, full_check=True)
    wrong = make_model()
    wrong.graph.initializer[2].dims[:] = [300, 5]
    with pytest.raises(onnx.shape_inference.InferenceError, match="Incompatible dimensions"):
        onnx.checker.check_model(without_weights(wrong), full_check=True)
