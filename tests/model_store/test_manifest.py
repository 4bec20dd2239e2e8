"""The manifest: strict when it is read, equal when it is written and read again."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store import BadManifest, Manifest, StoreError
from model_store.datatypes import DATATYPES
from model_store.graph import Graph, Tensor
from model_store.manifest import Batching, Golden
from tests.support.models.manifests import describe

Json = dict[str, Any]

CLASSIFIER: Json = {
    "schema_version": 1,
    "name": "digits",
    "task": "classify",
    "graphs": {
        "main": {
            "file": "main.onnx",
            "inputs": [{"name": "image", "datatype": "FP32", "shape": ["batch", 1, 2, 2], "batch_axis": 0}],
            "outputs": [{"name": "p", "datatype": "FP32", "shape": ["batch", 3], "batch_axis": 0}],
        }
    },
    "files": {"main.onnx": {"sha256": "0" * 64, "size_bytes": 3}},
    "golden": {"rows": 2, "atol": 0.0, "rtol": 1e-5},
    "labels": ["a", "b", "c"],
    "classes": {"probabilities": "p"},
    "image": {"input": "image", "channels": 1, "height": 2, "width": 2},
}


def read(value: Json) -> Manifest:
    return Manifest.from_json(json.dumps(value).encode(), "digits/1/manifest.json")


def put(*path_and_value: Any) -> Callable[[Json], None]:
    """A change of the manifest: the last argument is put at the path before it."""
    *path, last, value = path_and_value

    def change(manifest: Json) -> None:
        for key in path:
            manifest = manifest[key]
        manifest[last] = value

    return change


def test_bf16_is_for_tensors_only() -> None:
    """The task routes answer in JSON, which has no BF16."""
    brain = copy.deepcopy(CLASSIFIER)
    brain["graphs"]["main"]["outputs"][0]["datatype"] = "BF16"
    with pytest.raises(
        BadManifest, match="task classify: 'p' of the graph 'main' is BF16, which only the task tensors"
    ):
        read(brain)
    brain |= {"task": "tensors", "labels": [], "classes": None, "image": None}
    assert read(brain).graphs["main"].outputs[0].datatype == "BF16"


MAIN = ("graphs", "main")
IMAGE = (*MAIN, "inputs", 0)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (put("labelz", []), "labelz: unknown field"),
        (put(*MAIN, "device", "cuda"), "graphs.main.device: unknown"),
        (put("batching", {"max_wait": 1}), "batching.max_wait: unknown"),
        (put("schema_version", 99), r"schema 99: .* reads schemas 1 to "),
        (put("task", "translate"), r"task: .*got 'translate'\)"),
        (put("task", None), r"task: .*got None\)"),
        (put("name", "../digits"), "name: expected letters, digits"),
        (put("name", "digits\n"), "name: expected letters, digits"),
        (put("name", "x" * 101), "name: expected at most 100 characters"),
        (put(*MAIN, "file", "../main.onnx"), "graphs.main.file: expected a text that matches"),
        (put(*MAIN, "external_data", ["/etc/passwd"]), "graphs.main.external_data.0: expected a text that matches"),
        (put("files", {".hidden": {"sha256": "0" * 64, "size_bytes": 0}}), "files.*: expected a text that matches"),
        (put("files", "main.onnx", "sha256", "A" * 64), "files.main.onnx.sha256: expected a text that matches"),
        (put("files", "main.onnx", "size_bytes", -1), "size_bytes: expected greater than or equal to 0"),
        (put("files", "main.onnx", "size_bytes", "3"), "size_bytes: expected a valid integer"),
        (put(*IMAGE, "datatype", "FLOAT"), "datatype 'FLOAT': expected one of BOOL, .*BYTES"),
        (put(*IMAGE, "batch_axis", 4), "batch_axis 4 lies outside the shape"),
        (put(*IMAGE, "batch_axis", -1), "batch_axis -1 lies outside the shape"),
        (put("golden", "rows", 0), "golden.rows: expected greater than or equal to 1"),
        (put("golden", "atol", -1e-9), "golden.atol: expected greater than or equal to 0"),
        (put("golden", "rtol", float("nan")), "golden.rtol: expected a finite number"),
        (put("graphs", {}), "graphs: expected one called 'main', got none"),
        (put("image", "input", "picture"), "image.input 'picture' is not an input of the graph 'main'"),
        (put("image", "channels", 4), r"image.channels: .*got 4\)"),
        (put("image", "width", 0), "image.width: expected greater than or equal to 1"),
        (put("labels", []), "task classify needs labels and classes"),
        (put("classes", None), "task classify needs labels and classes"),
        (put("labels", ["a", "b"]), "'p' has rows of .*, but there are 2 labels"),
        (put("classes", "probabilities", "q"), "classes: 'q' is not an output of the graph 'main'"),
        (put("classes", "logits", "q"), "classes: 'q' is not an output of the graph 'main'"),
        (put("batching", {"max_rows": 0}), "batching.max_rows: expected greater than or equal to 1"),
        (put("batching", {"max_wait_s": -1}), "batching.max_wait_s: expected greater than or equal to 0"),
    ],
)
def test_manifest_that_contradicts_itself_is_refused(change: Callable[[Json], None], complaint: str) -> None:
    """Unknown, mistyped and contradictory fields are refused with file, field and value."""
    value = copy.deepcopy(CLASSIFIER)
    change(value)
    with pytest.raises(BadManifest, match=r"^digits/1/manifest\.json: .*" + complaint):
        read(value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"null"])
def test_manifest_that_is_no_object_is_refused(text: bytes) -> None:
    """Anything but a JSON object is a BadManifest."""
    with pytest.raises(BadManifest, match=r"^m/1: the whole: "):
        Manifest.from_json(text, "m/1")


def test_no_more_than_three_complaints_are_told() -> None:
    """At most three faults are listed."""
    with pytest.raises(BadManifest) as caught:
        read(CLASSIFIER | {f"x{i}": 0 for i in range(9)})
    assert str(caught.value).count("unknown") == 3


def test_finite_texts_are_refused() -> None:
    """A text cannot be checked for NaN."""
    with pytest.raises(pydantic.ValidationError, match="finite"):
        Tensor(name="x", datatype="BYTES", shape=("batch",), batch_axis=0, finite=True)


def test_picture_of_another_shape_than_its_input_is_refused() -> None:
    """Pictures must have the shape that the input takes."""
    with pytest.raises(BadManifest, match="image"):
        read(CLASSIFIER | {"image": {"input": "image", "channels": 3, "height": 9, "width": 2}})


def test_valid_manifest_is_read() -> None:
    """The manifest that the faulty ones are made from is valid."""
    manifest = read(CLASSIFIER)
    assert manifest.labels == ("a", "b", "c")
    assert manifest.golden == Golden(rows=2, atol=0.0, rtol=1e-5)
    assert manifest.batching == Batching()


def test_manifest_does_not_change() -> None:
    """A manifest is immutable."""
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        read(CLASSIFIER).name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("axis", "row_shape"), [(None, ("batch", 3, "t")), (0, (3, "t")), (1, ("batch", "t")), (2, ("batch", 3))]
)
def test_row_shape_is_the_shape_without_its_batch_axis(axis: int | None, row_shape: tuple[int | str, ...]) -> None:
    """A row lacks the batch axis only, wherever that is."""
    assert Tensor(name="x", datatype="FP32", shape=("batch", 3, "t"), batch_axis=axis).row_shape == row_shape


tensors = st.builds(
    Tensor,
    name=st.text(max_size=8),
    datatype=st.sampled_from(list(DATATYPES)),
    shape=st.lists(st.one_of(st.integers(0, 1 << 40), st.text(max_size=5)), max_size=5).map(tuple),
)
graphs = st.builds(
    Graph, file=st.just("main.onnx"), inputs=st.tuples(tensors), outputs=st.lists(tensors, max_size=2).map(tuple)
)


@settings(deadline=None, max_examples=50)
@given(
    graph=graphs,
    description=st.text(max_size=20),
    rtol=st.floats(0, allow_infinity=False),
    wait_s=st.none() | st.floats(0, 10),
)
def test_manifest_survives_writing_and_reading(
    graph: Graph, description: str, rtol: float, wait_s: float | None
) -> None:
    """A manifest that is written and read again is equal."""
    manifest = Manifest(
        name="m",
        task="tensors",
        description=description,
        graphs={"main": graph},
        golden=Golden(rows=1, atol=0.0, rtol=rtol),
        batching=Batching(max_wait_s=wait_s),
    )
    assert Manifest.from_json(manifest.to_json(), "m/1") == manifest


@pytest.mark.parametrize(
    "document",
    [
        {"files": {"a\n\x1b[31mERROR all is lost": {"sha256": "0"}}},
        {"schema_version": 99, "sluice": "2.0\n\x1b[31mERROR all is lost"},
        {"sluice": "2.0\n\x1b[31mERROR all is lost", "unknown": 1},
    ],
)
def test_no_text_of_a_manifest_forges_a_line(document: dict[str, object]) -> None:
    """What a manifest holds is told in one line that controls no terminal: it goes into the log."""
    text = json.dumps({**json.loads(describe().to_json()), **document}).encode()
    with pytest.raises(StoreError) as caught:
        Manifest.from_json(text, "m/1/manifest.json")
    assert str(caught.value).isprintable()
