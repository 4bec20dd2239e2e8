"""The example of live sound, from the package to where somebody speaks, over a WebSocket and over HTTP."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.examples.packages import REPOSITORY, export_example, install
from tests.support.commands.scripts import load_module
from tests.support.servers import FAST, Serving, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SECONDS = 20


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = install(
        tmp_path_factory.mktemp("voices"), "silero-vad==6.2.3", "websockets==16.0", "moonshine-voice==0.1.5"
    )
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def example() -> Any:
    """The module of the example."""
    return load_module(REPOSITORY / "examples" / "voice_activity.py")


@pytest.fixture(scope="module")
def server(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    store = tmp_path_factory.mktemp("store")
    export_example("voice_activity", store, packages)
    with Serving(settings_for(store), FAST) as serving:
        yield serving


@pytest.fixture(scope="module")
def sound(packages: Path, example: Any) -> np.ndarray:
    """Somebody reads: int16 at 16 kHz."""
    soundfile, soxr = pytest.importorskip("soundfile"), pytest.importorskip("soxr")
    samples, rate = soundfile.read(packages / "moonshine_voice/assets/two_cities.wav", dtype="float32")
    samples = soxr.resample(samples, rate, example.RATE)[: SECONDS * example.RATE - 100]
    levels: np.ndarray = (samples * 32767).astype(np.int16)
    return levels


@pytest.fixture(scope="module")
def expected(packages: Path, sound: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The probabilities and the times of the package's own functions."""
    import torch
    from silero_vad.utils_vad import OnnxWrapper, get_speech_timestamps  # type: ignore[import-not-found]

    model = OnnxWrapper(str(packages / "silero_vad/data/silero_vad.onnx"), force_onnx_cpu=True)
    samples = torch.from_numpy(sound.astype(np.float32) / 32768)
    probabilities = model.audio_forward(samples[None], 16_000)[0].numpy()
    found = get_speech_timestamps(samples, model, sampling_rate=16_000)
    return probabilities, [(piece["start"], piece["end"]) for piece in found]


def test_stream_finds_speech_where_the_package_does(
    server: Serving, example: Any, sound: np.ndarray, expected: tuple[np.ndarray, list[tuple[int, int]]]
) -> None:
    """In pieces of any size over a WebSocket: the same probabilities, and the same times to the sample."""
    url = f"{server.url.replace('http', 'ws')}/v2/models/voice-activity/stream"
    chunks = [part.tobytes() for part in np.array_split(sound, 777)]

    async def listen() -> list[float]:
        return [probability async for probability in example.listen(url, chunks)]

    probabilities = asyncio.run(listen())
    assert np.abs(np.array(probabilities) - expected[0]).max() < 1e-5
    assert len(expected[1]) > 3
    assert [tuple(piece) for piece in example.find_speech(probabilities, len(sound))] == expected[1]


def test_sequence_finds_speech_where_the_package_does(
    server: Serving, example: Any, sound: np.ndarray, expected: tuple[np.ndarray, list[tuple[int, int]]]
) -> None:
    """A request of the protocol for each window, on the state that the server keeps by its `sequence_id`."""
    samples = np.pad(sound, (0, -len(sound) % example.WINDOW)).astype(np.float32) / 32768
    windows = samples.reshape(-1, example.WINDOW)
    probabilities = []
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for number, window in enumerate(windows):
            parameters = {"sequence_id": 1, "sequence_start": number == 0, "sequence_end": number == len(windows) - 1}
            tensor = {"name": "samples", "datatype": "FP32", "shape": [1, example.WINDOW], "data": window.tolist()}
            body = {"inputs": [tensor], "parameters": parameters, "outputs": [{"name": "probability"}]}
            answer = client.post("/v2/models/voice-activity/infer", json=body)
            assert answer.status_code == 200, answer.text
            probabilities.append(answer.json()["outputs"][0]["data"][0])
    assert np.abs(np.array(probabilities) - expected[0]).max() < 1e-5
    assert [tuple(piece) for piece in example.find_speech(probabilities, len(sound))] == expected[1]
