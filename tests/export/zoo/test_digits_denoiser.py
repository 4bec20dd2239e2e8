import numpy as np
import pytest

from export.runtime import Runtime
from export.zoo.data.digits import load_digits
from export.zoo.quality.fidelity import measure_psnr
from model_store import DEFAULT_ROOT, Store

LARGEST_BYTES = 500_000


@pytest.fixture(scope="module")
def recipe():
    pytest.importorskip("torch")
    from export.zoo import digits_denoiser

    return digits_denoiser


@pytest.fixture(scope="module")
def version():
    return Store(DEFAULT_ROOT).find("digits-denoiser")


@pytest.fixture(scope="module")
def manifest(version):
    return version.verify()


@pytest.fixture(scope="module")
def runtime(version, manifest):
    return Runtime(version.read(manifest, "main.onnx"))


def test_psnr_is_twenty_decibel_for_an_error_of_a_tenth_of_the_peak():
    """Each picture has its own PSNR, 10 log10(peak² / mean squared error); an equal one has no end."""
    references = np.zeros((3, 1, 2, 2), np.float32)
    images = references + np.array([1.6, 0.16, 0.0], np.float32)[:, None, None, None]
    assert measure_psnr(images, references, 16) == pytest.approx([20, 40, np.inf], abs=1e-5)


def test_psnr_of_pictures_of_other_shapes_is_refused():
    """A picture is compared with one of its own shape, never with one that NumPy would stretch."""
    with pytest.raises(ValueError, match=r"expected pictures like the references, \(2, 4\), got \(1, 4\)"):
        measure_psnr(np.zeros((1, 4)), np.zeros((2, 4)), 16)


def test_noise_is_that_of_its_seed_and_keeps_the_range(recipe):
    """The same seed gives the same noise, another one other noise; pixels stay in 0..16 and keep their datatype."""
    images = load_digits().validation.images
    noisy = recipe.add_noise(images, 3)
    assert np.array_equal(noisy, recipe.add_noise(images, 3))
    assert not np.array_equal(noisy, recipe.add_noise(images, 4))
    assert (noisy.min(), noisy.max(), noisy.dtype, noisy.shape) == (0, 16, np.float32, images.shape)


def test_noise_has_its_sigma_where_nothing_is_cut_off(recipe):
    """In the middle of the range, where few values reach an end, the noise is normal with 0.3 of the range."""
    middle = np.full((100_000,), 8, np.float32)
    noise = recipe.add_noise(middle, 0) - 8
    assert noise.mean() == pytest.approx(0, abs=0.05)
    inner = np.percentile(noise, [15.866, 84.134])  # one sigma to each side, inside the range
    assert inner == pytest.approx([-4.8, 4.8], abs=0.06)


def test_validation_and_test_noise_differ(recipe):
    """The noise that settings are chosen with is not the noise that is reported."""
    assert recipe._VALIDATION_NOISE != recipe._TEST_NOISE


def test_published_denoiser_reaches_its_bar(recipe, manifest, runtime):
    """The version in the store gains 5 dB and has nine in ten test digits read, as its manifest says it does."""
    quality = recipe.measure_quality(lambda inputs: runtime.run(inputs), load_digits().test)
    assert dict(manifest.quality.bar) == {"psnr_gain_db": 5, "accuracy": 0.9}
    for name, least in manifest.quality.bar.items():
        assert quality.metrics[name] >= least
    assert dict(quality.metrics) == pytest.approx(dict(manifest.quality.metrics), abs=3 / 450)
    assert quality.metrics["accuracy"] > quality.metrics["accuracy_noisy"] + 0.15


def test_published_denoiser_gives_pictures_and_their_distance(recipe, manifest, runtime):
    """The reconstruction stays in 0..16; the error is the mean squared difference to what went in."""
    noisy = recipe.add_noise(load_digits().test.images[:20], 5)
    answer, facts = runtime.run({"image": noisy}), manifest.reconstruction
    assert answer[facts.output].min() >= 0
    assert answer[facts.output].max() <= 16
    expected = np.square(noisy - answer[facts.output]).mean((1, 2, 3))
    assert answer[facts.error] == pytest.approx(expected, rel=1e-5)


def test_published_denoiser_is_small(version, manifest):
    """All files of the version together are under half a megabyte."""
    assert sum(len(version.read(manifest, file)) for file in manifest.files) < LARGEST_BYTES
