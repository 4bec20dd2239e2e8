import numpy as np
import pytest

from export.zoo.data.digits import load_digits
from export.zoo.quality.fidelity import measure_psnr
from tests.support.models.reference import Reference


@pytest.fixture(scope="module")
def recipe():
    pytest.importorskip("torch")
    from export.zoo import digits_denoiser

    return digits_denoiser


@pytest.fixture(scope="module")
def published():
    return Reference("digits-denoiser")


def test_psnr_is_twenty_decibel_for_an_error_of_a_tenth_of_the_peak():
    """Each picture has its own PSNR, 10 log10(peak² / mean squared error); equal pictures have infinity."""
    references = np.zeros((3, 1, 2, 2), np.float32)
    images = references + np.array([1.6, 0.16, 0.0], np.float32)[:, None, None, None]
    assert measure_psnr(images, references, 16) == pytest.approx([20, 40, np.inf], abs=1e-5)


def test_psnr_of_pictures_of_other_shapes_is_refused():
    """Pictures of different shapes are not broadcast."""
    with pytest.raises(ValueError, match=r"expected pictures like the references, \(2, 4\), got \(1, 4\)"):
        measure_psnr(np.zeros((1, 4)), np.zeros((2, 4)), 16)


def test_noise_is_that_of_its_seed_and_keeps_the_range(recipe):
    """The same seed gives the same noise; pixels stay in 0..16 and keep their datatype."""
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
    """Settings are not chosen on the noise of the test."""
    assert recipe._VALIDATION_NOISE != recipe._TEST_NOISE


def test_published_denoiser_gives_pictures_and_their_distance(recipe, published):
    """The reconstruction stays in 0..16; the error is the mean squared difference to the input."""
    noisy = recipe.add_noise(load_digits().test.images[:20], 5)
    answer, facts = published.predict({"image": noisy}), published.manifest.reconstruction
    assert answer[facts.output].min() >= 0
    assert answer[facts.output].max() <= 16
    expected = np.square(noisy - answer[facts.output]).mean((1, 2, 3))
    assert answer[facts.error] == pytest.approx(expected, rel=1e-5)
