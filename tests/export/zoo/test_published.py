"""The reference models that come with the project, as they lie in the store."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from export.zoo import RECIPES, load_recipe
from export.zoo.data.digits import load_digits
from export.zoo.data.photos import load_photos
from tests.support.models.reference import Reference

LARGEST_BYTES = dict.fromkeys(("date-translator", "digits-denoiser", "digits-diffusion", "photo-restorer"), 500_000)
LARGEST_BYTES |= {
    "digits-captioner": 1_200_000,
    "language-classifier": 500_000,
    "digits-classifier": 1_000_000,
    "digits-segmenter": 1_000_000,
    "sunspots-forecaster": 100_000,
}
"""The most bytes of all files of a model, for models that are meant to be small."""


MEASURED: dict[str, tuple[float, dict[str, float], Callable[[Mapping[str, float]], bool]]] = {
    "diabetes-regressor": (0.001, {"r2": 0.4}, lambda m: m["mae"] < 0.7 * m["mae_of_mean"]),
    "digits-classifier": (1 / 450, {"accuracy": 0.99}, lambda m: m["ece"] <= 0.02),
    "digits-denoiser": (
        3 / 450,
        {"psnr_gain_db": 5, "accuracy": 0.9},
        lambda m: m["accuracy"] > m["accuracy_noisy"] + 0.15,
    ),
    "digits-gan": (
        2 / 450,
        {"agreement": 0.98, "least_class_agreement": 0.95, "diversity": 0.8},
        lambda m: m["label_accuracy"] >= 0.85,
    ),
    "digits-style": (
        0.01,
        {"psnr_thick_db": 20.0, "agreement_thinned": 0.88},
        lambda m: m["agreement_untranslated"] < 0.3 and m["psnr_untranslated_db"] < 10,
    ),
    "digits-vae": (
        1 / 450,
        {"agreement": 0.97, "least_class_agreement": 0.93, "diversity": 0.7},
        lambda m: m["false_alarm_rate"] <= 0.05,
    ),
    "elnino-forecaster": (
        0.005,
        {"mae_gain": 0.0, "coverage": 0.7},
        lambda m: m["mae_6_months"] < min(m["mae_persistence"], m["mae_seasonal"]),
    ),
    "sunspots-forecaster": (
        0.01,
        {"mae_gain": 0.0},
        lambda m: m["mae"] < min(m["mae_persistence"], m["mae_seasonal"], m["mae_ar"]) and 0.7 <= m["coverage"] <= 0.9,
    ),
    "photo-restorer": (0.01, {"psnr_gain_db": 3}, lambda m: m["psnr_db"] > m["psnr_smoothed_db"]),
}
"""How far a figure may be from that of the manifest, the least figures, and what else holds of them."""


@pytest.mark.parametrize("name", MEASURED)
def test_published_model_reaches_its_bar(name):
    """Measured again on the test part, the stored version reaches its bar, and every figure of its manifest."""
    pytest.importorskip("torch")
    recipe, model = load_recipe(name), Reference(name)
    given = {
        "diabetes-regressor": lambda: (recipe.load_parts()[1],),
        "digits-vae": lambda: (load_digits().test, model.manifest.reconstruction.threshold),
        "elnino-forecaster": lambda: (recipe.load_parts(),),
        "sunspots-forecaster": lambda: (recipe.load_parts(),),
        "photo-restorer": lambda: (load_photos(),),
    }.get(name, lambda: (load_digits().test,))
    measured, (tolerance, bar, holds) = recipe.measure_quality(model.predict, *given()), MEASURED[name]
    for least, figure in bar.items():
        assert measured.bar[least] == model.manifest.quality.bar[least] == figure
    assert all(measured.metrics[least] >= figure for least, figure in measured.bar.items())
    assert measured.metrics == pytest.approx(dict(model.manifest.quality.metrics), abs=tolerance)
    assert holds(measured.metrics)
    assert model.manifest.licence


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
