import numpy as np
import pytest

from export.runtime import Runtime
from export.zoo.data import photos
from model_store import DEFAULT_ROOT, Store

LARGEST_BYTES = 500_000


@pytest.fixture(scope="module")
def data():
    return photos.load_photos()


@pytest.fixture(scope="module")
def version():
    return Store(DEFAULT_ROOT).find("photo-restorer")


@pytest.fixture(scope="module")
def manifest(version):
    return version.verify()


@pytest.fixture(scope="module")
def runtime(version, manifest):
    return Runtime(version.read(manifest, "main.onnx"))


def test_photographs_are_split_without_overlap(data):
    """Train and validation are the left and the right part of one photograph; the test is the other, whole."""
    from sklearn.datasets import load_sample_image

    assert (data.train.shape, data.validation.shape, data.test.shape) == ((3, 427, 512), (3, 427, 128), (3, 427, 640))
    together = np.concatenate([data.train, data.validation], axis=2)
    assert np.array_equal(together, load_sample_image("china.jpg").transpose(2, 0, 1))
    assert np.array_equal(data.test, load_sample_image("flower.jpg").transpose(2, 0, 1))


def test_blur_spreads_a_point_evenly_and_keeps_its_light():
    """A point becomes a round Gaussian of the sigma asked for, whose values sum to the point's."""
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
    """The border is continued, not darkened: a picture of one value keeps it up to its edges."""
    assert photos.blur(np.full((3, 7, 9), 42, np.float32), 1.0) == pytest.approx(42, rel=1e-6)


def test_spoilt_photograph_is_that_of_its_seed_and_keeps_the_range(data):
    """The same seed spoils alike, another one otherwise; values stay in 0..255 and the size does not change."""
    part = data.validation
    spoilt = photos.spoil(part, 3)
    assert np.array_equal(spoilt, photos.spoil(part, 3))
    assert not np.array_equal(spoilt, photos.spoil(part, 4))
    assert (spoilt.shape, spoilt.dtype) == (part.shape, np.float32)
    assert (spoilt.min(), spoilt.max()) == (0, 255)


def test_noise_has_its_sigma_where_nothing_is_cut_off():
    """An even grey becomes grey of the standard deviation that the data's description names."""
    spoilt = photos.spoil(np.full((3, 100, 100), 128, np.float32), 0)
    assert spoilt.mean() == pytest.approx(128, abs=0.5)
    assert spoilt.std() == pytest.approx(photos.NOISE_SIGMA, rel=0.02)


def test_patches_are_places_of_the_photograph():
    """Patches lie side by side, from the top left, row by row, and nothing overlaps."""
    photo = np.arange(2 * 7 * 9).reshape(2, 7, 9)
    patches = photos.cut_patches(photo, 3, 4)
    assert patches.shape == (4, 2, 3, 4)
    assert np.array_equal(patches[1], photo[:, :3, 4:8])
    assert np.array_equal(patches[2], photo[:, 3:6, :4])


def test_softened_photograph_is_twice_as_large_and_keeps_its_light(data):
    """What the network is shown as out of focus is the photograph enlarged, smoother between neighbours."""
    pytest.importorskip("torch")
    from export.zoo.photo_restorer import _soften

    part = data.train[:, :40, :50]
    soft = _soften(part)
    assert (soft.shape, soft.dtype) == ((3, 80, 100), np.float32)
    assert soft.mean() == pytest.approx(part.mean(), rel=1e-3)
    assert np.abs(np.diff(soft)).mean() < np.abs(np.diff(part)).mean()


def test_training_patches_show_the_same_place_turned_alike():
    """What the network is given and what it should give come from one place, in the same position."""
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


def test_published_restorer_reaches_its_bar(data, manifest, runtime):
    """The version in the store brings the whole test photograph 3 dB nearer the original, and beats smoothing."""
    pytest.importorskip("torch")
    from export.zoo.photo_restorer import measure_quality

    quality = measure_quality(lambda inputs: runtime.run(inputs), data)
    assert dict(manifest.quality.bar) == {"psnr_gain_db": 3}
    assert quality.metrics["psnr_gain_db"] >= 3
    assert dict(quality.metrics) == pytest.approx(dict(manifest.quality.metrics), abs=0.01)
    assert quality.metrics["psnr_db"] > quality.metrics["psnr_smoothed_db"]


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 33])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 50])
def test_published_restorer_takes_any_size(runtime, manifest, height, width):
    """A picture comes back in its own size, odd or even, with values of 0..255 and its distance to what went in."""
    image = np.random.default_rng([height, width]).uniform(0, 255, (2, 3, height, width)).astype(np.float32)
    answer, facts = runtime.run({manifest.image.input: image}), manifest.reconstruction
    assert answer[facts.output].shape == image.shape
    assert answer[facts.output].min() >= 0
    assert answer[facts.output].max() <= 255
    expected = np.square(image - answer[facts.output]).mean((1, 2, 3))
    assert answer[facts.error] == pytest.approx(expected, rel=1e-4)


def test_published_restorer_says_which_axes_are_free(manifest):
    """Height and width have names in the manifest, of the picture that goes in and of the one that comes out; pixel
    values are taken as they are."""
    assert (manifest.image.height, manifest.image.width) == (None, None)
    assert (manifest.image.channels, manifest.image.scale, manifest.image.offset) == (3, 1, 0)
    graph = manifest.graphs["main"]
    assert [(t.name, t.shape) for t in graph.inputs] == [("image", ("batch", 3, "height", "width"))]
    assert [(t.name, t.shape) for t in graph.outputs] == [
        ("reconstruction", ("batch", 3, "height", "width")),
        ("error", ("batch",)),
    ]


def test_published_restorer_is_small(version, manifest):
    """All files of the version together are under half a megabyte."""
    assert sum(len(version.read(manifest, file)) for file in manifest.files) < LARGEST_BYTES
