import numpy as np
import pytest

from export.zoo.data.digits import load_digits
from tests.support.models.reference import Reference

pytest.importorskip("torch")
from export.zoo import digits_style


@pytest.fixture(scope="module")
def published():
    return Reference(digits_style.NAME)


def test_dilation_turns_a_dot_into_a_block():
    """A dot becomes 3 x 3, is cut at the border, and the darker neighbour wins."""
    pictures = np.zeros((2, 1, 8, 8), np.float32)
    pictures[0, 0, 4, 3] = 7
    pictures[1, 0, 0, 0], pictures[1, 0, 0, 2] = 16, 5
    thick = digits_style.dilate(pictures)
    expected = np.zeros_like(pictures)
    expected[0, 0, 3:6, 2:5] = 7
    expected[1, 0, :2, :4] = [16, 16, 5, 5]
    assert np.array_equal(thick, expected)
    assert thick.dtype == np.float32


def test_no_picture_is_in_both_styles():
    """The thick pictures are not dilations of the plain ones."""
    train = load_digits().train
    plain, thick = digits_style.split_styles(train)
    assert len(plain) == len(thick) == len(train.labels) // 2 == 561
    counterparts = {picture.tobytes() for picture in digits_style.dilate(plain)}
    assert not counterparts & {picture.tobytes() for picture in thick}


def test_psnr_is_that_of_its_definition():
    """An error of one in sixteen at every pixel is 20 log10(16) dB."""
    pictures = np.zeros((3, 1, 8, 8), np.float32)
    assert digits_style.measure_psnr(pictures + 1, pictures) == pytest.approx(20 * np.log10(16))


def test_published_graphs_take_and_give_pictures(published):
    """Both directions map 0..16 to 0..16 in the same shape, also for empty and full pictures."""
    facts = published.manifest.reconstruction
    assert facts.graphs == ("main", "thin")
    extremes = np.stack([np.zeros((1, 8, 8), np.float32), np.full((1, 8, 8), 16, np.float32)])
    for graph in facts.graphs:
        made = published.graphs[graph].run({"image": extremes})[facts.output]
        assert made.shape == extremes.shape
        assert made.dtype == np.float32
        assert np.all((made >= 0) & (made <= 16))
