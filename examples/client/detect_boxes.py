"""Where are digits in a picture? Boxes, as numbers and drawn. python examples/client/detect_boxes.py [URL]"""

import sys
from pathlib import Path

from sluice_client import Client, Picture

BOARD = Path(__file__).parent / "data" / "board.png"


def main(url: str = "http://127.0.0.1:3000") -> None:
    with Client(url) as sluice:
        answer = sluice.detect(BOARD, model="digits-detector", threshold=0.5)
        drawn: Picture = sluice.detect_as_picture(BOARD, model="digits-detector", threshold=0.5)
    [found] = answer.predictions
    print(f"{len(found.detections)} digits in a picture of {found.width} x {found.height} pixels:")
    for digit in sorted(found.detections, key=lambda each: each.box[0]):
        left, top, right, bottom = map(round, digit.box)
        print(f"  {digit.label}  score {digit.score:.2f}  from ({left}, {top}) to ({right}, {bottom})")
    print(f"Drawn by the server: {drawn.save('boxes.png')}")


if __name__ == "__main__":
    main(*sys.argv[1:])
