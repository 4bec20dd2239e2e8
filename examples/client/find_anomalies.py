"""Which of these pictures is no digit, and where is it wrong? python examples/client/find_anomalies.py [URL]"""

import sys
from pathlib import Path

import numpy as np

from sluice_client import Client, Picture

SEVEN = Picture.open(Path(__file__).parent / "data" / "seven.png")


def main(url: str = "http://127.0.0.1:3000") -> None:
    pixels = SEVEN.to_array()
    scratched = pixels.copy()
    scratched[40:56] = 255  # two rows of its 8 x 8 fields
    noise = np.kron(np.random.default_rng(1).integers(0, 256, (8, 8), np.uint8), np.ones((8, 8), np.uint8))
    pictures = {"a seven": SEVEN, "a scratched seven": Picture.of(scratched), "noise": Picture.of(noise)}

    with Client(url) as sluice:
        answer = sluice.reconstruct(list(pictures.values()), model="digits-vae", error_map=True)
    for name, prediction in zip(pictures, answer.predictions, strict=True):
        verdict = "ANOMALY" if prediction.anomaly else "normal"
        print(f"{name:18} {verdict:8} score {prediction.score:6.2f}, threshold {prediction.threshold:.2f}")
        rows = np.abs(np.asarray(prediction.error_map)).mean(axis=1)
        print(f"{'':18} the largest errors are in row {rows.argmax() + 1} of {len(rows)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
