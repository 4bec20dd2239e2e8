"""Who is on a photograph? Asks the pipeline of face_who.toml, which says how to serve it.

    python examples/face_who.py group.jpg ann.jpg bob.jpg

The other pictures show one known face each, cut out.
"""

import base64
import sys
from pathlib import Path
from typing import Any

import httpx

URL = "http://localhost:3000"


def ask(photo: Path, known: list[Path], url: str = URL) -> list[tuple[list[float], Path | None, float | None]]:
    """The box of each face, who it is, and the distance to the nearest known face. None: nobody who is known."""
    row = {"photo": encode(photo), "known": [encode(path) for path in known]}
    answer = httpx.post(f"{url}/pipeline", json={"model": "face-who", "inputs": [row]}, timeout=60)
    [found] = answer.raise_for_status().json()["predictions"]
    return [
        (box, known[best["index"]] if best and best["same"] else None, best and best["distance"])
        for box, best in zip(found["boxes"], found["who"], strict=True)
    ]


def encode(path: Path) -> dict[str, Any]:
    return {"image": base64.b64encode(path.read_bytes()).decode()}


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit("usage: python examples/face_who.py PHOTO FACE ...")
    for box, who, distance in ask(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]):
        print(box, who.stem if who else "nobody who is known", distance)
