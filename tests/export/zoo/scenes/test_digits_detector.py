import numpy as np
import pytest

from export.zoo.data import scenes
from export.zoo.data.digits import load_digits
from tests.support.models.reference import Reference


@pytest.fixture(scope="module")
def data():
    pytest.importorskip("skimage")
    return scenes.load_sources()


@pytest.fixture(scope="module")
def recipe():
    pytest.importorskip("torch")
    from export.zoo.scenes import digits_detector

    return digits_detector


@pytest.fixture(scope="module")
def published():
    return Reference("digits-detector")


def make_source(level=255):
    """Digits of the validation part on an even photograph."""
    return scenes.Source((np.full((200, 300, 3), level, np.uint8),), load_digits().validation)


def test_no_photograph_and_no_digit_is_in_two_parts(data):
    """The test has photographs and digits of its own."""
    parts = (data.train, data.validation, data.test)
    photos = [photo.tobytes() for part in parts for photo in part.photos]
    assert len(set(photos)) == len(photos) == 11
    assert all(photo.dtype == np.uint8 and photo.shape[2] == 3 for part in parts for photo in part.photos)
    pictures = np.concatenate([part.digits.images.reshape(-1, 64) for part in parts])
    assert len(np.unique(pictures, axis=0)) == len(pictures) == 1797


def test_scenes_are_those_of_their_seed():
    """The same seed gives the same scenes, and another one others."""
    source = make_source()
    first, again, other = (scenes.draw_scenes(source, 5, 96, seed) for seed in (3, 3, 4))
    for one, two in zip(first, again, strict=True):
        assert all(
            np.array_equal(getattr(one, name), getattr(two, name)) for name in ("image", "ink", "boxes", "labels")
        )
    assert not all(np.array_equal(one.image, two.image) for one, two in zip(first, other, strict=True))


def test_boxes_enclose_what_was_pasted():
    """On an even photograph, what differs from it lies in the boxes, up to faint edges, and fills each of them."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        scene = scenes.draw_scene(make_source(), 128, 6, generator)
        assert scene.image.shape == (128, 128, 3)
        assert len(scene.boxes) == len(scene.labels)
        photo = scene.image.reshape(-1, 3)[scene.image.reshape(-1, 3).sum(axis=1).argmax()].astype(int)
        inked = np.abs(scene.image - photo).sum(axis=2) > 0
        inked &= scene.image.any(axis=2)  # padding is black
        for left, top, right, bottom in scene.boxes.astype(int):
            box = inked[top:bottom, left:right]
            assert box.any(axis=0).all()
            assert box.any(axis=1).all()


def test_ink_is_what_the_boxes_enclose():
    """There is ink in each box up to its four sides, and none outside of all boxes."""
    for scene in scenes.draw_scenes(make_source(), 20, 128, 2):
        assert (scene.ink.shape, scene.ink.dtype) == ((128, 128), bool)
        outside = scene.ink.copy()
        for left, top, right, bottom in scene.boxes.astype(int):
            box = scene.ink[top:bottom, left:right]
            assert all(side.any() for side in (box[0], box[-1], box[:, 0], box[:, -1]))
            outside[top:bottom, left:right] = False
        assert not outside.any()


def test_boxes_do_not_overlap_and_lie_inside():
    """Every digit is whole, and none hides another."""
    for scene in scenes.draw_scenes(make_source(), 40, 128, 1):
        assert (scene.boxes >= 0).all()
        assert (scene.boxes <= 128).all()
        for position, (left, top, right, bottom) in enumerate(scene.boxes):
            others = np.delete(scene.boxes, position, axis=0)
            apart = (others[:, 0] >= right) | (others[:, 2] <= left) | (others[:, 1] >= bottom) | (others[:, 3] <= top)
            assert apart.all()


def test_some_scenes_are_empty_and_some_are_full():
    """A detector must also say that there is nothing."""
    counts = {len(scene.labels) for scene in scenes.draw_scenes(make_source(), 60, 160, 0)}
    assert 0 in counts
    assert max(counts) >= 4


def test_heat_is_one_where_digits_have_their_centres(recipe):
    """The cell of a centre has the heat 1 for its label, and cells around know the box."""
    box, label = np.array([[10, 20, 30, 44]], np.float32), np.array([7], np.int64)
    scene = scenes.Scene(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), bool), box, label)
    heat, boxes = recipe._aim([scene], 8)
    assert (heat == 1).nonzero().tolist() == [[0, 7, 4, 2]]
    assert boxes[0, :, 4, 2].tolist() == boxes[0, :, 4, 3].tolist() == [10, 20, 30, 44]
    assert heat[0, 7, 4, 3] < 1
    assert float(heat[0, :7].sum()) == 0


def test_box_loss_is_zero_for_the_right_box_and_grows_with_the_distance(recipe):
    """A box far away costs more than one that overlaps."""
    torch = pytest.importorskip("torch")
    wanted = torch.tensor([0.0, 0, 10, 10]).reshape(1, 4, 1, 1)
    near, far = wanted + 5, wanted + 30
    losses = [float(recipe._measure_box_loss(box, wanted, torch.ones(1, 10, 1, 1))) for box in (wanted, near, far)]
    assert losses[0] == pytest.approx(0, abs=1e-6)
    assert losses[0] < losses[1] < losses[2] < 2


def test_validation_and_test_scenes_differ(recipe):
    """Settings are not chosen on the scenes of the test."""
    assert recipe._VALIDATION_SEED != recipe._TEST_SEED


@pytest.mark.slow
def test_published_detector_reaches_its_bar(recipe, published, data):
    """The stored version finds and reads the digits of photographs that it never saw, as its manifest says."""
    quality = recipe.measure_quality(published.predict, data.test, published.manifest.detection)
    assert dict(published.manifest.quality.bar) == {"map50": 0.9}
    assert quality.metrics["map50"] >= 0.9
    assert dict(quality.metrics) == pytest.approx(dict(published.manifest.quality.metrics), abs=0.01)


def test_published_detector_gives_boxes_in_pixels_and_scores(recipe, published):
    """A digit on an even ground is found where it is, and nothing else."""
    scene = next(s for s in scenes.draw_scenes(make_source(40), 20, recipe.SIDE, 5) if len(s.labels) == 1)
    outputs = published.predict({"image": scenes.stack_images([scene])})
    assert outputs["boxes"].shape == (1, 400, 4)
    assert outputs["scores"].shape == (1, 400, 10)
    assert 0 <= outputs["scores"].min() <= outputs["scores"].max() <= 1
    (found,) = recipe._select(outputs, published.manifest.detection)
    assert found.labels.tolist() == scene.labels.tolist()
    assert found.boxes[0] == pytest.approx(scene.boxes[0], abs=4)


def test_published_detector_says_how_a_picture_becomes_a_row(published):
    """The proportions of a picture stay, and its colours are neither scaled nor shifted."""
    image, facts = published.manifest.image, published.manifest.detection
    assert (image.channels, image.height, image.width, image.resize) == (3, 160, 160, "fit")
    assert (image.scale, image.offset, image.order) == (1, 0, "RGB")
    assert published.manifest.labels == tuple("0123456789")
    assert facts.across_labels
    assert 0.05 < facts.threshold < 0.8
