"""The user's first hour, for real: every code block of the README and of the tutorial, in order, and each route.

A block that is marked as not run is named with the reason. Run by `.ci/run`, not by pytest. Exit code 0 if all works.
"""

import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from tests.support.pages.blocks import read_blocks  # noqa: E402  # it is run as a program
from tests.support.pages.session import Session  # noqa: E402
from tests.support.processes import free_port  # noqa: E402

READY_WITHIN_S = 60.0
README, TUTORIAL = REPOSITORY / "README.md", REPOSITORY / "docs" / "tutorial.md"
ZERO = """
0 0 5 13 9 1 0 0
0 0 13 15 10 15 5 0
0 3 15 2 0 11 8 0
0 4 12 0 0 8 8 0
0 5 8 0 0 9 8 0
0 4 11 0 1 12 7 0
0 2 14 5 10 12 0 0
0 0 6 13 10 0 0 0
"""
"""A digit that the classifier knows, values 0 to 16."""


def ask(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def check(what: str, holds: bool, shown: object = "") -> None:
    print(f"{'ok ' if holds else 'NOT'} {what}", flush=True)
    if not holds:
        raise SystemExit(f"smoke run failed: {what}: {shown}")


def digit() -> np.ndarray:
    return np.array(ZERO.split(), np.float32).reshape(8, 8)


def ask_every_route(url: str) -> None:
    picture = io.BytesIO()
    Image.fromarray((digit() * 255 / 16).round().astype(np.uint8)).save(picture, "PNG")
    png = picture.getvalue()

    def label(answer: tuple[int, bytes]) -> Any:
        return json.loads(answer[1])["predictions"][0]["label"] if answer[0] == 200 else answer

    encoded = json.dumps({"inputs": [{"image": base64.b64encode(png).decode()}]}).encode()
    check("/classify with base64", label(ask(f"{url}/classify", encoded)) == "0")
    check("/classify with a PNG", label(ask(f"{url}/classify", png, {"Content-Type": "image/png"})) == "0")
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8]}
    infer = f"{url}/v2/models/digits-classifier/infer"
    status, body = ask(infer, json.dumps({"inputs": [{**tensor, "data": digit().tolist()}]}).encode())
    logits = json.loads(body)["outputs"][0]["data"]
    check("v2 infer, JSON", status == 200 and int(np.argmax(logits)) == 0, body)
    header = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 256}}]}).encode()
    length = {"Inference-Header-Content-Length": str(len(header))}
    versioned = infer.replace("/infer", "/versions/1/infer")
    status, body = ask(versioned, header + digit().astype("<f4").tobytes(), length)
    check("v2 infer, binary", status == 200 and json.loads(body)["outputs"][0]["data"] == logits, body)
    check("/docs", ask(f"{url}/docs")[0] == 200)
    for status, path, body in ((404, "/nowhere", None), (400, "/classify", b"{}"), (405, "/classify", None)):
        got, text = ask(url + path, body)
        check(f"{path} is {status}", got == status and set(json.loads(text)) == {"error", "request_id"}, text)


def ask_every_task(url: str) -> None:
    """Each task route once, as the README shows them, then every example of the published document."""
    picture = io.BytesIO()
    Image.fromarray((digit() * 255 / 16).round().astype(np.uint8)).save(picture, "PNG")

    def post(path: str, body: dict[str, Any]) -> Any:
        status, text = ask(url + path, json.dumps(body).encode())
        check(path, status == 200, text)
        return json.loads(text)["predictions"][0]

    sunspots = [119.6, 111.0, 104.0, 63.7, 40.4, 29.8, 15.2, 7.5, 2.9]
    body = {"model": "sunspots-forecaster", "inputs": [sunspots], "horizon": 5, "quantiles": [0.1, 0.9]}
    forecast = post("/predict_sequence", body)
    check(
        "a forecast within its interval",
        all(low < high for low, high in zip(*forecast["quantiles"].values(), strict=True)),
    )
    text = post("/predict_sequence", {"model": "date-translator", "inputs": ["Saturday, December 31, 2022"]})["text"]
    check("a date in German", text == "Samstag, 31. Dezember 2022", text)
    png = {"Content-Type": "image/png", "Accept": "image/png"}
    status, content = ask(f"{url}/reconstruct?model=digits-denoiser", picture.getvalue(), png)
    check("/reconstruct, a picture for a picture", status == 200 and content.startswith(b"\x89PNG"), content)
    status, content = ask(f"{url}/generate?model=digits-gan&labels=3,1,4", b"{}", {"Accept": "image/png"})
    check("/generate, a picture", status == 200 and content.startswith(b"\x89PNG"), content)
    stream = json.dumps({"model": "digits-diffusion", "steps": 5, "stream": True}).encode()
    status, content = ask(f"{url}/generate", stream)
    events = content.count(b"data: ")
    check("/generate, a stream", status == 200 and events == 6 and b"\n\nevent: done\n" in content, content)

    paths = json.loads(ask(f"{url}/docs.json")[1])["paths"]
    for template, methods in paths.items():
        for method, of in methods.items():
            # This server does not let itself be changed, and offers no shared memory.
            if "administration" in of["tags"] or "/systemsharedmemory/" in template:
                continue
            given = {each["name"]: each["example"] for each in of.get("parameters", ()) if each["in"] == "path"}
            path = template.format(**given)
            bodies = of["requestBody"]["content"]["application/json"]["examples"] if method == "post" else {"": {}}
            for name, example in bodies.items():
                status, content = ask(url + path, json.dumps(example["value"]).encode() if example else None)
                check(f"{method} {path}, the example {name!r}", status == 200, content)


def read_page(page: Path, folder: Path) -> None:
    """Do what a page says in an empty folder. The README's first server is asked on every route."""
    for name in (".venv", "docs", "examples"):
        (folder / name).symlink_to(REPOSITORY / name)
    environ = {**os.environ, "PATH": f"{REPOSITORY / '.venv' / 'bin'}:{os.environ['PATH']}"}
    make = f'make() {{ command make --silent -C "{REPOSITORY}" "$@"; }}'
    with Session(folder, free_port(), environ, make) as session:
        for block in read_blocks(page):
            if block.reason:
                print(f"--  not run, {block.reason}: {page.name}: {block.name}", flush=True)
                continue
            began = time.monotonic()
            session.run(block)
            took_s = time.monotonic() - began
            print(f"ok  {page.name}: {block.name} ({took_s:.1f} s)", flush=True)
            if block.name.startswith("make serve"):
                check(f"make serve answers within {READY_WITHIN_S:.0f} s", took_s < READY_WITHIN_S, took_s)
                ask_every_route(session.url)
                ask_every_task(session.url)


def main() -> int:
    subprocess.run(["make", "--silent", "install-export"], cwd=REPOSITORY, check=True)
    subprocess.run(["make", "--silent", "compiled"], cwd=REPOSITORY)  # without a compiler it fails, and that is well
    for page in (README, TUTORIAL):
        with tempfile.TemporaryDirectory() as folder:
            read_page(page, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
