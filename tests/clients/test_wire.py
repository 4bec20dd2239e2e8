"""What programs have to JSON and bytes, and back."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from model_store.sounds.writing import encode_wav
from sluice_client import Picture, Sound
from sluice_client.answers import Classification, ClassifyAnswer, EmbedPrediction, TaggedText
from sluice_client.errors import BadAnswer
from sluice_client.meta import read_timing
from sluice_client.wire.decode import decode
from sluice_client.wire.events import Event, EventReader
from sluice_client.wire.rows import encode_rows
from sluice_client.wire.tensors import decode_tensors, encode_tensors

WAV = encode_wav(np.linspace(-1, 1, 64), 8000)


def test_picture_may_be_a_path_bytes_a_pillow_image_or_pixels(tmp_path: Path) -> None:
    """Each is the same picture in JSON, and pixels are kept exactly, with 1 to 4 channels."""
    random = np.random.default_rng(0)
    for channels in (1, 2, 3, 4):
        pixels = random.integers(0, 256, (5, 7, channels), np.uint8)
        made = Picture.of(pixels)
        assert np.array_equal(made.to_array().reshape(pixels.shape), pixels)
        file = made.save(tmp_path / "made.png")
        forms = (file, made.data, made, Picture.open(file))
        assert all(encode_rows(form) == [{"image": made.encode()}] for form in forms)
        [row] = encode_rows(made.to_pil())
        assert np.array_equal(Picture(base64.b64decode(row["image"])).to_array().reshape(pixels.shape), pixels)


def test_pixels_that_are_no_picture_are_refused() -> None:
    """The message says what a picture is made of, and what came."""
    for pixels in (np.zeros((4, 4)), np.zeros((4, 4, 5), np.uint8), np.zeros(4, np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(ValueError, match=r"pixels: expected uint8 \[height, width\]"):
            Picture.of(pixels)


def test_sound_may_be_a_path_bytes_or_samples(tmp_path: Path) -> None:
    """Samples come back as they were written, to 16 bits; bytes of a sound are told from those of a picture."""
    samples = np.sin(np.arange(100) / 5)
    sound = Sound.of(samples, 8000)
    back, rate = sound.to_samples()
    assert rate == 8000
    assert np.abs(back - samples).max() < 2**-15
    assert encode_rows([sound.save(tmp_path / "a.wav"), sound.data, sound]) == [{"sound": sound.encode()}] * 3
    assert Sound(WAV).to_samples()[0].shape == (64,)
    assert Sound.of(np.zeros((5, 2)), 8000).to_samples()[0].shape == (5, 2)
    for content in (b"ID3\x04", b"\xff\xfb\x90", b"fLaC", b"OggS"):
        assert list(encode_rows(content)[0]) == ["sound"]
    with pytest.raises(ValueError, match="expected a WAV"):
        Sound(b"fLaC").to_samples()
    with pytest.raises(ValueError, match="samples: expected"):
        Sound.of(np.zeros(0), 8000)


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [([0.0], 0, "rate: expected"), ([0.0], 8000.5, "rate: expected"), ([np.nan], 8000, "samples: expected finite")],
)
def test_samples_that_are_no_sound_are_refused(samples: list[float], rate: Any, message: str) -> None:
    """NaN would become silence, and a file without a rate has no length."""
    with pytest.raises(ValueError, match=message):
        Sound.of(np.array(samples), rate)


def test_arrays_lists_and_objects_become_rows() -> None:
    """The first axis of an array and the items of a list are rows; numbers of NumPy are numbers of JSON."""
    rows: Any = [np.float32(0.5), np.int64(3), [np.bool_(True)], {"a": np.arange(2), "b": None}, "text"]
    assert encode_rows(np.ones((2, 1, 3), np.float32)) == [[[1.0, 1.0, 1.0]]] * 2
    assert encode_rows(rows) == [0.5, 3, [True], {"a": [0, 1], "b": None}, "text"]
    assert encode_rows("text") == ["text"]
    assert encode_rows({"age": 3}) == [{"age": 3}]
    json.dumps(encode_rows(rows))


def test_lines_of_a_table_become_rows() -> None:
    """A data frame is a row for each line, by column; missing cells are null."""
    table = pd.DataFrame({"age": [1.5, float("nan")], "sex": ["f", "m"], "n": [1, 2]})
    assert encode_rows(table) == [{"age": 1.5, "sex": "f", "n": 1}, {"age": None, "sex": "m", "n": 2}]


def test_what_is_no_row_is_told_with_its_place() -> None:
    """The message names the place, the kinds that are taken, and what came."""
    with pytest.raises(TypeError, match=r"inputs\[1\].x: expected a text, numbers, .* got builtins.object"):
        encode_rows(["a", {"x": object()}])
    for dtype in ("complex128", "datetime64[s]", "timedelta64[s]"):
        with pytest.raises(TypeError, match=rf"inputs\[0\]: expected an array of numbers.*, got one of {dtype[:9]}"):
            encode_rows(np.zeros((1, 2), dtype))


def test_answer_is_read_by_its_fields() -> None:
    """Of several kinds the one whose fields are there is taken; what is not known is left out."""
    score = {"label": "a", "index": 0, "probability": 1, "new": True}
    value = {"model": "m", "version": "1", "predictions": [{**score, "top": [score]}], "later": 1}
    answer = decode(ClassifyAnswer, value)
    assert isinstance(answer.predictions[0], Classification)
    assert isinstance(answer.classifications[0].probability, float)
    with pytest.raises(TypeError, match="expected TaggedText, got Classification"):
        _ = answer.tagged_texts
    tagged = decode(ClassifyAnswer, {**value, "predictions": [{"spans": []}]})
    assert tagged.tagged_texts == [TaggedText(spans=[])]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, r"answer.version: expected str, got 1"),
        ({"predictions": {}}, r"answer.predictions: expected a list"),
        ({"predictions": [{}]}, r"answer.predictions\[0\]: expected Classification or TaggedText, got {}"),
        ({"predictions": [{"spans": [3]}]}, r"answer.predictions\[0\].spans\[0\]: expected Part, got 3"),
    ],
)
def test_answer_of_another_form_names_the_field(change: dict[str, Any], message: str) -> None:
    """Where it is, what was expected and what came."""
    with pytest.raises(BadAnswer, match=message):
        decode(ClassifyAnswer, {"model": "m", "version": "1", "predictions": [], **change})


def test_vectors_are_arrays_in_either_encoding() -> None:
    """Numbers and base64 of float32 give the same vector."""
    vector = np.arange(3, dtype="<f4")
    for sent in (vector.tolist(), base64.b64encode(vector.tobytes()).decode()):
        assert np.array_equal(decode(EmbedPrediction, {"embedding": sent}).embedding, vector)
    with pytest.raises(BadAnswer, match="embedding: expected nested numbers"):
        decode(EmbedPrediction, {"embedding": [[1], [1, 2]]})


def test_events_do_not_depend_on_how_bytes_arrive() -> None:
    """All ends of lines, comments, and several lines of data are read, one byte at a time or all at once."""
    content = b": hi\r\ndata: a\r\ndata:b\r\n\r\nevent: done\rdata: \xc3\xa4\r\rid: 3\n\ndata: cut"
    expected = [Event("message", "a\nb"), Event("done", "ä")]
    assert list(EventReader().feed(content)) == expected
    reader = EventReader()
    assert [event for byte in content for event in reader.feed(bytes([byte]))] == expected


@pytest.mark.parametrize("dtype", ["?", "u1", "<u2", "i8", "<f2", "<f4", ">f4", "f8", "O"])
def test_tensors_come_back_as_they_were(dtype: str) -> None:
    """Every datatype keeps its values, and big-endian arrays are turned."""
    given = np.array(["a", "ä"], object) if dtype == "O" else np.arange(6).reshape(2, 3).astype(dtype)
    body, length = encode_tensors({"x": given}, None, {})
    head = json.loads(body[:length])
    [sent] = head.pop("inputs")
    answer = {"model_name": "m", "model_version": "1", "outputs": [sent]}
    text = json.dumps(answer).encode()
    _, outputs = decode_tensors(text + body[length:], len(text))
    assert np.array_equal(outputs["x"], given)


def test_tensors_in_json_and_bfloat_are_read() -> None:
    """Texts for infinities become numbers, and BF16 comes as float32."""
    parts = [
        {"name": "a", "datatype": "FP32", "shape": [2], "data": ["NaN", 1.0]},
        {"name": "b", "datatype": "BF16", "shape": [1], "parameters": {"binary_data_size": 2}},
    ]
    text = json.dumps({"outputs": parts}).encode()
    _, outputs = decode_tensors(text + b"\x80\x3f", len(text))
    assert np.isnan(outputs["a"][0])
    assert outputs["a"][1] == outputs["b"][0] == 1.0


def test_arrays_without_a_datatype_are_refused() -> None:
    """The message names the input and its type."""
    with pytest.raises(TypeError, match="x: expected booleans, integers, floats or texts, got an array of complex128"):
        encode_tensors({"x": np.zeros(2, complex)}, None, {})
    with pytest.raises(BadAnswer, match="expected tensors"):
        decode_tensors(b'{"outputs": [{"name": "a"}]}', None)


def test_times_of_the_server_are_read() -> None:
    """Durations by name, and the rows of the batch; what cannot be read is left out."""
    text = 'queue;dur=0.25, batch;desc="x";dur=1e-3,compute;dur=fast, rows;desc="8", total'
    assert read_timing(text) == ({"queue": 0.25, "batch": 0.001}, 8)
    assert read_timing("") == ({}, None)


def test_png_of_one_channel_is_grey() -> None:
    """Pixels without a channel axis are a grey picture."""
    assert Image.open(io.BytesIO(Picture.of(np.zeros((3, 4), np.uint8)).data)).mode == "L"


def test_one_name_of_an_output_is_no_list_of_names() -> None:
    """A text would be read as the names of its letters."""
    with pytest.raises(TypeError, match=r"expected a list of names, got the text 'scores': write \['scores'\]"):
        encode_tensors({}, "scores", {})
