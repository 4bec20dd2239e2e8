"""Golden samples: what is read as such, and which tolerances prove something."""

import io
from pathlib import Path

import numpy as np
import pytest

from model_store import BadManifest, GoldenSamples, IntegrityError, Manifest, Store
from model_store.datatypes import DATATYPES
from model_store.golden import check_tolerance
from model_store.graph import Graph, Tensor
from model_store.manifest import Golden

OUTPUT = np.array([[0.25, -1.0], [0.5, 0.125]], np.float32)


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{"in.x": np.array([["a"]], object)})
    return buffer.getvalue()


CUT_OFF = GoldenSamples({"x": OUTPUT}, {"y": OUTPUT}).to_bytes()[:-10]


@pytest.mark.parametrize("content", [b"", b"PK", b"no arrays", CUT_OFF, pickled()])
def test_what_is_no_file_of_arrays_is_an_integrity_error(content: bytes) -> None:
    """Whatever NumPy raises for it. Arrays of objects, which it stores as pickles, are never unpickled."""
    with pytest.raises(IntegrityError, match=r"golden samples: expected NumPy's \.npz: "):
        GoldenSamples.from_bytes(content)


@pytest.mark.parametrize(
    ("output", "atol", "rtol", "is_proof"),
    [
        (OUTPUT, 0.0, 0.0, True),
        (OUTPUT, 0.49, 0.0, True),
        (OUTPUT, 0.5, 0.0, False),
        (OUTPUT, 0.0, 0.5, False),
        (OUTPUT, 0.25, 0.25, False),
        (OUTPUT, 1e300, 0.0, False),
        (OUTPUT, 0.0, 1e300, False),
        (1e-4 * OUTPUT, 1e-3, 0.0, False),
        (0 * OUTPUT, 1e-3, 1e300, True),
        (0 * OUTPUT, 0.5, 0.0, False),
        (np.array([np.nan, 2.0, np.inf]), 0.9, 0.0, True),
        (np.array([np.nan, 2.0, np.inf]), 1.0, 0.0, False),
        (OUTPUT.astype(DATATYPES["BF16"].dtype), 0.5, 0.0, False),
        (np.array([1, 3]), 1.5, 0.0, False),
        (np.array([True]), 10.0, 0.0, True),
        (np.array(["a"], object), 10.0, 0.0, True),
        (np.zeros((0, 2)), 10.0, 0.0, True),
    ],
)
def test_tolerance_is_less_than_half_of_the_magnitude(
    output: np.ndarray, atol: float, rtol: float, is_proof: bool
) -> None:
    """With more, zeros would pass, or another sign. Texts and truths have none, and are compared exactly."""
    facts, samples = Golden(rows=2, atol=atol, rtol=rtol), GoldenSamples({}, {"y": output})
    if is_proof:
        check_tolerance(facts, samples)
        return
    with pytest.raises(BadManifest, match=r"(?s)let output 'y' differ by .*: they prove nothing; expected less than"):
        check_tolerance(facts, samples)


def test_version_whose_tolerance_proves_nothing_is_not_published(tmp_path: Path) -> None:
    """Nor is one whose samples are none; nothing is left of it."""
    x = Tensor(name="x", datatype="FP32", shape=("batch", 2), batch_axis=0)
    graph = Graph(file="main.onnx", inputs=(x,), outputs=(x.model_copy(update={"name": "y"}),))
    manifest = Manifest(name="m", task="tensors", graphs={"main": graph}, golden=Golden(rows=2, atol=1.0, rtol=0.0))
    golden = GoldenSamples({"x": OUTPUT}, {"y": OUTPUT}).to_bytes()
    with pytest.raises(BadManifest, match="they prove nothing"):
        Store(tmp_path / "store").publish(manifest, {"main.onnx": b"", "golden.npz": golden})
    with pytest.raises(IntegrityError, match="golden samples"):
        Store(tmp_path / "store").publish(manifest, {"main.onnx": b"", "golden.npz": b"none"})
    assert not (tmp_path / "store").exists()
