import numpy as np
import pytest

from export.zoo.data import photos
from tests.support.models.reference import Reference


@pytest.fixture(scope="module")
def data():
    return photos.load_photos()


@pytest.fixture(scope="module")
def published():
    return Reference("photo-restorer")


def test_photographs_are_split_without_overlap(data):
    """Train and validation are two parts of one photograph; the test is the other photograph."""
    from sklearn.datasets import load_sample_image

    assert (data.train.shape, data.validation.shape, data.test.shape) == ((3, 427, 512), (3, 427, 128), (3, 427, 640))
    together = np.concatenate([data.train, data.validation], axis=2)
    assert np.array_equal(together, load_sample_image("china.jpg").transpose(2, 0, 1))
    assert np.array_equal(data.test, load_sample_image("flower.jpg").transpose(2, 0, 1))


def test_blur_spreads_a_point_evenly_and_keeps_its_light():
    """A point becomes a round Gaussian of the given sigma with the same sum."""
    point = np.zeros((1, 21, 31), np.float32)
    point[0, 10, 12] = 100.0
    blurred = photos.blur(point, 1.5)
    assert blurred.dtype == np.float32
    assert blurred.sum() == pytest.approx(100, rel=1e-5)
    around = blurred[0, 4:17, 6:19]
    assert np.allclose(around, around.T, atol=1e-6)
    assert np.allclose(around, around[::-1], atol=1e-6)
    offsets = np.arange(31) - 12
    assert float((blurred[0].sum(0) * offsets**2).sum() / 100) == pytest.approx(1.5**2, rel=0.01)


def test_blur_leaves_an_even_picture_as_it_is():
    """The border is continued, so a picture of one value keeps it."""
    assert photos.blur(np.full((3, 7, 9), 42, np.float32), 1.0) == pytest.approx(42, rel=1e-6)


def test_spoilt_photograph_is_that_of_its_seed_and_keeps_the_range(data):
    """The same seed gives the same photograph; values stay in 0..255 and the size stays."""
    part = data.validation
    spoilt = photos.spoil(part, 3)
    assert np.array_equal(spoilt, photos.spoil(part, 3))
    assert not np.array_equal(spoilt, photos.spoil(part, 4))
    assert (spoilt.shape, spoilt.dtype) == (part.shape, np.float32)
    assert (spoilt.min(), spoilt.max()) == (0, 255)


def test_noise_has_its_sigma_where_nothing_is_cut_off():
    """An even grey gets the standard deviation that the data's description names."""
    spoilt = photos.spoil(np.full((3, 100, 100), 128, np.float32), 0)
    assert spoilt.mean() == pytest.approx(128, abs=0.5)
    assert spoilt.std() == pytest.approx(photos.NOISE_SIGMA, rel=0.02)


def test_patches_are_places_of_the_photograph():
    """Patches lie side by side, row by row from the top left, without overlap."""
    photo = np.arange(2 * 7 * 9).reshape(2, 7, 9)
    patches = photos.cut_patches(photo, 3, 4)
    assert patches.shape == (4, 2, 3, 4)
    assert np.array_equal(patches[1], photo[:, :3, 4:8])
    assert np.array_equal(patches[2], photo[:, 3:6, :4])


def test_softened_photograph_is_twice_as_large_and_keeps_its_light(data):
    """The out-of-focus input is the photograph enlarged, and smoother between neighbours."""
    pytest.importorskip("torch")
    from export.zoo.photo_restorer import _soften

    part = data.train[:, :40, :50]
    soft = _soften(part)
    assert (soft.shape, soft.dtype) == ((3, 80, 100), np.float32)
    assert soft.mean() == pytest.approx(part.mean(), rel=1e-3)
    assert np.abs(np.diff(soft)).mean() < np.abs(np.diff(part)).mean()


def test_training_patches_show_the_same_place_turned_alike():
    """Input and target of the network come from one place, in the same orientation."""
    torch = pytest.importorskip("torch")
    from export.zoo.photo_restorer import BATCH_ROWS, PATCH_PIXELS, _draw_patches

    picture = torch.arange(3 * 60 * 70.0).reshape(3, 60, 70)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = [_draw_patches(torch.stack([picture, picture + 0.5])) for _ in range(80)]
    assert {patch.shape for pair in drawn for patch in pair} == {(BATCH_ROWS, 3, PATCH_PIXELS, PATCH_PIXELS)}
    assert all(torch.equal(given + 0.5, wanted) for given, wanted in drawn)
    positions = {(float(p[0, 0, 0, 1] - p[0, 0, 0, 0]), float(p[0, 0, 1, 0] - p[0, 0, 0, 0])) for p, _ in drawn}
    assert positions == {(a, b) for x in (1.0, -1.0) for y in (70.0, -70.0) for a, b in ((x, y), (y, x))}


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 33])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 50])
def test_published_restorer_takes_any_size(published, height, width):
    """A picture keeps its size, odd or even, has values of 0..255, and comes with its error."""
    image = np.random.default_rng([height, width]).uniform(0, 255, (2, 3, height, width)).astype(np.float32)
    answer, facts = published.predict({published.manifest.image.input: image}), published.manifest.reconstruction
    assert answer[facts.output].shape == image.shape
    assert answer[facts.output].min() >= 0
    assert answer[facts.output].max() <= 255
    expected = np.square(image - answer[facts.output]).mean((1, 2, 3))
    assert answer[facts.error] == pytest.approx(expected, rel=1e-4)


def test_published_restorer_says_which_axes_are_free(published):
    """Height and width are named in the manifest, for input and output; pixel values are not scaled."""
    assert (published.manifest.image.height, published.manifest.image.width) == (None, None)
    assert (published.manifest.image.channels, published.manifest.image.scale, published.manifest.image.offset) == (
        3,
        1,
        0,
    )
    graph = published.manifest.graphs["main"]
    assert [(t.name, t.shape) for t in graph.inputs] == [("image", ("batch", 3, "height", "width"))]
    assert [(t.name, t.shape) for t in graph.outputs] == [
        ("reconstruction", ("batch", 3, "height", "width")),
        ("error", ("batch",)),
    ]
