import numpy as np
import pytest

from export.zoo.data.digits import load_digits
from export.zoo.quality.verification import compare_pairs, measure_errors
from tests.support.models.reference import Reference


@pytest.fixture(scope="module")
def recipe():
    pytest.importorskip("torch")
    from export.zoo import digits_matcher

    return digits_matcher


@pytest.fixture(scope="module")
def published():
    return Reference("digits-matcher")


def test_classes_of_the_test_are_in_no_other_part(recipe):
    """Every class is either seen or unseen, and the test has all pictures of the unseen ones."""
    data = load_digits()
    assert sorted(recipe.SEEN + recipe.UNSEEN) == list(range(10))
    unseen = recipe.take_unseen(data)
    assert set(unseen.labels) == set(recipe.UNSEEN)
    seen = [recipe.take_classes([part], recipe.SEEN) for part in (data.train, data.validation, data.test)]
    assert all(set(part.labels) == set(recipe.SEEN) for part in seen)
    assert len(unseen.labels) + sum(len(part.labels) for part in seen) == 1797


def test_joined_pictures_have_the_upper_half_of_one_digit_and_the_lower_half_of_another(recipe):
    """The kind says of which digits the halves are; some pictures are whole digits."""
    torch = pytest.importorskip("torch")
    labels = torch.arange(7)
    pixels = labels[:, None, None, None].expand(7, 1, 8, 8).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        joined, kinds = recipe._join_halves(pixels, labels)
    assert torch.equal(joined[:, 0, 0, 0] * 7 + joined[:, 0, 7, 0], kinds.float())
    assert torch.equal(joined[:, 0, 3, 0], joined[:, 0, 0, 0])
    assert torch.equal(joined[:, 0, 4, 0], joined[:, 0, 7, 0])
    assert 0.3 < float((joined[:, 0, 0, 0] == joined[:, 0, 7, 0]).float().mean()) < 0.7


def test_edges_are_strongest_in_their_direction(recipe):
    """A vertical stroke has slopes to the left and right, and none up or down in its middle."""
    torch = pytest.importorskip("torch")
    pixels = torch.zeros(1, 1, 8, 8)
    pixels[:, :, :, 4] = 1
    strengths = recipe.Edges().measure(pixels).reshape(8, 8, 8)[:, 4]
    right, down, _, _, left, up, _, _ = strengths.sum(dim=1).tolist()
    assert right == pytest.approx(left)
    assert up == pytest.approx(down)
    assert right > 5 * up


def test_distorted_pictures_stay_near_themselves(recipe):
    """A digit turned by a few degrees and moved by a pixel is more like itself than like others."""
    torch = pytest.importorskip("torch")
    pixels = torch.from_numpy(load_digits().validation.images[:50]) / 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        moved = recipe._distort(pixels)
    assert moved.shape == pixels.shape
    assert not torch.equal(moved, pixels)
    own = torch.cosine_similarity(moved.flatten(1), pixels.flatten(1))
    assert float(own.mean()) > 0.75


def test_no_picture_is_turned_upside_down(recipe):
    """Of the eight views of a square, those without a half turn are used: a 6 never becomes a 9."""
    torch = pytest.importorskip("torch")
    picture = torch.arange(64.0).reshape(1, 1, 8, 8)
    upright, mirrored, turned, transposed = recipe._turn(picture.expand(4, 1, 8, 8), torch.arange(4))[:, 0]
    assert torch.equal(upright, picture[0, 0])
    assert torch.equal(mirrored, upright.flip(1))
    assert torch.equal(transposed, upright.T)
    assert torch.equal(turned, upright.T.flip(0))


def test_published_matcher_reaches_its_bar(recipe, published):
    """The stored version tells pairs of unseen digits apart, better than their pixels do, as its manifest says."""
    quality = recipe.measure_quality(
        published.predict, recipe.take_unseen(load_digits()), published.manifest.embedding.threshold
    )
    assert dict(published.manifest.quality.bar) == {"auroc": 0.9}
    assert quality.metrics["auroc"] >= 0.9
    assert quality.metrics["auroc"] > quality.metrics["auroc_pixels"]
    assert dict(quality.metrics) == pytest.approx(dict(published.manifest.quality.metrics), abs=0.005)


def test_published_threshold_makes_equal_errors_on_held_out_pairs_of_seen_classes(recipe, published):
    """On the validation part, as many different pairs are accepted as same ones rejected, and few of either."""
    part = recipe.take_classes([load_digits().validation], recipe.SEEN)
    pairs = compare_pairs(published.predict({"image": part.images})["vector"], part.labels)
    accepts, rejects = measure_errors(pairs, published.manifest.embedding.threshold)
    assert accepts == pytest.approx(rejects, abs=0.01)
    assert max(accepts, rejects) < 0.05


def test_published_matcher_gives_vectors_of_length_one(published):
    """A vector has 160 numbers and the length one, for an empty picture too."""
    images = np.concatenate([load_digits().test.images[:20], np.zeros((1, 1, 8, 8), np.float32)])
    vectors = published.predict({"image": images})["vector"]
    assert vectors.shape == (21, 160)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(21), abs=1e-5)
    facts = published.manifest.embedding
    assert (facts.output, facts.metric, facts.normalise) == ("vector", "cosine", True)
