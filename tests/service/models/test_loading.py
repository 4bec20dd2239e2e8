"""Loading: a version serves only after it has proved itself."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data

from model_store import GoldenSamples, IntegrityError, Manifest, ModelVersion, Store
from model_store.datatypes import DATATYPES, datatype_of
from model_store.errors import BadGraph, BadManifest, StoreError
from model_store.graph import Graph, Tensor
from model_store.manifest import Batching, Golden
from model_store.tasks import Sound
from service.engine.batching.cost import CostModel
from service.engine.execution.runner import AllCores
from service.engine.onnx.providers import CPU
from service.engine.onnx.session import Session
from service.errors import NotReady
from service.models import loading
from service.models.loading import LoadedVersion, load_version
from service.settings import Settings
from tests.support.models import graphs

SETTINGS = Settings(provider="cpu", max_rows=8)


def tensor(name: str, *row_shape: int | str, datatype: str = "FP32") -> Tensor:
    return Tensor(name=name, datatype=datatype, shape=("batch", *row_shape), batch_axis=0)


X, Y = tensor("x", 3), tensor("y", 3)
ROWS = np.array([[1, 2, 3], [4, -5, 6], [0.5, 0, 9]], np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def publish(
    store: Store,
    content: bytes,
    inputs: tuple[Tensor, ...] = (X,),
    outputs: tuple[Tensor, ...] = (Y,),
    *,
    golden: GoldenSamples | None = None,
    atol: float = 0.0,
    rtol: float = 0.0,
    external: Mapping[str, bytes] | None = None,
    batching: Batching | None = None,
) -> ModelVersion:
    graph = Graph(file="main.onnx", external_data=tuple(external or ()), inputs=inputs, outputs=outputs)
    files = {"main.onnx": content, **(external or {})}
    if golden:
        files["golden.npz"] = golden.to_bytes()
    manifest = Manifest(
        name="m",
        task="tensors",
        graphs={"main": graph},
        golden=Golden(rows=2, atol=atol, rtol=rtol) if golden else None,
        batching=batching or Batching(),
    )
    return store.publish(manifest, files)


def of_arrays(**arrays: np.ndarray) -> tuple[tuple[Tensor], ...]:
    """Inputs and outputs with rows like those of these arrays."""
    return tuple((tensor(n, *a.shape[1:], datatype=datatype_of(a).name),) for n, a in arrays.items())


def load(version: ModelVersion, **settings: object) -> LoadedVersion:
    return load_version(version, SETTINGS.replace(**settings))


def test_model_of_sounds_needs_the_libraries(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them it cannot serve, and the reason says what to install; other models need none."""
    plain = publish(store, graphs.double(), golden=None)
    manifest = plain.read_manifest().model_copy(update={"name": "s", "sound": Sound(input="x", rate=8, window=3)})
    sounds = store.publish(manifest, {"main.onnx": graphs.double()})
    assert load(sounds).manifest.sound is not None
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(StoreError, match=r"^s version 1: sounds need .*: install sluice-serving\[sound\]$"):
        load(sounds)
    load(plain)


def samples(inputs: np.ndarray, outputs: np.ndarray) -> GoldenSamples:
    return GoldenSamples({"x": inputs}, {"y": outputs})


def identity(row_shape: tuple[int, ...], datatype: int) -> bytes:
    shape = ["batch", *row_shape]
    node = helper.make_node("Identity", ["x"], ["y"])
    return graphs.build([node], [("x", datatype, shape)], [("y", datatype, shape)])


@pytest.mark.parametrize(("of_graph", "expected"), [(3, 3), (100, 8), (None, 8)])
def test_batches_have_no_more_rows_than_their_graph_allows(store: Store, of_graph: int | None, expected: int) -> None:
    """The bound that a graph has for its memory limits what its model and the settings say."""
    graph = Graph(file="main.onnx", inputs=(X,), outputs=(Y,), max_rows=of_graph)
    version = store.publish(Manifest(name="m", task="tensors", graphs={"main": graph}), {"main.onnx": graphs.double()})
    assert load(version).max_rows == expected


def with_external_weights() -> tuple[bytes, bytes]:
    """y = x * w, where w = 0, 1, 2… lies in the file ``weights.bin``."""
    weights = np.arange(300, dtype=np.float32)
    tensors = [("x", TensorProto.FLOAT, ["batch", 300])], [("y", TensorProto.FLOAT, ["batch", 300])]
    model = onnx.load_from_string(
        graphs.build([helper.make_node("Mul", ["x", "w"], ["y"])], *tensors, constants={"w": weights})
    )
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    for initializer in model.graph.initializer:
        initializer.ClearField("raw_data")
    return model.SerializeToString(), weights.tobytes()


WIDE = (tensor("x", 300),), (tensor("y", 300),)
SCALED, WEIGHTS = with_external_weights()


@pytest.mark.parametrize("file", ["main.onnx", "golden.npz", "weights.bin"])
def test_tampered_file_is_refused_before_it_is_opened(store: Store, file: str) -> None:
    """A file that is not the published one is refused, though it would load and agree."""
    if file == "weights.bin":
        version = publish(store, SCALED, *WIDE, external={file: WEIGHTS})
        other = WEIGHTS[:-1] + b"\x40"
    else:
        version = publish(store, graphs.double(), golden=samples(ROWS, 2 * ROWS))
        less = samples(ROWS[:2], 2 * ROWS[:2]).to_bytes()
        other = graphs.double("width") if file == "main.onnx" else less
    (version.folder / file).write_bytes(other)
    with pytest.raises(IntegrityError, match=f"{file} is not the file that was published"):
        load(version)


@pytest.mark.parametrize("field", ["atol", "rtol"])
def test_golden_samples_that_prove_nothing_are_refused(store: Store, field: str) -> None:
    """A manifest whose tolerance any answer would pass does not get its version into service."""
    version = publish(store, graphs.double(), golden=samples(ROWS, -ROWS), **{field: 0.25})
    path = version.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["golden"][field] = 1e9
    path.write_text(json.dumps(manifest))
    with pytest.raises(BadManifest, match="they prove nothing"):
        load(version)


def test_added_file_is_refused(store: Store) -> None:
    """A file that was put into the version's folder keeps the version from serving."""
    version = publish(store, graphs.double())
    (version.folder / "weights.bin").touch()
    with pytest.raises(IntegrityError, match=r"weights\.bin in m/1 is not in its manifest"):
        load(version)


@pytest.mark.parametrize(
    ("content", "external"),
    [(b"not onnx", {}), (SCALED, {"weights.bin": WEIGHTS[:100]}), (SCALED, {})],
    ids=["no graph", "weights too short", "weights that the manifest does not list"],
)
def test_graph_that_cannot_be_opened_is_not_ready(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, external: dict[str, bytes]
) -> None:
    """The reason is that of ONNX Runtime. Weights without a digest are never read, wherever such a file lies."""
    (tmp_path / "weights.bin").write_bytes(WEIGHTS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadGraph, match="ONNX Runtime cannot load the graph"):
        load(publish(store, content, *WIDE, external=external))


def test_external_weights_are_loaded(store: Store) -> None:
    """A graph with weights in a file of its own computes with them, wherever the server was started."""
    assert WEIGHTS not in SCALED
    loaded = load(publish(store, SCALED, *WIDE, external={"weights.bin": WEIGHTS}))
    [y] = loaded.session.run({"x": np.full((1, 300), 2, np.float32)})
    np.testing.assert_array_equal(y[0], 2 * np.arange(300, dtype=np.float32))


CONTRADICTIONS = {
    "input name": ((tensor("z", 3),), (Y,), r"\[\('z'.*the graph has \[\('x'"),
    "input shape": ((tensor("x", 4),), (Y,), r".*4\)\)\], the graph has .*3\)\)\]"),
    "input with a free axis": ((tensor("x", "wide"),), (Y,), r".*None\)\)\], the graph has .*3\)\)\]"),
    "input datatype": ((tensor("x", 3, datatype="INT64"),), (Y,), ".*INT64.*the graph has .*FP32"),
    "output name": ((X,), (tensor("z", 3),), r"\[\('z'.*the graph has \[\('y'"),
    "output shape": ((X,), (tensor("y", 4),), r".*4\)\)\], the graph has .*3\)\)\]"),
    "output datatype": ((X,), (tensor("y", 3, datatype="INT64"),), ".*INT64.*the graph has .*FP32"),
}


def test_output_may_be_described_with_an_axis_that_onnx_runtime_knows_the_size_of(store: Store) -> None:
    """Exporters leave an axis free whose size ONNX Runtime infers, in one release or another: such a version serves."""
    loaded = load(publish(store, graphs.double(), (X,), (tensor("y", "wide"),), golden=samples(ROWS, 2 * ROWS)))
    assert loaded.session.run({"x": ROWS})[0].tolist() == (2 * ROWS).tolist()


@pytest.mark.parametrize("golden", [None, samples(ROWS, 2 * ROWS)], ids=["without samples", "with samples"])
@pytest.mark.parametrize(("inputs", "outputs", "reason"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_manifest_that_contradicts_its_graph_is_refused(
    store: Store, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], reason: str, golden: GoldenSamples | None
) -> None:
    """The reason has both descriptions. It is found before the version serves, with golden samples and without."""
    with pytest.raises(NotReady, match=f"the manifest describes {reason}"):
        load(publish(store, graphs.double(), inputs, outputs, golden=golden))


@pytest.mark.parametrize(
    ("atol", "rtol", "agrees"),
    [
        (0.0, 0.0, False),
        (0.009, 0.0, False),
        (0.0, 0.0009, False),
        (0.004, 0.0004, False),
        (0.011, 0.0, True),
        (0.0, 0.0011, True),
        (0.006, 0.0006, True),
    ],
)
def test_golden_samples_agree_within_their_tolerance(store: Store, atol: float, rtol: float, agrees: bool) -> None:
    """A difference of at most atol + rtol * expected is told; else the reason has place, both numbers and bounds."""
    expected = 2 * ROWS
    expected[1, 1] += 0.01
    version = publish(store, graphs.double(), golden=samples(ROWS, expected), atol=atol, rtol=rtol)
    if agrees:
        assert load(version).golden_error == pytest.approx(0.01, rel=1e-3)
        return
    with pytest.raises(NotReady) as caught:
        load(version)
    assert str(caught.value) == (
        f"golden samples on {CPU}: output 'y' at [1, 1] is -10, expected -9.99 within {atol:g} + {rtol:g} of it"
    )


BF16_ROWS = ROWS.astype(DATATYPES["BF16"].dtype)
MASKED = np.where(ROWS == 1, -np.inf, ROWS)
LEAST = np.array([[-128, 0, 127], [1, 2, 3]], np.int8)
FLAGS = np.array([[True, False, True]])
TEXTS = np.array([["one text", "another", ""], ["a third", "and", "so on"]])


@pytest.mark.parametrize(
    ("content", "x", "y", "rtol"),
    [
        (graphs.triple_bf16(), BF16_ROWS, BF16_ROWS * BF16_ROWS.dtype.type(3), 0.0),
        (graphs.double(), MASKED, 2 * MASKED, 0.0),
        (identity((3,), TensorProto.INT8), LEAST, LEAST, 0.1),
        (identity((3,), TensorProto.BOOL), FLAGS, FLAGS, 0.0),
        (graphs.echo(TensorProto.STRING, 3), TEXTS, TEXTS, 0.0),
    ],
    ids=["BF16", "minus infinity", "INT8, its least number", "BOOL", "texts"],
)
def test_samples_of_any_datatype_agree(store: Store, content: bytes, x: np.ndarray, y: np.ndarray, rtol: float) -> None:
    """Equal outputs agree, whatever their datatype, and texts too, though each run makes new strings."""
    loaded = load(publish(store, content, *of_arrays(x=x, y=y), golden=samples(x, y), rtol=rtol))
    assert (loaded.golden_error, loaded.rows.verdict, loaded.bits, loaded.max_rows) == (0.0, "proved", "exact", 8)


NAN, INFINITE = (np.where(ROWS == 0.5, np.float32(bad), ROWS) for bad in (np.nan, np.inf))
DISAGREEMENTS = {
    "NaN in": (graphs.double(), NAN, {"y": 2 * ROWS}, r"golden samples on .*: output 'y' at \[2, 0\] is "),
    "NaN out": (graphs.double(), ROWS, {"y": 2 * NAN}, r"golden samples on .*: output 'y' at \[2, 0\] is "),
    "infinity in": (graphs.double(), INFINITE, {"y": 2 * ROWS}, r"golden samples on .*: output 'y' at \[2, 0\] is "),
    "infinity out": (graphs.double(), ROWS, {"y": 2 * INFINITE}, r"golden samples on .*: output 'y' at \[2, 0\] is "),
    "another shape": (graphs.double(), ROWS, {"y": 2 * ROWS[:1]}, r"'y' has shape \(3, 3\), expected \(1, 3\)"),
    "no output": (graphs.double(), ROWS, {}, "'y'"),
    "an unknown output": (graphs.double(), ROWS, {"z": ROWS}, "'z'"),
    "other BF16": (graphs.triple_bf16(), BF16_ROWS, {"y": BF16_ROWS}, r"'y' at \[2, 2\] is 27, expected 9 within"),
    "other BOOL": (identity((3,), TensorProto.BOOL), FLAGS, {"y": ~FLAGS}, "'y' differs from what was exported"),
    "values that fail": (
        graphs.look_up(),
        np.array([[7]]),
        {"y": np.float32([[10]])},
        "the graph fails on its own samples: .*out of data bounds",
    ),
}


@pytest.mark.parametrize(("content", "x", "expected", "reason"), DISAGREEMENTS.values(), ids=DISAGREEMENTS)
def test_golden_samples_that_disagree_are_refused(
    store: Store, content: bytes, x: np.ndarray, expected: dict[str, np.ndarray], reason: str
) -> None:
    """The reason says which output differs and how, or why the graph cannot run, however wide the tolerance is."""
    tensors = of_arrays(x=x, y=expected.get("y", x))
    version = publish(store, content, *tensors, golden=GoldenSamples({"x": x}, expected), atol=2.5)
    with pytest.raises(NotReady, match=reason), np.errstate(all="ignore"):
        load(version)


PAIR = (tensor("x", 2),), (tensor("y", 2),)


@pytest.mark.parametrize(("golden_rows", "max_rows"), [(0, 8), (0, 2), (1, 8), (2, 8)])
def test_rows_that_influence_each_other_are_found_out(store: Store, golden_rows: int, max_rows: int) -> None:
    """A graph that subtracts the mean of its batch runs one row at a time, whatever its samples and batches are."""
    rows = np.array([[1, 2], [3, 5]], np.float32)[:golden_rows]
    golden = samples(rows, rows - rows.mean(0)) if golden_rows else None
    loaded = load(publish(store, graphs.mixing(), *PAIR, golden=golden, atol=1e-6), max_rows=max_rows)
    assert (loaded.rows.verdict, loaded.least_rows, loaded.max_rows) == ("mixing", 1, 1)


@pytest.mark.parametrize("max_rows", [1, 2, 3, 8])
def test_independent_rows_are_exact(store: Store, max_rows: int) -> None:
    """A graph whose rows are independent gives the same bits alone and in company, whatever the largest batch."""
    loaded = load(publish(store, graphs.double(), golden=samples(ROWS, 2 * ROWS)), max_rows=max_rows)
    assert (loaded.bits, loaded.least_rows, loaded.max_rows) == ("exact", 1, max_rows)


def test_loaded_version_has_learned_what_it_costs(store: Store) -> None:
    """Every size up to the largest batch, which the manifest may lower, was run, and has a cost."""
    loaded = load(publish(store, graphs.double(), batching=Batching(max_rows=3)))
    assert loaded.max_rows == 3
    assert all(loaded.cost.predict(rows) > 0 for rows in range(1, 4))
    assert loaded.golden_error is None
    assert loaded.load_s > 0


def test_plain_repository_is_served_by_the_signature_of_its_graph(tmp_path: Path) -> None:
    """A model.onnx without a manifest gets one from the graph: tensors, datatypes, batch axis and digest."""
    loaded = load(Store(graphs.write_plain(tmp_path, "plain", graphs.double("width"), 4)).find("plain"))
    main = loaded.manifest.graphs["main"]
    assert (main.inputs, main.outputs) == ((tensor("x", "width"),), (tensor("y", "width"),))
    assert (loaded.manifest.name, loaded.manifest.task, loaded.golden_error) == ("plain", "tensors", None)
    assert loaded.manifest.files["model.onnx"].size_bytes == len(graphs.double("width"))
    assert (loaded.rows.verdict, loaded.bits) == ("proved", "exact")


def test_graph_without_a_batch_axis_takes_one_request_at_a_time(tmp_path: Path) -> None:
    """Without a batch axis there is no company to prove, and no batch of more than one."""
    loaded = load(Store(graphs.write_plain(tmp_path, "single", graphs.one_at_a_time())).find("single"))
    assert (loaded.rows.verdict, loaded.max_rows, loaded.least_rows) == ("unknown", 1, 1)
    assert not loaded.signature.batches
    assert loaded.cost.predict(1) > 0


@pytest.mark.parametrize(
    ("width", "require_exact", "bits", "widens"),
    [
        (3, False, "exact", True),
        (3, True, "exact", True),
        ("width", False, "exact on one core", True),
        ("width", True, "exact", False),
    ],
)
def test_runs_on_all_cores_of_free_sizes_are_told_and_can_be_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch, width: int | str, require_exact: bool, bits: str, widens: bool
) -> None:
    """The trial at load cannot cover every size: threads divide a tensor by its size, and round with it."""
    version = publish(store, graphs.double(width), (tensor("x", width),), (tensor("y", width),))
    monkeypatch.setattr(loading, "count_cores", lambda: 2)
    monkeypatch.setattr(loading, "measure_costs", _pretend_that_threads_pay)
    loaded = load(version, require_exact=require_exact, workers=1)
    assert (loaded.bits, loaded.all_cores is not None) == (bits, widens)


def _pretend_that_threads_pay(
    session: Session, ready: object, open_on: object, threads: int, axes: object, budget: object, graph: object
) -> tuple[CostModel, AllCores | None]:
    return CostModel(), AllCores(session, CostModel(), threads) if threads > 1 else None
