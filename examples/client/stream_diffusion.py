"""Watch a diffusion draw a digit, step by step. python examples/client/stream_diffusion.py [URL]"""

import sys

import numpy as np

from sluice_client import Client

SHADES = " .:-=+*#%@"


def show(pixels: np.ndarray) -> str:
    """Pixels [1, 8, 8] from 0 to 16 as lines of characters."""
    levels = np.clip(pixels[0] / 16 * 9, 0, 9).round().astype(int)
    return "\n".join("  " + "".join(2 * SHADES[level] for level in line) for line in levels)


def main(url: str = "http://127.0.0.1:3000") -> None:
    with (
        Client(url) as sluice,
        sluice.generate_as_stream(model="digits-diffusion", labels=["3"], steps=12, guidance=1.0, seed=4) as stream,
    ):
        for event in stream:
            if event.step % 4 == 0:
                print(f"After step {event.step + 1} of {event.steps}, the model expects:")
                print(show(np.asarray(event.preview)))
        answer = stream.answer
    print(f"The digit {answer.labels} of seed {answer.seed}:")
    print(show(answer.arrays[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
