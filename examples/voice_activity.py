"""Where does somebody speak? By Silero's detector of voices (MIT), live, over a WebSocket.

    pip install --no-deps silero-vad==6.2.3 websockets==16.0
    sluice export examples/voice_activity.py:spec --store models
    sluice serve --store models
    python examples/voice_activity.py speech.wav

The graph takes 512 samples at 16 kHz, the 64 samples before them, and a state. The server keeps both from window to
window, so a client sends samples as they come, in pieces of any size. It gets the probability of speech of each 32 ms.
"""

import asyncio
import itertools
import json
import sys
import tempfile
import wave
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import onnx
from onnx import TensorProto, helper

from export import OnnxSpec
from model_store.tasks import Carry, Loop, Sound

RATE, WINDOW, CONTEXT = 16_000, 512, 64
FILE = "silero_vad_op18_ifless.onnx"
URL = "ws://127.0.0.1:3000/v2/models/voice-activity/stream"


def spec() -> OnnxSpec:
    """The detector, with what it carries from window to window."""
    path = Path(tempfile.mkdtemp()) / "voice_activity.onnx"
    onnx.save(build(), path)
    return OnnxSpec(
        name="voice-activity",
        file=path,
        sound=Sound(input="samples", rate=RATE, window=WINDOW),
        loop=Loop(
            carries=(Carry(input="context", output="next_context"), Carry(input="memory", output="next_memory")),
            max_steps=100_000,
        ),
        description="The probability that somebody speaks, for each 32 ms of sound",
        licence="MIT",
    )


def build() -> onnx.ModelProto:
    """The part of the package's graph for 16 kHz, with one row for each caller in every tensor."""
    model = onnx.load(folder() / "data" / FILE)
    graph = model.graph
    choice = next(node for node in graph.node if node.op_type == "If")  # by the rate: 16 kHz, or 8 kHz
    part = next(attribute.g for attribute in choice.attribute if attribute.name == "then_branch")
    probability, state = (output.name for output in part.output)
    nodes = [
        helper.make_node("Constant", [], ["from"], value_ints=[-CONTEXT]),
        helper.make_node("Constant", [], ["to"], value_ints=[WINDOW]),
        helper.make_node("Constant", [], ["axis"], value_ints=[1]),
        helper.make_node("Slice", ["samples", "from", "to", "axis"], ["next_context"]),
        helper.make_node("Concat", ["context", "samples"], ["input"], axis=1),
        helper.make_node("Transpose", ["memory"], ["state"], perm=[1, 0, 2]),
        *part.node,
        helper.make_node("Transpose", [state], ["next_memory"], perm=[1, 0, 2]),
        helper.make_node("Identity", [probability], ["probability"]),
    ]
    used = {name for node in nodes for name in node.input}
    weights = [one for one in (*graph.initializer, *part.initializer) if one.name in used]
    shapes = {"samples": (WINDOW,), "context": (CONTEXT,), "memory": (2, 128)}
    made = {"probability": (1,), "next_context": (CONTEXT,), "next_memory": (2, 128)}
    built = helper.make_graph(nodes, "voice", declare(shapes), declare(made), weights)
    return helper.make_model(built, opset_imports=model.opset_import, ir_version=model.ir_version)


def declare(rows: Mapping[str, tuple[int, ...]]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in rows.items()]


def folder() -> Path:
    """Where the package is installed."""
    found = find_spec("silero_vad")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("silero-vad is not installed: see the first lines of this file")
    return Path(found.submodule_search_locations[0])


class Speech(NamedTuple):
    """In samples, the end exclusive."""

    start: int
    end: int


def find_speech(
    probabilities: Sequence[float], length: int, threshold: float = 0.5, least_s: float = 0.25, pause_s: float = 0.1
) -> list[Speech]:
    """Where somebody speaks in a sound of ``length`` samples, from the probability of each window.

    Speech begins at the threshold, and ends where it stays 0.15 below for ``pause_s``. What is shorter than ``least_s``
    does not count. Each piece gets 30 ms more on both sides, or half of a shorter pause.
    """
    found, start, quiet = [], None, None
    for at, probability in enumerate(probabilities):
        place = at * WINDOW
        if probability >= threshold:
            quiet = None
            start = place if start is None else start
        elif start is not None and probability < threshold - 0.15:
            quiet = place if quiet is None else quiet
            if place - quiet >= pause_s * RATE:
                found.append(Speech(start, quiet))
                start = quiet = None
    if start is not None:
        found.append(Speech(start, length))
    return widen([piece for piece in found if piece.end - piece.start > least_s * RATE], length, int(0.03 * RATE))


def widen(pieces: Sequence[Speech], length: int, more: int) -> list[Speech]:
    """Pieces with ``more`` samples on both sides, as far as there is room between them."""
    gaps = [after.start - before.end for before, after in itertools.pairwise(pieces)]
    room = [more if gap >= 2 * more else gap // 2 for gap in gaps]
    return [
        Speech(max(0, piece.start - before), min(length, piece.end + after))
        for piece, before, after in zip(pieces, [more, *room], [*room, more], strict=False)
    ]


async def listen(url: str, chunks: Iterable[bytes], rate: int = RATE) -> AsyncIterator[float]:
    """The probability of speech of each window of int16 samples, while they are sent."""
    from websockets.asyncio.client import connect

    async with connect(f"{url}?rate={rate}", proxy=None) as socket:

        async def send() -> None:
            for chunk in chunks:
                await socket.send(chunk)
            await socket.send(json.dumps({"end": True}))

        sending = asyncio.create_task(send())
        async for message in socket:
            answer = json.loads(message)
            if "error" in answer:
                raise SystemExit(answer["error"])
            if "outputs" in answer:
                yield answer["outputs"]["probability"][0]
        await sending


async def main(file: str, url: str = URL) -> None:
    with wave.open(file) as sound:
        if (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) != (1, 2, RATE):
            raise SystemExit(f"{file}: expected one channel of 16 bits at {RATE} Hz")
        content = sound.readframes(sound.getnframes())
    chunks = [content[at : at + 640] for at in range(0, len(content), 640)]  # 20 ms each, as a microphone gives them
    probabilities = [probability async for probability in listen(url, chunks)]
    for piece in find_speech(probabilities, len(content) // 2):
        print(f"{piece.start / RATE:8.2f} s to {piece.end / RATE:.2f} s")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
