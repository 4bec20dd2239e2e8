import numpy as np
import pytest

from export.zoo.data import scenes
from export.zoo.data.digits import load_digits
from tests.support.models.reference import Reference


@pytest.fixture(scope="module")
def recipe():
    pytest.importorskip("torch")
    from export.zoo.scenes import digits_segmenter

    return digits_segmenter


@pytest.fixture(scope="module")
def published():
    return Reference("digits-segmenter")


def test_overlap_is_the_shared_part_of_the_union(recipe):
    """Two of four pixels are one half, nothing in common is 0, and two empty masks are the same."""
    found, ink = np.array([1, 1, 1, 0, 0], bool), np.array([0, 1, 1, 1, 0], bool)
    assert recipe.measure_overlap(found, ink) == 0.5
    assert recipe.measure_overlap(found, ~found) == 0
    assert recipe.measure_overlap(found & False, ink & False) == 1


def test_loss_is_near_zero_for_the_right_ink_and_grows_with_the_mistakes(recipe):
    """Scores that miss some ink cost more than right ones, and less than scores that miss all of it."""
    torch = pytest.importorskip("torch")
    ink = torch.zeros(1, 1, 8, 8)
    ink[..., 2:6, 2:6] = 1
    half = ink.clone()
    half[..., 4:, :] = 0
    losses = [float(recipe._measure_loss(20 * found - 10, ink)) for found in (ink, half, torch.zeros_like(ink))]
    assert losses[0] == pytest.approx(0, abs=1e-3)
    assert losses[0] < losses[1] < losses[2]


def test_validation_and_test_scenes_differ(recipe):
    """The threshold is not chosen on the scenes of the test."""
    assert recipe._VALIDATION_SEED != recipe._TEST_SEED


@pytest.mark.long
def test_published_segmenter_reaches_its_bar(recipe, published):
    """The stored version marks the ink on photographs that it never saw, as its manifest says."""
    pytest.importorskip("skimage")
    facts = published.manifest.segmentation
    quality = recipe.measure_quality(published.predict, scenes.load_sources().test, facts.threshold)
    assert dict(published.manifest.quality.bar) == {"iou": recipe.LEAST_OVERLAP}
    assert quality.metrics["iou"] >= recipe.LEAST_OVERLAP
    assert dict(quality.metrics) == pytest.approx(dict(published.manifest.quality.metrics), abs=0.01)


def test_published_segmenter_marks_the_ink_where_it_is(recipe, published):
    """On an even ground, found and true ink overlap well, and scores lie in 0..1."""
    ground = scenes.Source((np.full((200, 300, 3), 40, np.uint8),), load_digits().validation)
    scene = next(s for s in scenes.draw_scenes(ground, 20, recipe.SIDE, 5) if len(s.labels) == 1)
    scores = published.predict({"image": scenes.stack_images([scene])})["scores"]
    assert scores.shape == (1, 1, 160, 160)
    assert 0 <= scores.min() <= scores.max() <= 1
    assert recipe.measure_overlap(scores[0, 0] >= published.manifest.segmentation.threshold, scene.ink) > 0.7


def test_published_segmenter_says_how_a_picture_becomes_a_row(published):
    """The proportions of a picture stay, and what is no ink is left out of lists and drawings."""
    image, facts = published.manifest.image, published.manifest.segmentation
    assert (image.channels, image.height, image.width, image.resize) == (3, 160, 160, "fit")
    assert published.manifest.labels == ("nothing", "digit")
    assert (facts.output, facts.ignored) == ("scores", 0)
    assert 0.05 < facts.threshold < 0.9
