"""Reads the sounds of requests, from files, base64 texts and numbers. ``model_store/sounds`` does the decoding."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.errors import SoundTooLong, SoundTooShort, UnreadableSound
from model_store.graph import Tensor
from model_store.manifest import Manifest
from model_store.sounds.reading import find_fault, raise_level, read_sound
from model_store.sounds.windows import Window, check_length, count_windows, cut_row, plan_windows, size_row
from model_store.sounds.writing import encode_wav
from model_store.tasks import Sound
from service.codecs.pictures.reader import CheckRow, RowFile, decode_base64, describe_row
from service.engine.tensors import Arrays, are_finite
from service.errors import BodyTooLarge, Cancelled, InvalidInput, UnsupportedMedia
from service.protocol.large_json import array_of_large

_MOST_DECODED = 8
"""A request may decode this many times the samples of the longest sound."""

ReadValue = Callable[[Any, str, Tensor], np.ndarray]


class SoundWindow(NamedTuple):
    """A row: samples ``begin`` to ``end`` of a sound. ``row`` is the position of the sound in the request."""

    row: int
    begin: int
    end: int

    @property
    def of_sound(self) -> Window:
        return Window(self.begin, self.end)


def find_sound(manifest: Manifest, graph: str) -> Sound | None:
    """How a sound becomes a row of this graph; None if the graph takes no sound."""
    facts = manifest.sound
    if facts is None or all(tensor.name != facts.input for tensor in manifest.graphs[graph].inputs):
        return None
    return facts


def as_sound(samples: np.ndarray, rate: int) -> dict[str, str]:
    """Samples as a WAV in JSON, in the form that rows of requests also have."""
    return {"sound": base64.b64encode(encode_wav(samples, rate)).decode()}


@dataclass
class SoundReader:
    """Reads the sounds of one request, one by one.

    ``max_samples`` limits each decoded sound, and the rows of all sounds together. ``one_window``: refuse sounds that
    would become several rows. ``read_value`` reads inputs other than the sound.
    """

    model: str
    facts: Sound
    tensors: Sequence[Tensor]
    max_samples: int
    read_value: ReadValue
    check_row: CheckRow | None = None
    one_window: bool = False
    is_over: Callable[[], bool] = lambda: False
    decoded_samples: int = 0
    kept_samples: int = 0

    def read(self, row: Any, position: int, where: str) -> Iterator[tuple[Arrays, SoundWindow]]:
        """The rows of a sound. Raises InvalidInput, UnsupportedMedia, BodyTooLarge, Cancelled."""
        value, further, where = self._split(row, where)
        if isinstance(value, RowFile):
            where = value.where
        samples = self._read_samples(value, where)
        self._check(len(samples), where)
        for window in plan_windows(len(samples), self.facts):
            row_of = {self.facts.input: cut_row(samples, window, self.facts)}
            if self.facts.length is not None:
                row_of[self.facts.length] = np.array(window.end - window.begin, np.int64)
            arrays = {**further, **row_of}
            yield (
                {t.name: arrays[t.name].astype(DATATYPES[t.datatype].dtype, copy=False) for t in self.tensors},
                SoundWindow(position, *window),
            )

    def _split(self, row: Any, where: str) -> tuple[Any, dict[str, np.ndarray], str]:
        """The sound of a row, the other inputs, and the place of the sound for messages."""
        own = (self.facts.input, self.facts.length)
        others = {tensor.name: tensor for tensor in self.tensors if tensor.name not in own}
        if not others:
            return row, {}, where
        names = [self.facts.input, *others]
        if not isinstance(row, Mapping) or row.keys() != set(names):
            where, got = describe_row(row, where)
            raise InvalidInput(f"{where}: model {self.model!r} takes an object of {', '.join(names)}, got {got}")
        further = {name: self.read_value(row[name], f"{where}.{name}", tensor) for name, tensor in others.items()}
        for name, value in further.items():
            if value.dtype.kind == "f" and not are_finite(value):
                raise InvalidInput(f"{where}.{name}: expected finite numbers")
        return row[self.facts.input], further, f"{where}.{self.facts.input}"

    def _read_samples(self, value: Any, where: str) -> np.ndarray:
        if isinstance(value, RowFile):
            return self._decode(bytes(value.content), where)
        if isinstance(value, Mapping):
            if value.keys() != {"sound"} or not isinstance(value["sound"], str):
                raise InvalidInput(f"{where}: {self._form()}, got fields {list(value)!r:.60}")
            return self._decode(decode_base64(value["sound"], f"{where}.sound"), f"{where}.sound")
        if isinstance(value, str):
            raise InvalidInput(f"{where}: {self._form()}, got a text")
        samples = array_of_large(value, DATATYPES["FP32"], where)
        if samples.ndim != 1:
            raise InvalidInput(f"{where}: {self._form()}, got an array of shape {list(samples.shape)}")
        fault = find_fault(samples)
        if fault is not None:
            raise InvalidInput(f"{where}: {fault}")
        if len(samples) > self.facts.longest_s * self.facts.rate:
            raise BodyTooLarge(
                f"{where}: expected a sound of at most {self.facts.longest_s:g} s, got {len(samples)} samples at "
                f"{self.facts.rate} Hz"
            )
        return raise_level(samples, self.facts)

    def _form(self) -> str:
        return f'expected samples at {self.facts.rate} Hz as an array of numbers, or {{"sound": "<base64>"}}'

    def _decode(self, content: bytes, where: str) -> np.ndarray:
        def check(samples: int) -> None:
            if self.is_over():
                raise Cancelled("nobody waits for the rows any more")
            self.decoded_samples += samples
            most = _MOST_DECODED * self.max_samples
            if self.decoded_samples > most:  # a small file may be a long sound, and there may be many of them
                raise BodyTooLarge(f"{where}: expected sounds of at most {most} samples together, got more")

        try:
            return read_sound(content, self.facts, self.max_samples, where, check)
        except UnreadableSound as error:
            raise UnsupportedMedia(str(error)) from None
        except SoundTooLong as error:
            raise BodyTooLarge(str(error)) from None

    def _check(self, length: int, where: str) -> None:
        try:
            check_length(length, self.facts, where)
        except SoundTooShort as error:
            raise InvalidInput(str(error)) from None
        count, size = count_windows(length, self.facts), size_row(length, self.facts)
        if self.one_window and count > 1:
            raise InvalidInput(
                f"{where}: expected a sound of one window, {size / self.facts.rate:g} s, got one of {count} windows, "
                "which cannot be joined here"
            )
        self.kept_samples += count * size
        if self.kept_samples > self.max_samples:
            raise BodyTooLarge(
                f"{where}: expected at most {self.max_samples} samples in the rows of all sounds together, got more"
            )
        if self.check_row is not None:
            self.check_row(size)
