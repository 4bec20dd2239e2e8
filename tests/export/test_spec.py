import subprocess
import sys

import pytest

from export import ExportSpec, SpecError
from model_store.tasks import Classes, Image, Sound

torch = pytest.importorskip("torch")
SERIES = {"inputs": {"x": torch.zeros(3, 9, 4)}, "dynamic": {"x": {0: "batch", 1: "time"}}}
TWO = {"x": torch.zeros(3, 4), "w": torch.zeros(3, 9)}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"name": "../up"}, "name '../up'"),
        ({"task": "sort"}, "task 'sort'"),
        ({"module": 3}, "module: expected a torch.nn.Module"),
        ({"inputs": {}}, "at least one sample tensor"),
        ({"inputs": {"x": [1, 2]}}, "at least one sample tensor"),
        ({"inputs": {"x": {"a": b"", "b": object()}}}, r"input 'x\.b': expected a torch.Tensor, got object"),
        ({"inputs": {"x.a": torch.zeros(3, 4), "x": {"a": torch.zeros(3, 4)}}}, r"two tensors are called 'x\.a'"),
        ({"inputs": {"x": torch.zeros(3, 1)}, "dynamic": {"x": {1: "t"}}}, "expected an example of 2 or more, got 1"),
        ({"inputs": {"x": torch.zeros(0, 4)}}, "at least one row"),
        ({"inputs": {"x": torch.zeros(3, device="meta")}}, "on the CPU, got meta"),
        ({"dynamic": {"z": {0: "batch"}}}, r"expected names of \['x'\], got 'z'"),
        ({"dynamic": {"x": {2: "time"}}}, r"axis 2 of 'x': the sample has the shape \(3, 4\)"),
        ({"dynamic": {"x": "batch"}}, "dynamic of 'x': expected {axis: name}, got 'batch'"),
        ({"dynamic": {"x": {0: 7}}}, "expected a name such as 'time', got 7"),
        ({"dynamic": {"x": {"a": {0: "batch"}}}}, r"expected names of \['x'\], got 'x.a'"),
        ({"dynamic": {"x": {0: "my rows"}}}, "expected a name such as 'time', got 'my rows'"),
        ({"dynamic": {"x": {0: "batch", 1: "batch"}}}, "axes of 'x': expected one called 'batch'"),
        (
            {"inputs": {"x": torch.zeros(3, 4), "w": torch.zeros(5, 4)}},
            "'batch' is 3 in another sample.*all rows share it",
        ),
        ({"inputs": TWO, "dynamic": {"x": {1: "t"}, "w": {1: "t"}}}, "'t' is 4 in another sample, 9 here"),
        ({"outputs": ()}, "outputs: expected at least one name"),
        ({"outputs": ("y", "y")}, "without duplicates"),
        ({"outputs": ("x",)}, "names of inputs"),
        ({"task": "classify"}, "needs labels and classes"),
        ({"classes": Classes(probabilities="p")}, "expected one of the outputs.*got 'p'"),
        ({"image": Image(input="z", channels=1, height=8, width=8)}, "image.input.*got 'z'"),
        ({"image": Image(input="x", graph="see", channels=1)}, r"image.graph: expected one of \['main'\], got 'see'"),
        ({"sound": Sound(input="z", rate=8)}, "sound.input.*got 'z'"),
        ({"finite": ("z",)}, "finite: expected an input of floats.*got 'z'"),
        ({"atol": float("nan")}, "atol: expected a number of 0 or more, got nan"),
        ({"rtol": -1.0}, "rtol: expected a number of 0 or more"),
        ({"scale_tol": -1.0}, "scale_tol: expected a number of 0 or more"),
        ({"low_precision": {"bf16": 0.1}}, "low_precision: expected a share.*fp16, int8, got 0.1 for 'bf16'"),
        ({"low_precision": {"int8": -0.1}}, "low_precision: expected a share.*got -0.1 for 'int8'"),
        ({"external_data_bytes": -1}, "external_data_bytes: expected 0 or more, got -1"),
        ({"batches": (1,)}, "at least one above 1"),
        ({"batches": (0, 2)}, "sizes from 1"),
        ({"seeds": ()}, "seeds: expected one or more"),
        ({"golden_rows": 0}, "golden_rows: expected 1 or more"),
        ({"lengths": ({"time": 3},)}, r"lengths: expected sizes of \[\], got {'time': 3}"),
        ({"lengths": ()}, "leave it at None"),
        ({"bounds": {"time": (1, 64)}}, r"bounds: expected .* a dynamic axis of \[\], .*got 'time': \(1, 64\)"),
        ({**SERIES, "bounds": {"time": (1, 8)}}, r"the example's within them, got 'time': \(1, 8\)"),
        ({**SERIES, "bounds": {"time": (0, None)}}, "a least size of 1 or more"),
        ({**SERIES, "bounds": {"time": (2, 20)}, "lengths": ({"time": 21},)}, r"lengths: time=21 is outside"),
        ({"samples": {"z": torch.zeros(3, 4)}}, r"samples: expected \['x'\], got \['z'\]"),
        ({"samples": {"x": {1, 2}}}, "samples of 'x': expected a torch.Tensor, got set"),
        ({"samples": {"x": torch.zeros(0, 4)}}, "at least one"),
        ({"samples": {"x": torch.zeros(3, 5)}}, r"samples of 'x': expected torch.float32 like \(3, 4\)"),
        ({"samples": {"x": torch.zeros(3, 4).double()}}, "got torch.float64"),
        ({"inputs": TWO, "samples": {"x": torch.zeros(5, 4), "w": torch.zeros(6, 9)}}, "equally many rows"),
    ],
)
def test_contradiction_is_refused_where_it_is_written(make_spec, fields, complaint):
    """A spec that contradicts itself cannot be built; the message says what was expected and what came."""
    with pytest.raises(SpecError, match=complaint):
        make_spec(**fields)


def test_rows_are_on_axis_0_unless_said_otherwise(make_spec):
    """By default every input has its batch on axis 0; with an empty mapping none has."""
    assert make_spec().batched == ("x",)
    assert make_spec(dynamic={}).batched == ()
    assert make_spec(inputs=TWO).example_sizes == {"batch": 3}


def test_factory_is_called_when_the_model_is_exported(make_spec):
    """A function in place of the module is called on export, and must return a module."""
    from export.original import Original

    calls = []
    spec = make_spec(module=lambda: calls.append(1) or torch.nn.Linear(4, 3))
    assert calls == []
    assert isinstance(Original(spec).module, torch.nn.Linear)
    with pytest.raises(SpecError, match=r"expected a torch\.nn\.Module.*got int"):
        Original(make_spec(module=lambda: 3))


def test_spec_cannot_be_changed(make_spec):
    """A spec is immutable."""
    spec = make_spec()
    with pytest.raises(AttributeError):
        spec.name = "other"
    assert isinstance(spec, ExportSpec)


def test_importing_the_package_imports_no_torch():
    """The errors, the spec, the registry, the command line and the digits work without torch."""
    code = (
        "import sys, export, export.cli, export.zoo, export.zoo.data.digits, export.zoo.quality.calibration; "
        "sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
