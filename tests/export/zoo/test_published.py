"""The reference models that come with the project, as they lie in the store; nothing here needs torch."""

import numpy as np
import onnxruntime
import pytest

from export.zoo.data.digits import load_digits
from export.zoo.quality.calibration import measure_calibration_error
from model_store import DEFAULT_ROOT, Store

LARGEST_BYTES = 1_000_000


@pytest.fixture(scope="module")
def version():
    return Store(DEFAULT_ROOT).find("digits-classifier", 1)


@pytest.fixture(scope="module")
def manifest(version):
    return version.verify()


@pytest.fixture(scope="module")
def session(version, manifest):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        version.read(manifest, "main.onnx"), options, providers=["CPUExecutionProvider"]
    )


def test_digits_classifier_reaches_its_accuracy(session, manifest):
    """Version 1 verifies, reads 99 % of the test digits through ONNX Runtime, and reaches what its manifest says."""
    test = load_digits().test
    (probabilities,) = session.run(["probabilities"], {"image": test.images})
    accuracy = float(np.mean(probabilities.argmax(1) == test.labels))
    assert accuracy >= manifest.quality.bar["accuracy"] == 0.99
    assert accuracy == pytest.approx(manifest.quality.metrics["accuracy"], abs=1 / 450)
    assert measure_calibration_error(probabilities, test.labels) <= 0.02


def test_digits_classifier_takes_raw_pixels_and_gives_probabilities(session, manifest):
    """Normalisation, temperature and softmax are in the graph; the manifest says how a picture becomes a row."""
    (tensor,) = manifest.graphs["main"].inputs
    assert (tensor.name, tensor.datatype, tensor.shape, tensor.finite) == ("image", "FP32", ("batch", 1, 8, 8), True)
    assert [(t.name, t.shape) for t in manifest.graphs["main"].outputs] == [
        ("logits", ("batch", 10)),
        ("probabilities", ("batch", 10)),
    ]
    assert manifest.labels == tuple("0123456789")
    assert manifest.image.scale * 255 == pytest.approx(16)
    logits, probabilities = session.run(["logits", "probabilities"], {"image": load_digits().test.images[:5]})
    assert probabilities.sum(1) == pytest.approx(np.ones(5), abs=1e-6)
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    assert probabilities == pytest.approx(exponentials / exponentials.sum(1, keepdims=True), abs=1e-6)


def test_golden_samples_are_reproduced(version, manifest, session):
    """The stored samples come out of the graph within the tolerance that is stored with them."""
    golden = version.read_golden(manifest)
    assert manifest.golden.rows == len(golden.inputs["image"]) == 8
    got = dict(zip(golden.outputs, session.run(list(golden.outputs), dict(golden.inputs)), strict=True))
    for name, expected in golden.outputs.items():
        assert np.all(np.abs(got[name] - expected) <= manifest.golden.atol + manifest.golden.rtol * np.abs(expected))


def test_version_is_small_and_names_no_machine(version, manifest):
    """The files are under a megabyte and hold no path of where they were made."""
    contents = [version.read(manifest, file) for file in manifest.files]
    assert sum(map(len, contents)) < LARGEST_BYTES
    for content in (*contents, (version.folder / "manifest.json").read_bytes()):
        assert not any(trace in content for trace in (b"site-packages", b"/home/", b"/root/", b".py"))


def test_manifest_holds_the_proof(manifest):
    """Every batch size and seed of the grid and the real samples were compared; statistics and licence are there."""
    rungs = {(case.rows, case.seed, case.inputs) for case in manifest.parity.rungs}
    assert rungs == {(rows, seed, "random") for rows in (1, 2, 3, 17, 64) for seed in (0, 1, 2)} | {(225, 0, "samples")}
    assert {s.tensor for s in manifest.statistics} == {"image", "logits", "probabilities"}
    assert manifest.licence
