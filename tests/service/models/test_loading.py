"""Loading: a version serves only after it has proved itself."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data

from model_store import GoldenSamples, IntegrityError, Manifest, ModelVersion, Store
from model_store.datatypes import DATATYPES
from model_store.errors import BadGraph, BadManifest
from model_store.graph import Graph, Tensor
from model_store.manifest import Batching, Golden
from service.engine.batching.cost import CostModel
from service.engine.execution.runner import AllCores
from service.engine.onnx.providers import CPU, NAMES
from service.engine.onnx.session import Session
from service.errors import NotReady
from service.models import loading
from service.models.loading import LoadedVersion, load_version
from service.settings import Settings
from tests.support.models import graphs

BF16 = DATATYPES["BF16"].dtype
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


def load(version: ModelVersion, **settings: object) -> LoadedVersion:
    return load_version(version, SETTINGS.replace(**settings))


def samples(inputs: np.ndarray, outputs: np.ndarray) -> GoldenSamples:
    return GoldenSamples({"x": inputs}, {"y": outputs})


def identity(row_shape: tuple[int, ...], datatype: int) -> bytes:
    shape = ["batch", *row_shape]
    node = helper.make_node("Identity", ["x"], ["y"])
    return graphs.build([node], [("x", datatype, shape)], [("y", datatype, shape)])


# Files


@pytest.mark.parametrize(("of_graph", "expected"), [(3, 3), (100, 8), (None, 8)])
def test_batches_have_no_more_rows_than_their_graph_allows(store: Store, of_graph: int | None, expected: int) -> None:
    """What a graph says for its memory bounds what its model and the settings say."""
    graph = Graph(file="main.onnx", inputs=(X,), outputs=(Y,), max_rows=of_graph)
    version = store.publish(Manifest(name="m", task="tensors", graphs={"main": graph}), {"main.onnx": graphs.double()})
    assert load(version).max_rows == expected


@pytest.mark.parametrize("file", ["main.onnx", "golden.npz"])
def test_tampered_file_is_refused_before_it_is_opened(store: Store, file: str) -> None:
    """A graph or golden samples that are not the published ones are refused, though they would load and agree."""
    version = publish(store, graphs.double(), golden=samples(ROWS, 2 * ROWS))
    other = {"main.onnx": graphs.double("width"), "golden.npz": samples(ROWS[:2], 2 * ROWS[:2]).to_bytes()}
    (version.folder / file).write_bytes(other[file])
    with pytest.raises(IntegrityError, match=f"{file} is not the file that was published"):
        load(version)


@pytest.mark.parametrize("field", ["atol", "rtol"])
def test_golden_samples_that_prove_nothing_are_refused(store: Store, field: str) -> None:
    """A manifest whose tolerance any answer would pass does not get its version into service."""
    version = publish(store, graphs.double(), golden=samples(ROWS, -ROWS), **{field: 0.25})
    with pytest.raises(NotReady, match="golden samples on"):
        load(version)
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


def test_graph_that_is_none_is_not_ready(store: Store) -> None:
    """A published file that ONNX Runtime cannot read is the reason why the version does not serve."""
    with pytest.raises(BadGraph, match="ONNX Runtime cannot load the graph"):
        load(publish(store, b"not onnx"))


def with_external_weights() -> tuple[bytes, bytes]:
    """y = x * w, where w = 0, 1, 2… lies in the file ``weights.bin``."""
    weights = np.arange(300, dtype=np.float32)
    model = onnx.load_from_string(
        graphs.build(
            [helper.make_node("Mul", ["x", "w"], ["y"])],
            [("x", TensorProto.FLOAT, ["batch", 300])],
            [("y", TensorProto.FLOAT, ["batch", 300])],
            {"w": weights},
        )
    )
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    for initializer in model.graph.initializer:
        initializer.ClearField("raw_data")
    return model.SerializeToString(), weights.tobytes()


WIDE = (tensor("x", 300),), (tensor("y", 300),)


def test_tampered_external_weights_are_refused(store: Store) -> None:
    """Weights outside the graph's file are checked like the graph itself."""
    content, weights = with_external_weights()
    version = publish(store, content, *WIDE, external={"weights.bin": weights})
    (version.folder / "weights.bin").write_bytes(weights[:-1] + b"\x40")
    with pytest.raises(IntegrityError, match=r"weights\.bin is not the file that was published"):
        load(version)


def test_external_weights_that_are_too_short_are_not_ready(store: Store) -> None:
    """A weights file that was published too short is no crash but a reason."""
    content, weights = with_external_weights()
    with pytest.raises(BadGraph, match="ONNX Runtime cannot load the graph"):
        load(publish(store, content, *WIDE, external={"weights.bin": weights[:100]}))


def test_external_weights_without_a_digest_are_never_read(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph that names a weights file that its manifest does not list is refused, wherever such a file lies."""
    content, weights = with_external_weights()
    (tmp_path / "weights.bin").write_bytes(weights)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadGraph, match="cannot load the graph"):
        load(publish(store, content, *WIDE))


def test_external_weights_are_loaded(store: Store) -> None:
    """A graph with weights in a file of its own computes with them, wherever the server was started."""
    content, weights = with_external_weights()
    assert weights not in content
    loaded = load(publish(store, content, *WIDE, external={"weights.bin": weights}))
    [y] = loaded.session.run({"x": np.full((1, 300), 2, np.float32)})
    np.testing.assert_array_equal(y[0], 2 * np.arange(300, dtype=np.float32))


# The graph and its manifest


def test_graph_with_other_outputs_than_the_manifest_is_refused(store: Store) -> None:
    """A manifest that names an output that the graph does not give is refused, with both."""
    with pytest.raises(NotReady, match=r"the manifest describes \[\('z'.*the graph has \[\('y'"):
        load(publish(store, graphs.double(), outputs=(tensor("z", 3),)))


def test_graph_with_other_inputs_than_the_manifest_is_refused(store: Store) -> None:
    """Without golden samples, too, a graph that cannot take what the manifest declares fails before it serves."""
    with pytest.raises(NotReady, match=r"the manifest describes \[\('z'.*the graph has \[\('x'"):
        load(publish(store, graphs.double(), inputs=(tensor("z", 3),)))
    with pytest.raises(NotReady, match=r"the manifest describes .*4\)\)\], the graph has .*3\)\)\]"):
        load(publish(store, graphs.double(), inputs=(tensor("x", 4),)))


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ((tensor("z", 3),), (Y,)),
        ((tensor("x", 4),), (Y,)),
        ((tensor("x", 3, datatype="INT64"),), (Y,)),
        ((X,), (tensor("y", 4),)),
        ((X,), (tensor("y", 3, datatype="INT64"),)),
    ],
    ids=["input name", "input shape", "input datatype", "output shape", "output datatype"],
)
def test_manifest_that_contradicts_its_graph_is_refused(
    store: Store, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
) -> None:
    """Golden samples that pass do not excuse a manifest by which no request could be answered."""
    version = publish(store, graphs.double(), inputs, outputs, golden=samples(ROWS, 2 * ROWS))
    with pytest.raises(NotReady):
        load(version)


def test_required_provider_that_is_missing_is_refused_with_what_to_install(store: Store) -> None:
    """A version does not serve from the CPU where a GPU is required; the text says what to install."""
    if NAMES["cuda"] in ort.get_available_providers():
        pytest.skip("this build of ONNX Runtime has it")
    with pytest.raises(NotReady, match=r"provider 'cuda' is required.*install onnxruntime-gpu"):
        load(publish(store, graphs.double()), provider="cuda")


# Golden samples


@pytest.mark.parametrize(("atol", "rtol"), [(0.0, 0.0), (0.009, 0.0), (0.0, 0.0009), (0.004, 0.0004)])
def test_golden_samples_out_of_tolerance_are_refused(store: Store, atol: float, rtol: float) -> None:
    """An output that differs by more than atol + rtol * expected is refused, with place, both numbers and bounds."""
    expected = 2 * ROWS
    expected[1, 1] += 0.01
    version = publish(store, graphs.double(), golden=samples(ROWS, expected), atol=atol, rtol=rtol)
    with pytest.raises(NotReady) as caught:
        load(version)
    assert str(caught.value) == (
        f"golden samples on {CPU}: output 'y' at [1, 1] is -10, expected -9.99 within {atol:g} + {rtol:g} of it"
    )


@pytest.mark.parametrize(("atol", "rtol"), [(0.011, 0.0), (0.0, 0.0011), (0.006, 0.0006)])
def test_golden_samples_within_tolerance_are_accepted(store: Store, atol: float, rtol: float) -> None:
    """A difference within the bounds is accepted and told."""
    expected = 2 * ROWS
    expected[1, 1] += 0.01
    loaded = load(publish(store, graphs.double(), golden=samples(ROWS, expected), atol=atol, rtol=rtol))
    assert loaded.golden_error == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_no_agreement(store: Store, bad: float) -> None:
    """An output that became NaN or infinite is refused, however wide the tolerance, and so is the reverse."""
    broken = ROWS.copy()
    broken[2, 0] = bad
    for pair in (samples(broken, 2 * ROWS), samples(ROWS, 2 * broken)):
        version = publish(store, graphs.double(), golden=pair, atol=2.5)
        with (
            pytest.raises(NotReady, match=r"golden samples on .*: output 'y' at \[2, 0\] is "),
            np.errstate(all="ignore"),
        ):
            load(version)


BRAIN = (tensor("x", 3, datatype="BF16"),), (tensor("y", 3, datatype="BF16"),)


def test_golden_samples_of_bf16_are_compared(store: Store) -> None:
    """They keep their type in the file, and a difference beyond the tolerance is told as with any other float."""
    rows = ROWS.astype(BF16)
    good = publish(store, graphs.triple_bf16(), *BRAIN, golden=samples(rows, rows * BF16.type(3)))
    loaded = load(good)
    assert (loaded.golden_error, loaded.rows.verdict, loaded.bits, loaded.max_rows) == (0.0, "proved", "exact", 8)
    bad = publish(store, graphs.triple_bf16(), *BRAIN, golden=samples(rows, rows * BF16.type(2)))
    with pytest.raises(NotReady, match=r"output 'y' at \[2, 2\] is 27, expected 18 within 0"):
        load(bad)


def test_equal_infinities_are_an_agreement(store: Store) -> None:
    """An output of minus infinity, as masked logits have it, equals itself."""
    rows = ROWS.copy()
    rows[0, 0] = -np.inf
    assert load(publish(store, graphs.double(), golden=samples(rows, 2 * rows))).golden_error == 0.0


def test_least_integer_is_within_its_tolerance(store: Store) -> None:
    """The least number of an integer type, whose absolute value it cannot hold, equals itself."""
    rows = np.array([[-128, 0, 127], [1, 2, 3]], np.int8)
    tensors = (tensor("x", 3, datatype="INT8"),), (tensor("y", 3, datatype="INT8"),)
    golden = samples(rows, rows)
    assert load(publish(store, identity((3,), TensorProto.INT8), *tensors, golden=golden, rtol=0.1)).golden_error == 0.0


def test_golden_samples_of_another_shape_are_refused(store: Store) -> None:
    """Outputs of another shape are not broadcast into agreement."""
    version = publish(store, graphs.double(), golden=samples(ROWS, 2 * ROWS[:1]), atol=2.5)
    with pytest.raises(NotReady, match=r"output 'y' has shape \(3, 3\), expected \(1, 3\)"):
        load(version)


@pytest.mark.parametrize("flipped", [True, False])
def test_golden_samples_that_are_no_numbers_must_be_equal(store: Store, flipped: bool) -> None:
    """Booleans have no tolerance."""
    rows = np.array([[True, False, True]])
    tensors = (tensor("x", 3, datatype="BOOL"),), (tensor("y", 3, datatype="BOOL"),)
    golden = samples(rows, ~rows if flipped else rows)
    version = publish(store, identity((3,), TensorProto.BOOL), *tensors, golden=golden, atol=9.0)
    if not flipped:
        assert load(version).golden_error == 0.0
        return
    with pytest.raises(NotReady, match="output 'y' differs from what was exported"):
        load(version)


def test_graph_that_fails_on_its_golden_samples_is_refused(store: Store) -> None:
    """A run that raises is the reason why the version does not serve."""
    bad_row = np.array([[7]], np.int64)
    tensors = (tensor("x", 1, datatype="INT64"),), (tensor("y", 1),)
    version = publish(store, graphs.look_up(), *tensors, golden=samples(bad_row, np.zeros((1, 1), np.float32)))
    with pytest.raises(NotReady, match=r"the graph fails on its own samples: .*out of data bounds"):
        load(version)


def test_golden_samples_without_an_output_are_refused(store: Store) -> None:
    """Golden samples that leave an output out prove nothing of it."""
    with pytest.raises(NotReady):
        load(publish(store, graphs.double(), golden=GoldenSamples({"x": ROWS}, {})))


def test_golden_samples_of_another_output_are_refused(store: Store) -> None:
    """Golden samples of an output that the graph has not are a reason, not a failure of the loader."""
    with pytest.raises(NotReady, match="'z'"):
        load(publish(store, graphs.double(), golden=GoldenSamples({"x": ROWS}, {"z": ROWS})))


# Company

PAIR = (tensor("x", 2),), (tensor("y", 2),)


def test_rows_that_influence_each_other_are_found_out(store: Store) -> None:
    """A graph that subtracts the mean of its batch is found out, and runs one row at a time."""
    loaded = load(publish(store, graphs.mixing(), *PAIR))
    assert (loaded.rows.verdict, loaded.least_rows, loaded.max_rows) == ("mixing", 1, 1)


@pytest.mark.parametrize(("golden_rows", "max_rows"), [(0, 2), (1, 8), (2, 8)])
def test_rows_that_influence_each_other_are_found_out_whatever_the_samples(
    store: Store, golden_rows: int, max_rows: int
) -> None:
    """One or two golden rows, or batches of two, do not hide that rows influence each other."""
    rows = np.array([[1, 2], [3, 5]], np.float32)[:golden_rows]
    golden = samples(rows, rows - rows.mean(0)) if golden_rows else None
    loaded = load(publish(store, graphs.mixing(), *PAIR, golden=golden, atol=1e-6), max_rows=max_rows)
    assert (loaded.rows.verdict, loaded.max_rows) == ("mixing", 1)


def test_texts_are_compared_by_what_they_say(store: Store) -> None:
    """A graph of texts whose rows are independent is exact, though each run makes new strings."""
    texts = np.array([["one text", "another"], ["a third", "and so on"]])
    tensors = (tensor("x", 2, datatype="BYTES"),), (tensor("y", 2, datatype="BYTES"),)
    loaded = load(publish(store, graphs.echo(TensorProto.STRING, 2), *tensors, golden=samples(texts, texts)))
    assert (loaded.rows.verdict, loaded.bits) == ("proved", "exact")


@pytest.mark.parametrize("max_rows", [1, 2, 3, 8])
def test_independent_rows_are_exact(store: Store, max_rows: int) -> None:
    """A graph whose rows are independent gives the same bits alone and in company, whatever the largest batch."""
    loaded = load(publish(store, graphs.double(), golden=samples(ROWS, 2 * ROWS)), max_rows=max_rows)
    assert (loaded.bits, loaded.least_rows, loaded.max_rows) == ("exact", 1, max_rows)


# What comes out


def test_loaded_version_has_learned_what_it_costs(store: Store) -> None:
    """Every size up to the largest batch was run before the version is ready, and has a cost."""
    loaded = load(publish(store, graphs.double()))
    assert all(loaded.cost.predict(rows) > 0 for rows in range(1, 9))
    assert loaded.golden_error is None
    assert loaded.load_s > 0


def test_manifest_overrides_the_largest_batch(store: Store) -> None:
    """What a model wants goes before the default of the service."""
    assert load(publish(store, graphs.double(), batching=Batching(max_rows=3))).max_rows == 3
    assert load(publish(store, graphs.double())).max_rows == 8


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
    "make", [graphs.add, graphs.classifier, lambda: graphs.echo(TensorProto.STRING), graphs.triple_bf16]
)
def test_samples_are_made_where_there_are_none(tmp_path: Path, make: object) -> None:
    """Several inputs, images and texts of open width are warmed up without golden samples."""
    assert callable(make)
    loaded = load(Store(graphs.write_plain(tmp_path, "plain", make())).find("plain"))
    assert loaded.session.on_cpu
    assert loaded.max_rows == 8


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
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    width: int | str,
    require_exact: bool,
    bits: str,
    widens: bool,
) -> None:
    """The trial at load cannot cover every size: threads divide a tensor by its size, and round with it."""
    version = publish(store, graphs.double(width), (tensor("x", width),), (tensor("y", width),))
    monkeypatch.setattr(loading, "count_cores", lambda: 2)
    monkeypatch.setattr(loading, "learn", _pretend_that_threads_pay)
    loaded = load(version, require_exact=require_exact, workers=1)
    assert (loaded.bits, loaded.all_cores is not None) == (bits, widens)


def _pretend_that_threads_pay(
    session: Session, ready: object, open_on: object, threads: int, axes: object, budget: object, graph: object
) -> tuple[CostModel, AllCores | None]:
    return CostModel(), AllCores(session, CostModel(), threads) if threads > 1 else None
