"""Whether two versions agree on an answer."""

import numpy as np
import pytest

from service.models.rollout.comparison import GraphRun, Tolerance, agree

SCORES = np.array([[0.2, 0.7, 0.1], [0.5, 0.3, 0.2]], np.float32)


@pytest.mark.parametrize(
    "got",
    [
        {"y": np.array([1.0, 2.02], np.float32)},  # beyond the tolerance
        {"y": np.array([1.0, np.nan], np.float32)},
        {"y": np.array([[1.0, 2.0]], np.float32)},  # another shape
        {"y": np.array(["1", "2"], object)},  # another kind
        {"z": np.array([1.0, 2.0], np.float32)},  # nothing in common
        {},
    ],
)
def test_other_numbers_disagree(got: dict[str, np.ndarray]) -> None:
    """So do other shapes, kinds and names."""
    assert not agree({"y": np.array([1.0, 2.0], np.float32)}, got, Tolerance(1e-3, 1e-3))


def test_numbers_within_the_tolerance_agree() -> None:
    """NaN agrees with NaN, infinity with infinity; 16-bit floats are compared as numbers."""
    sent = np.array([1.0, np.nan, np.inf, 1000.0], np.float16)
    got = np.array([1.001, np.nan, np.inf, 1001.0], np.float32)
    assert agree({"y": sent, "only here": sent}, {"y": got}, Tolerance(1e-3, 1e-3))


def test_equal_labels_agree_whatever_their_scores() -> None:
    """A version that was trained again gives other scores; the label of every row has to be the same."""
    tolerance = Tolerance(1e-3, 1e-3, "p")
    assert agree({"p": SCORES}, {"p": SCORES**2}, tolerance)
    assert not agree({"p": SCORES}, {"p": SCORES[:, ::-1]}, tolerance)
    assert not agree({"p": SCORES}, {"p": SCORES**2}, Tolerance(1e-3, 1e-3))


def test_several_labels_agree_by_their_threshold() -> None:
    """Each label counts that reaches it."""
    assert agree({"p": SCORES}, {"p": SCORES * 1.2}, Tolerance(0, 0, "p", 0.65))
    assert not agree({"p": SCORES}, {"p": SCORES * 1.2}, Tolerance(0, 0, "p", 0.55))


def test_texts_and_flags_must_be_equal() -> None:
    """No tolerance holds for what is no number."""
    text = np.array(["a", "b"], object)
    assert agree({"t": text}, {"t": text.copy()}, Tolerance(1, 1))
    assert not agree({"t": text}, {"t": text[::-1]}, Tolerance(1, 1))


def test_part_of_a_batch_holds_the_whole_batch() -> None:
    """The limit on memory counts what a view keeps alive, not what it shows."""
    batch = np.zeros((64, 1000), np.float32)
    body = bytes(4000)
    run = GraphRun("main", {"x": np.frombuffer(body, np.float32)[:10]}, {"y": batch[3:4]})
    assert run.size_bytes >= batch.nbytes + 40
