"""The user's first minutes, for real: `make serve` on a free port, the README's commands, each route, SIGTERM.

Run by `.ci/run`, not by pytest. Exit code 0 if all of it works.
"""

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
READY_WITHIN_S = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


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


def readme_curls(port: int) -> list[str]:
    text = (REPOSITORY / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [block.replace("127.0.0.1:3000", f"127.0.0.1:{port}") for block in blocks if block.startswith("curl")]


def digit() -> np.ndarray:
    """The zero of the README, values 0..16."""
    rows = re.findall(r"^  \[([\d, ]+)\]", (REPOSITORY / "README.md").read_text(), re.MULTILINE)
    return np.array([[int(v) for v in row.split(",")] for row in rows], np.float32)


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
            if "administration" in of["tags"]:  # this server does not let itself be changed
                continue
            given = {each["name"]: each["example"] for each in of.get("parameters", ()) if each["in"] == "path"}
            path = template.format(**given)
            bodies = of["requestBody"]["content"]["application/json"]["examples"] if method == "post" else {"": {}}
            for name, example in bodies.items():
                status, content = ask(url + path, json.dumps(example["value"]).encode() if example else None)
                check(f"{method} {path}, the example {name!r}", status == 200, content)


def main() -> int:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    subprocess.run(["make", "--silent", "install"], cwd=REPOSITORY, check=True)
    began = time.monotonic()
    server = subprocess.Popen(
        ["make", "--silent", "serve", f"PORT={port}"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    log: list[str] = []
    try:
        assert server.stdout is not None
        for line in server.stdout:
            log.append(line)
            if "models serve" in line:
                break
        check(f"make serve answers within {READY_WITHIN_S:.0f} s", time.monotonic() - began < READY_WITHIN_S, log)
        for command in readme_curls(port):
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
            right = '"label":"0"' in done.stdout or "/classify" not in command
            check(f"README: {command.splitlines()[0]} …", done.returncode == 0 and right, done)
        ask_every_route(url)
        ask_every_task(url)
    except BaseException:
        print("".join(log), file=sys.stderr)
        raise
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        output, _ = server.communicate(timeout=60)
    check("SIGTERM ends it without a traceback", "Traceback" not in output, output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
