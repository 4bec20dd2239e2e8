"""The reference models that come with the project, as they lie in the store; nothing here needs torch."""

import numpy as np
import pytest

from export.zoo import RECIPES
from export.zoo.data.digits import load_digits
from export.zoo.quality.calibration import measure_calibration_error
from tests.support.models.reference import Reference

LARGEST_BYTES = dict.fromkeys(("date-translator", "digits-denoiser", "digits-diffusion", "photo-restorer"), 500_000)
LARGEST_BYTES |= {"digits-classifier": 1_000_000, "sunspots-forecaster": 100_000}
"""Of all files of the models that are meant to be small."""


@pytest.fixture(scope="module")
def published():
    return Reference("digits-classifier")


@pytest.mark.parametrize("name", RECIPES)
def test_version_is_small_and_names_no_machine(name):
    """All files together stay below their limit, and none holds a path of where it was made."""
    model = Reference(name)
    assert sum(map(len, model.files.values())) < LARGEST_BYTES.get(name, 2_000_000)
    for content in (*model.files.values(), (model.version.folder / "manifest.json").read_bytes()):
        assert not any(trace in content for trace in (b"site-packages", b"/home/", b"/root/", b".py"))


def test_digits_classifier_reaches_its_accuracy(published):
    """Version 1 verifies, reads 99 % of the test digits, and reaches what its manifest says."""
    test = load_digits().test
    probabilities = published.predict({"image": test.images})["probabilities"]
    accuracy = float(np.mean(probabilities.argmax(1) == test.labels))
    assert accuracy >= published.manifest.quality.bar["accuracy"] == 0.99
    assert accuracy == pytest.approx(published.manifest.quality.metrics["accuracy"], abs=1 / 450)
    assert measure_calibration_error(probabilities, test.labels) <= 0.02


def test_digits_classifier_takes_raw_pixels_and_gives_probabilities(published):
    """Normalisation, temperature and softmax are in the graph; the manifest says how a picture becomes a row."""
    (tensor,) = published.manifest.graphs["main"].inputs
    assert (tensor.name, tensor.datatype, tensor.shape, tensor.finite) == ("image", "FP32", ("batch", 1, 8, 8), True)
    assert [(t.name, t.shape) for t in published.manifest.graphs["main"].outputs] == [
        ("logits", ("batch", 10)),
        ("probabilities", ("batch", 10)),
    ]
    assert published.manifest.labels == tuple("0123456789")
    assert published.manifest.image.scale * 255 == pytest.approx(16)
    got = published.predict({"image": load_digits().test.images[:5]})
    logits, probabilities = got["logits"], got["probabilities"]
    assert probabilities.sum(1) == pytest.approx(np.ones(5), abs=1e-6)
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    assert probabilities == pytest.approx(exponentials / exponentials.sum(1, keepdims=True), abs=1e-6)


def test_golden_samples_are_reproduced(published):
    """The graph gives the stored samples within their stored tolerance."""
    golden = published.version.read_golden(published.manifest)
    facts = published.manifest.golden
    assert facts.rows == len(golden.inputs["image"]) == 8
    got = published.predict(golden.inputs)
    for name, expected in golden.outputs.items():
        assert np.all(
            np.abs(got[name] - expected)
            <= published.manifest.golden.atol + published.manifest.golden.rtol * np.abs(expected)
        )


def test_manifest_holds_the_proof(published):
    """Every batch size, seed and real sample was compared; statistics and licence are there."""
    rungs = {(case.rows, case.seed, case.inputs) for case in published.manifest.parity.rungs}
    assert rungs == {(rows, seed, "random") for rows in (1, 2, 3, 17, 64) for seed in (0, 1, 2)} | {(225, 0, "samples")}
    assert {s.tensor for s in published.manifest.statistics} == {"image", "logits", "probabilities"}
    assert published.manifest.licence
