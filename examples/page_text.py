"""Where is text on a page? By PP-OCRv6's detector (Apache-2.0).

pip install --no-deps rapidocr==3.10.0
sluice export examples/page_text.py:spec --store models
sluice serve --store models
curl localhost:3000/detect --data-binary @page.png
curl localhost:3000/detect --data-binary @page.png -H 'Accept: image/png' -o boxes.png
"""

from importlib.util import find_spec
from pathlib import Path

from export import OnnxSpec
from model_store.tasks import Detection, Image, Regions

IMAGE = Image(
    input="x",
    channels=3,
    order="BGR",
    longest=960,
    enlarge=False,
    multiple=32,
    interpolation="bilinear",
    antialias=False,
    scale=1 / 127.5,
    offset=-1.0,
)


def spec() -> OnnxSpec:
    """The model. Its map is turned into boxes as DBNet does it, but with sides along those of the page."""
    return OnnxSpec(
        name="page-text",
        task="detect",
        file=folder() / "models" / "PP-OCRv6_det_small.onnx",
        labels=("text",),
        image=IMAGE,
        detection=Detection(
            regions=Regions(output=OUTPUT, growth=1.6), threshold=0.6, overlap=None, max_detections=1000
        ),
        description="Lines of text on a page",
        licence="Apache-2.0",
    )


OUTPUT = "fetch_name_0"


def folder() -> Path:
    """Where the package is installed."""
    found = find_spec("rapidocr")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("rapidocr is not installed: see the first lines of this file")
    return Path(found.submodule_search_locations[0])
