import numpy as np
import onnxruntime
import pytest

from export import DependentRows, ExportError, ParityError, QualityError, SpecError, publish
from export.errors import list_missed
from export.spec import BATCHES, SEEDS
from model_store import BadManifest
from model_store.datatypes import DATATYPES
from model_store.manifest import Quality
from model_store.tasks import Classes
from tests.support.models.tracing import is_traced

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("export_once")


def files_under(store):
    return list(store.root.rglob("*")) if store.root.exists() else []


def quality(least, **metrics):
    return Quality(data="held out", rows=10, metrics=metrics, bar={"accuracy": least})


def replay(version, manifest):
    """The golden inputs through a fresh session: (stored outputs, outputs now)."""
    golden = version.read_golden(manifest)
    session = onnxruntime.InferenceSession(version.read(manifest, "main.onnx"), providers=["CPUExecutionProvider"])
    names = list(golden.outputs)
    return golden.outputs, dict(zip(names, session.run(names, dict(golden.inputs)), strict=True))


def test_graph_that_disagrees_is_refused_with_its_worst_element_and_leaves_nothing(make_module, make_spec, store):
    """A module that computes something else while it is exported is refused, and the message shows where."""

    def differ(linear, x):
        wrong = torch.tensor([0.0, 0.5, 0.01])
        return linear(x) + wrong if is_traced() else linear(x)

    with pytest.raises(ParityError, match=r"rows=1, seed=0, inputs=random; worst element y\[0, 1\]") as caught:
        publish(make_spec(make_module(differ)), store)
    assert caught.value.worst.output == "y"
    assert caught.value.worst.index == (0, 1)
    assert caught.value.worst.got - caught.value.worst.expected == pytest.approx(0.5, abs=1e-6)
    assert files_under(store) == []


def test_disagreement_on_real_samples_only_is_refused(make_module, make_spec, make_real_samples, store):
    """A difference that only one real sample shows is refused with its row."""

    def differ(linear, x):
        return linear(x) + (x[:, :1] > 100).float() if is_traced() else linear(x)

    samples = make_real_samples(150)
    samples[131, 0] = 101.0
    spec = make_spec(
        make_module(differ),
        samples={"x": samples},
        random_inputs=lambda sizes, seed: {
            "x": torch.rand(sizes["batch"], 4, generator=torch.Generator().manual_seed(seed))
        },
    )
    with pytest.raises(ParityError, match=r"rows=150, seed=0, inputs=samples") as caught:
        publish(spec, store)
    assert caught.value.worst.index[0] == 131
    assert files_under(store) == []


@pytest.mark.parametrize(
    ("measured", "complaint"),
    [
        ({"accuracy": 0.98}, "accuracy: expected at least 0.99, got 0.98"),
        ({"f1": 1.0}, "accuracy: expected at least 0.99, got no such metric"),
    ],
)
def test_quality_below_its_bar_is_not_published(make_spec, store, measured, complaint):
    """A metric below its bar, or one that was not measured, keeps the model out of the store."""
    with pytest.raises(QualityError, match=complaint):
        publish(make_spec(quality=quality(0.99, **measured)), store)
    assert files_under(store) == []


def test_metric_that_is_not_a_number_misses_its_bar():
    """NaN is below every bar."""
    assert list_missed({"accuracy": float("nan")}, {"accuracy": 0.5}) != []


def test_failure_at_any_step_leaves_the_store_as_it_was(make_spec, make_real_samples, store):
    """The versions that were there stay, and nothing is added."""
    spec = make_spec(samples={"x": make_real_samples(20)}, quality=quality(0.5, accuracy=0.9), batches=BATCHES)
    steps = []
    publish(spec, store, lambda step: steps.append(step.partition(":")[0]))
    before = sorted(files_under(store))
    stages = list(dict.fromkeys(steps))
    assert stages == [
        "exporting to ONNX",
        "cost of a row",
        "rows alone and in batches",
        "parity with PyTorch",
        "row analysis",
        "golden samples",
        "reference statistics",
        "quality",
        "publishing",
    ]

    for stage in stages:

        def break_off(step, stage=stage):
            if step.startswith(stage):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            publish(spec, store, break_off)
    assert sorted(files_under(store)) == before


def test_labels_that_do_not_fit_the_outputs_are_refused_before_parity(make_spec, store):
    """Two labels for three scores are refused before the slow steps."""
    spec = make_spec(task="classify", labels=("a", "b"), classes=Classes(probabilities="y"))
    steps = []
    with pytest.raises(SpecError, match="there are 2 labels"):
        publish(spec, store, steps.append)
    assert steps == ["exporting to ONNX"]


def test_module_that_fails_by_itself_is_not_blamed_on_the_export(make_module, make_spec, store):
    """Where PyTorch cannot run the module at a size, the message says so and names the shapes."""

    def refuse(linear, x):
        if not is_traced() and x.shape[0] == 5:
            raise RuntimeError("out of memory")
        return linear(x)

    with pytest.raises(SpecError, match=r"module itself fails on inputs of \{'x': \(5, 4\)\}.*out of memory"):
        publish(make_spec(make_module(refuse)), store)


def test_manifest_holds_all_that_was_proved(make_spec, make_real_samples, store):
    """The manifest has every case, the statistics of the samples, the quality, the provenance and golden samples."""
    samples = make_real_samples(50)
    facts = {"data": "made up", "seed": 3, "parameters": {"epochs": 1}, "licence": "Apache-2.0", "finite": ("x",)}
    proof = {"samples": {"x": samples}, "quality": quality(0.5, accuracy=0.9), "batches": BATCHES, "seeds": SEEDS}
    version = publish(make_spec(**proof, **facts), store)
    manifest = version.verify()
    assert version.version == 1
    assert {(r.rows, r.seed) for r in manifest.parity.rungs if r.inputs == "random"} == {
        (rows, seed) for rows in BATCHES for seed in SEEDS
    }
    assert [r.rows for r in manifest.parity.rungs if r.inputs == "samples"] == [50]
    assert max(r.max_abs_error for r in manifest.parity.rungs) < 1e-6
    assert manifest.graphs["main"].inputs[0].finite
    assert manifest.graphs["main"].outputs[0].shape == ("batch", 3)
    assert manifest.quality.metrics == {"accuracy": 0.9}
    assert (manifest.provenance.opset, manifest.provenance.seed, manifest.provenance.data) == (20, 3, "made up")
    assert manifest.provenance.torch == torch.__version__
    x, y = manifest.statistics
    assert (x.tensor, y.tensor) == ("x", "y")
    assert x.mean == pytest.approx(float(samples.double().mean()))
    assert x.std == pytest.approx(float(samples.double().std(correction=0)))
    assert (x.minimum, x.maximum) == (float(samples.min()), float(samples.max()))
    assert (sum(x.histogram_counts), sum(y.histogram_counts)) == (200, 150)
    assert len(x.histogram_edges) == len(x.histogram_counts) + 1
    stored, now = replay(version, manifest)
    assert np.array_equal(stored["y"], now["y"])  # bit for bit
    assert manifest.golden.rows == 8
    assert np.array_equal(version.read_golden(manifest).inputs["x"], samples[:8].numpy())


def test_quality_is_measured_on_the_exported_graph(make_module, make_spec, store):
    """The function that measures the quality gets ONNX Runtime's answers for any number of rows."""
    module = make_module()

    def measure(predict):
        x = np.linspace(-1, 1, 4 * 130, dtype=np.float32).reshape(130, 4)
        answer = predict({"x": x})["y"]
        with torch.no_grad():
            expected = module(torch.from_numpy(x)).numpy()
        assert answer.shape == (130, 3)
        return quality(0.5, accuracy=float(np.isclose(answer, expected, atol=1e-5).mean()))

    assert publish(make_spec(module, quality=measure), store).read_manifest().quality.metrics == {"accuracy": 1.0}


def test_golden_tolerance_that_proves_nothing_is_refused(make_module, make_spec, store):
    """A tolerance that any answer passes is refused; the default follows the magnitude of the outputs."""
    module = make_module(lambda linear, x: linear(x) * 1e-4)
    with pytest.raises(BadManifest, match="they prove nothing"):
        publish(make_spec(module, golden_atol=1.0), store)
    assert files_under(store) == []
    version = publish(make_spec(module), store)
    [output] = version.read_golden(version.verify()).outputs.values()
    assert version.verify().golden.atol == pytest.approx(np.abs(output).max() / 100)


def test_integer_inputs_are_drawn_from_the_range_of_their_samples(make_spec, store):
    """Token ids are INT64 and stay inside the table."""

    class Tokens(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(10, 3)

        def forward(self, ids):
            return self.table(ids).sum(1), ids.max(1).values

    ids = torch.tensor([[0, 9, 4, 1], [3, 3, 2, 8]])
    version = publish(make_spec(Tokens(), inputs={"ids": ids}, outputs=("y", "largest")), store)
    manifest = version.read_manifest()
    assert manifest.graphs["main"].inputs[0].datatype == "INT64"
    assert [t.datatype for t in manifest.graphs["main"].outputs] == ["FP32", "INT64"]
    stored, now = replay(version, manifest)
    assert stored["largest"].max() <= 9
    assert all(np.array_equal(stored[name], now[name]) for name in stored)


def test_two_inputs_keep_their_order_and_names(make_module, make_spec, store):
    """The graph's inputs have the names and the order of the spec's."""
    module = make_module(lambda linear, x, mask: torch.where(mask, linear(x), 0.0), inputs=2)
    inputs = {"x": torch.randn(3, 4), "y": torch.tensor([[True], [False], [True]])}
    graph = publish(make_spec(module, inputs=inputs, outputs=("p",)), store).read_manifest().graphs["main"]
    assert [(t.name, t.datatype, t.shape) for t in graph.inputs] == [
        ("x", "FP32", ("batch", 4)),
        ("y", "BOOL", ("batch", 1)),
    ]


def test_input_that_all_rows_share_has_no_batch_axis(make_module, make_spec, store):
    """A scalar beside the rows has no batch axis in the manifest, and parity varies it."""
    module = make_module(lambda linear, x, scale: linear(x) * scale, inputs=2)
    inputs = {"x": torch.randn(3, 4), "y": torch.tensor(0.5)}
    spec = make_spec(module, inputs=inputs, outputs=("p",), dynamic={"x": {0: "batch"}})
    version = publish(spec, store)
    manifest = version.read_manifest()
    assert [t.batch_axis for t in manifest.graphs["main"].inputs] == [0, None]
    assert 0.25 <= version.read_golden(manifest).inputs["y"] <= 0.5


def test_model_of_fixed_batch_is_published_as_one_example_at_a_time(make_spec, store):
    """Without dynamic axes the graph keeps the example's sizes, and is compared at that size."""
    manifest = publish(make_spec(dynamic={}, seeds=(0, 1)), store).read_manifest()
    tensor = manifest.graphs["main"].inputs[0]
    assert (tensor.shape, tensor.batch_axis) == ((3, 4), None)
    assert [(r.rows, r.seed) for r in manifest.parity.rungs] == [(1, 0), (1, 1)]
    assert manifest.golden.rows == 1


@pytest.mark.long
def test_length_axis_is_compared_at_lengths_other_than_the_example(make_spec, store):
    """A recurrent model is tried at half and twice the example's length, also as the second of a process."""

    class Steps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = torch.nn.GRU(4, 3, batch_first=True)

        def forward(self, x):
            return self.gru(x)[0]

    fields = {"inputs": {"x": torch.randn(3, 9, 4)}, "dynamic": {"x": {0: "batch", 1: "time"}}}
    for expected in (1, 2):
        version = publish(make_spec(Steps(), **fields), store)
        assert version.version == expected
        manifest = version.read_manifest()
        assert manifest.graphs["main"].outputs[0].shape == ("batch", "time", 3)
        assert {r.inputs for r in manifest.parity.rungs} == {"random time=9", "random time=4", "random time=19"}


def test_module_is_given_back_as_it_was(make_spec, store):
    """Publishing restores each part's training mode and the number of threads."""
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5))
    module.train()
    module[1].eval()
    threads = torch.get_num_threads()
    publish(make_spec(module), store)
    assert [part.training for part in module.modules()] == [True, True, False, True]
    assert torch.get_num_threads() == threads


def test_datatypes_of_the_manifest_are_known_to_the_store(make_spec, store):
    """Half precision is published; a datatype that the store does not have is refused by name."""
    half = make_spec(torch.nn.Linear(4, 3).half(), inputs={"x": torch.randn(3, 4).half()}, atol=2e-3, rtol=2e-3)
    tensor = publish(half, store).read_manifest().graphs["main"].inputs[0]
    assert tensor.datatype in DATATYPES
    brain = make_spec(torch.nn.Linear(4, 3).bfloat16(), inputs={"x": torch.randn(3, 4).bfloat16()})
    with pytest.raises((ExportError, SpecError), match="float32"):
        publish(brain, store)


class LeftInTraining(torch.nn.BatchNorm1d):
    """BatchNorm that nobody can put into evaluation mode."""

    def train(self, mode=True):
        return super().train(True)


@pytest.mark.parametrize(
    ("layer", "where"),
    [
        (lambda: torch.nn.BatchNorm1d(3, track_running_stats=False), "seed=0"),
        (lambda: LeftInTraining(3), "in PyTorch, seed=0"),  # the exporter writes its evaluation form all the same
    ],
    ids=["no running statistics", "training mode"],
)
def test_batchnorm_with_batch_statistics_is_refused(make_spec, store, layer, where):
    """BatchNorm that computes over the batch after eval() is refused, with the rows that it mixes."""
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), layer())
    expected = rf"rows influence each other: row 0 changes with rows 1, 2, 3.*\({where}.*BatchNorm with batch stat"
    with pytest.raises(DependentRows, match=expected) as caught:
        publish(make_spec(module), store)
    assert caught.value.rows == tuple(range(5))
    assert files_under(store) == []
