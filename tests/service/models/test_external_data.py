"""Plain models whose weights lie in files of their own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from model_store import Store
from model_store.errors import BadLayout
from service.engine.tensors import Arrays
from service.models.loading import load_version
from service.settings import Settings
from tests.support.models.graphs import write_plain

FLOAT = TensorProto.FLOAT
W = np.arange(1, 4, dtype=np.float32)
X: Arrays = {"x": np.array([[1, 1, 1], [-1, -2, -3]], np.float32)}


def external(name: str = "w", **place: int | str) -> TensorProto:
    """The three numbers of ``W``, which a file holds at this place."""
    tensor = TensorProto(name=name, data_type=FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, value in ({"location": "w.bin"} | place).items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def model(nodes: list[onnx.NodeProto], weights: list[TensorProto]) -> ModelProto:
    infos = [[helper.make_tensor_value_info(name, FLOAT, ["batch", 3])] for name in "xy"]
    graph = helper.make_graph(nodes, "tiny", *infos, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def multiply() -> onnx.NodeProto:
    return helper.make_node("Mul", ["x", "w"], ["y"])


def constant() -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["w"], value=external())


def in_initializer() -> ModelProto:
    return model([multiply()], [external()])


def in_attribute() -> ModelProto:
    return model([constant(), multiply()], [])


def in_subgraph() -> ModelProto:
    def branch(weights: TensorProto) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{weights.name}y", FLOAT, ["batch", 3])
        return helper.make_graph(
            [helper.make_node("Mul", ["x", weights.name], [out.name])], "branch", [], [out], [weights]
        )

    branches = {"then_branch": branch(external("a", offset=0, length=12)), "else_branch": branch(external("b"))}
    return model([helper.make_node("If", ["yes"], ["y"], **branches)], [numpy_helper.from_array(np.array(True), "yes")])


def in_function() -> ModelProto:
    made = model([helper.make_node("Weigh", ["x"], ["y"], domain="own")], [])
    opset = [helper.make_opsetid("", 17)]
    made.functions.append(helper.make_function("own", "Weigh", ["x"], ["y"], [constant(), multiply()], opset))
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


def in_sparse() -> ModelProto:
    made = model([multiply()], [])
    indices = numpy_helper.from_array(np.arange(3))
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(external(), indices, [3]))
    return made


def write(root: Path, made: ModelProto, *files: str, content: bytes = W.tobytes()) -> Path:
    """A store with the model ``m`` and files of weights beside its ONNX file; returns the folder of its version."""
    folder = write_plain(root, "m", made.SerializeToString()) / "m/1"
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return folder


def answer(root: Path) -> np.ndarray:
    """What the loaded model makes of ``X``."""
    loaded = load_version(Store(root).find("m"), Settings(provider="cpu"))
    return loaded.session.run(X)[0]


BELOW = "expected a file below the folder of model.onnx"
PLACES: dict[str, tuple[dict[str, int | str], str]] = {
    "not there": ({"location": "other.bin"}, "m/1/other.bin is not there: copy it there"),
    "folder not there": ({"location": "weights/w.bin"}, "m/1/weights/w.bin is not there"),
    "above": ({"location": "../w.bin"}, BELOW),
    "above by a detour": ({"location": "a/../../w.bin"}, BELOW),
    "absolute": ({"location": "/etc/passwd"}, BELOW),
    "no name": ({"location": ""}, BELOW),
    "NUL": ({"location": "w\0.bin"}, BELOW),
    "long name": ({"location": "x" * 300}, "cannot be read: File name too long"),
    "too short": ({"length": 16}, "expected at least 16 bytes, got 12: copy it there again"),
    "too short behind its offset": ({"offset": 4, "length": 12}, "expected at least 16 bytes, got 12"),
    "offset below 0": ({"offset": -4, "length": 12}, "got 12"),
    "offset that is no number": ({"offset": "x"}, "expected numbers as offset and length of 'w'"),
}


@pytest.mark.parametrize(("place", "reason"), PLACES.values(), ids=PLACES)
def test_weights_that_cannot_be_had_are_named(tmp_path: Path, place: dict[str, int | str], reason: str) -> None:
    """A file that is missing, lies outside of the model's folder or is half a copy is refused by name, with why."""
    write(tmp_path, model([multiply()], [external(**place)]), "w.bin", "../w.bin")
    with pytest.raises(BadLayout) as caught:
        answer(tmp_path)
    named = f"m/1/model.onnx has weights in the file {place.get('location', 'w.bin')!r:.200}"
    assert reason in str(caught.value)
    assert "location" not in place or named in str(caught.value)


@pytest.mark.parametrize("make", [in_initializer, in_subgraph])
def test_weights_behind_a_link_out_of_the_store_are_refused(tmp_path: Path, make: Callable[[], ModelProto]) -> None:
    """A model cannot be made to give out a file of the machine as its weights; with the setting it may be one."""
    (tmp_path / "secret").write_bytes(W.tobytes())
    folder = write(tmp_path / "store", make())
    (folder / "w.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(BadLayout, match=r"m/1/w\.bin leads outside of the store .*SLUICE_FOLLOW_LINKS=true"):
        answer(tmp_path / "store")
    allowed = Store(tmp_path / "store", follow_links=True).find("m")
    assert allowed.read_plain().content


@pytest.mark.parametrize("make", [in_initializer, in_attribute, in_subgraph, in_function, in_sparse])
def test_weights_are_found_wherever_the_graph_has_them(tmp_path: Path, make: Callable[[], ModelProto]) -> None:
    """Whatever part of the file names them, the model answers what ONNX Runtime makes of the files in the folder."""
    folder = write(tmp_path, make(), "w.bin")
    bare = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(answer(tmp_path), bare.run(None, X)[0])


@pytest.mark.parametrize("location", ["weights/w.bin", "./w.bin", "weights/../w.bin", "../1/w.bin", "a b/ü.bin"])
def test_weights_in_folders_below_are_found(tmp_path: Path, location: str) -> None:
    """The name in the ONNX file is a path from its folder."""
    write(tmp_path, model([multiply()], [external(location=location)]), location, "weights/other")
    np.testing.assert_array_equal(answer(tmp_path), X["x"] * W)


def test_weights_lie_beside_the_file_in_a_folder_of_its_name(tmp_path: Path) -> None:
    """A folder model.onnx holds the ONNX file with its weights; a manifest names the file if it can hold the name."""
    folder = tmp_path / "m/1/model.onnx"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(in_initializer().SerializeToString())
    (folder / "w.bin").write_bytes(W.tobytes())
    np.testing.assert_array_equal(answer(tmp_path), X["x"] * W)
    for name, told in (("resnet.onnx", "resnet.onnx"), ("résnet.onnx", "model.onnx")):
        folder = write(tmp_path / name, in_initializer(), "w.bin")
        (folder / "model.onnx").rename(folder / name)
        loaded = load_version(Store(tmp_path / name).find("m"), Settings(provider="cpu"))
        assert loaded.manifest.graphs["main"].file == told
        assert loaded.manifest.files[told].size_bytes == (folder / name).stat().st_size


def test_files_that_the_model_does_not_name_stay_unread(tmp_path: Path) -> None:
    """Files that the model does not name are not opened, and an ONNX file that cannot be parsed is passed on."""
    folder = write(tmp_path, in_initializer(), "w.bin")
    for name in ("config.pbtxt", "labels.txt", "w2.bin"):
        (folder / name).symlink_to(name)
    assert list(Store(tmp_path).find("m").read_plain().external) == ["w.bin"]
    np.testing.assert_array_equal(answer(tmp_path), X["x"] * W)
    content = b"no onnx \x0a\x08location"
    assert Store(write_plain(tmp_path / "other", "m", content)).find("m").read_plain().content == content
