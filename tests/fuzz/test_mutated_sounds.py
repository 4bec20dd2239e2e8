"""Mutated sounds: each is read or refused, and none ends the process."""

from random import Random

import numpy as np
import pytest

from model_store.errors import SoundTooLong, UnreadableSound
from model_store.sounds.reading import read_sound
from model_store.tasks import Sound
from tests.support.sounds.encoding import KINDS, encode, sine

FACTS = Sound(input="x", rate=8000, longest_s=10.0)
MOST_SAMPLES = 1 << 18


def damage(content: bytes, random: Random) -> bytes:
    """Flip, cut, repeat or overwrite, once to five times, more often in the header."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 5)):
        at = random.randrange(1 + (min(100, len(changed)) if random.random() < 0.6 else len(changed)))
        end = at + random.choice((1, 2, 4, 50))
        kind = random.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            del changed[at:end]
        elif kind == 2:
            changed[at:at] = changed[at:end]
        elif kind == 3:
            changed[at:end] = random.choice((b"\xff", b"\0", b"\x7f")) * (end - at)
        else:
            del changed[random.randrange(len(changed) + 1) :]
    return bytes(changed)


@pytest.mark.parametrize("count", [50, pytest.param(3000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
@pytest.mark.parametrize("kind", KINDS)
def test_mutated_sound_is_read_or_refused(kind: str, count: int) -> None:
    """With finite samples within the limits, or with a message that names it."""
    content = encode(np.stack([sine(0.5, 8000), sine(0.5, 8000, 300)], 1), 8000, kind)
    for number in range(count):
        mutated = damage(content, Random(f"{kind}/{number}"))
        try:
            samples = read_sound(mutated, FACTS, MOST_SAMPLES, "body")
        except (UnreadableSound, SoundTooLong) as error:
            refusal = str(error)
        else:
            assert np.isfinite(samples).all()
            assert len(samples) <= MOST_SAMPLES
            continue
        assert refusal.startswith("body: expected ")
