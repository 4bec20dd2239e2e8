"""Which digit is in a picture, and why? python examples/client/classify_picture.py [URL]"""

import sys
from pathlib import Path

import numpy as np

from sluice_client import Client

PICTURE = Path(__file__).parent / "data" / "seven.png"
SHADES = " .:-=+*#%@"


def main(url: str = "http://127.0.0.1:3000") -> None:
    with Client(url) as sluice:
        answer = sluice.classify(PICTURE, model="digits-classifier", top_k=3, explain="occlusion")
        overlay = sluice.classify_as_picture(PICTURE, model="digits-classifier", explain="occlusion")
    best = answer.classifications[0]
    for score in best.top:
        print(f"{score.label}  {score.probability:6.1%}  {'█' * round(40 * score.probability)}")

    if best.explanation:
        print(f"\nHow much each part counts for {best.label} ({best.explanation.method}):")
        falls = np.clip(np.asarray(best.explanation.values), 0, None)
        for line in falls / falls.max():
            print("  " + "".join(2 * SHADES[round(9 * share)] for share in line))
    print(f"As a picture: {overlay.save('explanation.png')}")


if __name__ == "__main__":
    main(*sys.argv[1:])
