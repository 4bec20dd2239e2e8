"""Several models in one call: find the digits, cut each out, read it. python examples/client/run_pipeline.py [URL]"""

import sys
from pathlib import Path

from sluice_client import Client

BOARD = Path(__file__).parent / "data" / "board.png"


def main(url: str = "http://127.0.0.1:3000") -> None:
    with Client(url) as sluice, sluice.pipeline_as_stream(BOARD, model="digits-reader", timings=True) as stream:
        for step in stream:
            print(f"Step {step.step!r} has ended: {step.rows} rows")
        answer = stream.answer
    [read] = answer.predictions
    digits = sorted(zip(read["boxes"], read["found"], read["read"], read["sure"], strict=True))
    for box, found, label, sure in digits:
        print(f"  at {round(box[0]):3} from the left: the detector says {found}, the classifier {label} ({sure:.0%})")
    print(f"The board says {''.join(label for _, _, label, _ in digits)}.")
    for name, times in (answer.timings or {}).items():
        print(f"  {name}: {1000 * times.total_s:.1f} ms, of them {1000 * times.compute_s:.1f} ms computing")


if __name__ == "__main__":
    main(*sys.argv[1:])
