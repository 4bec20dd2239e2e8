import re
from typing import Any

import numpy as np
import pytest

from model_store.manifest import Manifest
from model_store.tasks import Sound
from service.codecs.pictures.reader import RowFile
from service.codecs.rows import Group, count_bytes, read_groups
from service.errors import BodyTooLarge, Cancelled, InvalidInput, UnsupportedMedia
from tests.support.driving import describe
from tests.support.models.text import make_model
from tests.support.sounds.encoding import as_row, encode, sine

RATE = 1000
ONE = make_model("float[batch,n] x => float[batch,n] y", "y = Identity(x)")
FIXED = make_model("float[batch,8] x => float[batch,8] y", "y = Identity(x)")
MORE = make_model(
    "float[batch,8] x, int64[batch] count, float[batch,2] speaker => float[batch,8] y",
    "n = Unsqueeze(count, [1]) m = Cast<to=1>(n) s = ReduceSum<keepdims=1>(speaker, [1]) a = Add(x, m) y = Add(a, s)",
)
HALF = make_model("float16[batch,n] x => float16[batch,n] y", "y = Identity(x)")


def of(graph: bytes, **facts: Any) -> Manifest:
    return describe({"main": graph}, task="tensors", sound=Sound(input="x", rate=RATE, **facts))


ANY, WINDOWS = of(ONE), of(FIXED, window=8, overlap=4)


def read(rows: list[Any], manifest: Manifest = ANY, **more: Any) -> list[Group]:
    return read_groups(rows, manifest, 1000, one_window=False, **more)


@pytest.mark.parametrize(
    ("row", "manifest", "complaint"),
    [
        ("text", ANY, 'expected samples at 1000 Hz as an array of numbers, or {"sound": "<base64>"}, got a text'),
        ({"image": ""}, ANY, "got fields ['image']"),
        ({"sound": 3}, ANY, "got fields ['sound']"),
        ({"sound": "!"}, ANY, "inputs[0].sound: expected a base64 text"),
        ([[1, 2]], ANY, "got an array of shape [1, 2]"),
        ([], ANY, "inputs[0]: expected a sound of at least 1 samples at 1000 Hz, got 0"),
        ([1, "NaN"], ANY, "inputs[0]: expected finite samples"),
        ([1, -32768], ANY, "inputs[0]: expected samples from -1 to 1, got one of size 32768: divide integers"),
        ([0] * 4, of(ONE, least=5), "expected a sound of at least 5 samples at 1000 Hz, got 4"),
        (as_row(encode(sine(0.004, RATE), RATE)), of(ONE, least=5), "inputs[0]: expected a sound of at least 5"),
        ([0] * 8, of(MORE, length="count", window=8), "model 'm' takes an object of x, speaker, got an array"),
        ({"x": [0], "count": 1}, of(MORE, length="count", window=8), "takes an object of x, speaker, got fields"),
        ({"x": [0], "speaker": [1, "NaN"]}, of(MORE, length="count", window=8), "speaker: expected finite numbers"),
        ({"x": "a", "speaker": [1, 2]}, of(MORE, length="count", window=8), "inputs[0].x: expected samples"),
        (
            {"x": [0], "speaker": [1]},
            of(MORE, length="count", window=8),
            "inputs[0].speaker: expected a row of shape [2]",
        ),
        (
            as_row(b""),
            describe({"main": ONE}, task="tensors"),
            "inputs[0]: model 'm' takes numbers of shape [n], not sounds",
        ),
        (
            RowFile(encode(sine(0.1)), "body"),
            describe({"main": ONE}, task="tensors"),
            "body: model 'm' takes numbers",
        ),
    ],
)
def test_faulty_sound_is_refused(row: Any, manifest: Manifest, complaint: str) -> None:
    """The message names the field, and says what was expected and what came."""
    with pytest.raises(InvalidInput, match=re.escape(complaint)):
        read([row], manifest)


def test_damaged_and_long_sounds_have_their_own_errors() -> None:
    """415 for a file that cannot be read, 413 for one that is too long, by its file or as numbers."""
    with pytest.raises(UnsupportedMedia, match=r"^file 1: expected a WAV, FLAC, OGG or MP3 sound, got something else"):
        read([RowFile(b"hello", "file 1")])
    short = of(ONE, longest_s=0.01)
    with pytest.raises(BodyTooLarge, match=r"^inputs\[0\].sound: expected a sound of at most 0.01 s, got 0.1 s$"):
        read([as_row(encode(sine(0.1, RATE), RATE))], short)
    with pytest.raises(BodyTooLarge, match=r"^inputs\[0\]: expected a sound of at most 0.01 s, got 11 samples"):
        read([[0] * 11], short)


def test_sounds_of_a_request_are_limited_together() -> None:
    """In what is decoded, eight times the longest, and in the rows, windows that overlap included."""
    content = RowFile(encode(np.zeros(10, np.float32), RATE), "body")
    assert len(read([content] * 10, max_samples=100)) == 1
    with pytest.raises(BodyTooLarge, match="at most 100 samples in the rows of all sounds together"):
        read([content] * 11, max_samples=100)
    [group] = read([[0] * 48], WINDOWS, max_samples=88)
    assert group.inputs["x"].shape == (11, 8)
    with pytest.raises(BodyTooLarge, match="at most 87 samples in the rows"):
        read([[0] * 48], WINDOWS, max_samples=87)
    faster = RowFile(encode(np.zeros(100, np.float32), 10 * RATE), "body")
    with pytest.raises(BodyTooLarge, match="sounds of at most 800 samples together"):
        read([faster] * 9, max_samples=100)


def test_row_that_would_take_too_much_memory_is_refused() -> None:
    """The check of the model sees the size of a row, with its padding."""
    sizes: list[int] = []
    read([[0] * 5, [0] * 20], of(ONE, multiple=8), check_row=sizes.append)
    assert sizes == [8, 24]


def test_reading_ends_when_nobody_waits() -> None:
    """Between the blocks of a sound."""
    with pytest.raises(Cancelled):
        read([RowFile(encode(sine(1.0)), "body")], is_over=lambda: True)


def test_sound_of_several_windows_is_refused_where_they_cannot_be_joined() -> None:
    """One of a single window is a row."""
    assert len(read_groups([[0] * 8], WINDOWS, 1000)) == 1
    with pytest.raises(InvalidInput, match=r"expected a sound of one window, 0.008 s, got one of 2 windows"):
        read_groups([[0] * 9], WINDOWS, 1000)


def test_sound_is_the_same_in_every_form() -> None:
    """A file, base64 in JSON and numbers at the rate of the model give the same bits."""
    samples = sine(0.05, RATE, 50)
    content = encode(samples, RATE, "float wav")
    groups = read([RowFile(content, "body"), as_row(content), samples.tolist()], of(ONE, level_dbfs=-1.0))
    [x] = [group.inputs["x"] for group in groups]
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[0], x[1])
    np.testing.assert_array_equal(x[0], x[2])
    assert np.abs(x[0]).max() > 1


def test_long_sound_is_several_rows() -> None:
    """Each row knows its sound and its place in it; rows of all sounds share a group."""
    [group] = read([list(range(14)), list(range(5))], WINDOWS)
    assert group.inputs["x"].tolist() == [
        list(range(8)),
        list(range(4, 12)),
        list(range(6, 14)),
        [0, 1, 2, 3, 4, 0, 0, 0],
    ]
    assert list(group.places) == [0, 1, 2, 3]
    assert [tuple(window) for window in group.windows] == [(0, 0, 8), (0, 4, 12), (0, 6, 14), (1, 0, 5)]


def test_graph_gets_lengths_and_other_inputs() -> None:
    """The length is that of the sound in the row; the other inputs are the same for each window."""
    manifest = of(MORE, length="count", window=8)
    [group] = read([{"x": [1] * 11, "speaker": [3, 4]}, {"x": [1] * 2, "speaker": [5, 6]}], manifest)
    assert list(group.inputs) == ["x", "count", "speaker"]
    assert group.inputs["count"].tolist() == [8, 8, 2]
    assert group.inputs["speaker"].tolist() == [[3, 4], [3, 4], [5, 6]]


def test_sounds_of_any_length_are_grouped_by_their_padded_size() -> None:
    """And have the datatype of the input."""
    groups = read([[1] * 5, [1] * 7, [1] * 9], of(HALF, multiple=8))
    assert [(list(group.places), group.inputs["x"].shape) for group in groups] == [([0, 1], (2, 8)), ([2], (1, 16))]
    assert groups[0].inputs["x"].dtype == np.float16


def test_sound_is_read_in_a_thread_however_short_its_file_is() -> None:
    """A short file may be minutes long."""
    content = encode(sine(0.01), kind="flac")
    assert count_bytes([RowFile(content, "body")], 1000) > 1000
    assert count_bytes([as_row(content)], 1000) > 1000
    assert count_bytes([{"x": as_row(content)}], 1000) > 1000
    assert count_bytes([[0.0] * 100], 1000) < 1000
