"""The lowest and the newest supported versions, for real: an environment of each, and a server in it that must answer.

`make test-versions` runs it. Python comes from those that are installed here (`python3.11`, `python3.13`); one that is
not there, or has no such release, is named and passed over. Exit code 0 if all that could be tried work.

`make test-lowest` runs it with `--lowest` and folders of tests: the lowest Python, and of every library the lowest
version that pyproject.toml allows. The tests must pass there too.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from service.versions import LIBRARIES, PYTHON  # noqa: E402  # it is run as a program

READY_WITHIN_S = 120.0
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LOWEST_EXTRAS = ("cpu", "text", "sound", "export", "loadtest", "grpc", "dev")

GRAPH = """
import sys
import onnx
from onnx import TensorProto as T, helper as h
x, y = (h.make_tensor_value_info(name, T.FLOAT, ["batch", 3]) for name in "xy")
graph = h.make_graph([h.make_node("Add", ["x", "x"], ["y"])], "double", [x], [y])
onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), sys.argv[1])
"""
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}).encode()


def find_pythons(*names: str) -> Iterator[str]:
    for name in dict.fromkeys(names):
        path = shutil.which(f"python{name}")
        if path is None or subprocess.run([path, "-c", ""], capture_output=True).returncode:
            print(f"Python {name} is not installed here: passed over")
        else:
            yield path


def prepare(python: str, folder: Path, requirements: Sequence[str]) -> Path | None:
    """The interpreter of a new environment; None where there are no such releases for this Python."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *requirements], capture_output=True, text=True)
    if done.returncode:
        print(f"passed over, it cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        return None
    return folder / "bin" / "python"


def pin_lowest() -> list[str]:
    """Everything but PyTorch, which is that of constraints.txt: a second one is gigabytes to download."""
    extras = PROJECT["optional-dependencies"]
    requirements = [*PROJECT["dependencies"], *(one for name in LOWEST_EXTRAS for one in extras[name])]
    [torch] = re.findall(r"^torch==.*$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
    return [torch if one.startswith("torch>") else one.replace(">=", "==") for one in requirements]


def ask(url: str, body: bytes | None = None) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""
    except OSError:
        return 0, b""


def environ_of_tests() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def try_server(python: Path, folder: Path) -> str:
    """Serve a plain ONNX file with two workers, and stop. Returns what was wrong, or nothing."""
    (folder / "store" / "double" / "1").mkdir(parents=True)
    subprocess.run([python, "-c", GRAPH, folder / "store" / "double" / "1" / "model.onnx"], check=True)
    command = [str(python), "-m", "sluice", "serve", "--store", str(folder / "store"), "--port", "0", "--workers", "2"]
    log = folder / "log"
    with log.open("w") as stderr:
        server = subprocess.Popen(
            command, cwd=REPOSITORY, env=environ_of_tests(), stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().rpartition(" ")[2].strip()
        ends = time.monotonic() + READY_WITHIN_S
        if not url:
            return f"it does not listen, code {server.wait(60)}; its log ends with:\n{log.read_text()[-1500:]}"
        while ask(f"{url}/readyz")[0] != 200:
            if server.poll() is not None or time.monotonic() > ends:
                return f"it did not become ready, code {server.poll()}; its log ends with:\n{log.read_text()[-1500:]}"
        for path in ("/v2/models/double", "/metrics", "/models", "/docs.json", "/docs"):
            if ask(url + path)[0] != 200:
                return f"{path} is {ask(url + path)[0]}"
        for fast in ("", "?"):  # the fast path; a query goes there too, an escaped path does not
            status, body = ask(f"{url}/v2/models/double/infer{fast}", BODY)
            if status != 200 or json.loads(body)["outputs"][0]["data"] != [2, 4, 6]:
                return f"a request is {status}: {body!r}"
        status, body = ask(f"{url}/v2/models/doubl%65/infer", BODY)
        if status != 200:
            return f"a request by the ASGI path is {status}"
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
        return "" if code == 0 else f"SIGTERM ends it with code {code}"
    finally:
        server.kill()
        server.wait()


def try_versions() -> bool:
    """Every Python with the lowest of both libraries, and with the newest of both. Whether all that were tried work."""
    failed = 0
    for python in find_pythons(PYTHON.lowest, PYTHON.newest):
        for which in ("lowest", "newest"):
            chosen = [f"{name}=={getattr(LIBRARIES[name], which)}" for name in ("uvicorn", "onnxruntime")]
            print(f"--- {Path(python).name}, {', '.join(chosen)}", flush=True)
            with tempfile.TemporaryDirectory() as scratch:
                interpreter = prepare(python, Path(scratch) / "venv", [*PROJECT["dependencies"], *chosen])
                if interpreter is not None:
                    fault = try_server(interpreter, Path(scratch))
                    print(fault or "works", flush=True)
                    failed += bool(fault)
    return not failed


def try_lowest(pytest_arguments: Sequence[str]) -> bool:
    """A server and the tests with the lowest versions. Whether they work."""
    for python in find_pythons(PYTHON.lowest):
        with tempfile.TemporaryDirectory() as scratch:
            interpreter = prepare(python, Path(scratch) / "venv", pin_lowest())
            fault = try_server(interpreter, Path(scratch)) if interpreter else "there is no such environment"
            print(fault or "works", flush=True)
            if fault:
                return False
            subprocess.run([interpreter, "-m", "pip", "install", "--quiet", "--no-deps", "-e", REPOSITORY], check=True)
            command = [str(interpreter), "-m", "pytest", *pytest_arguments]
            return subprocess.run(command, cwd=REPOSITORY, env=environ_of_tests()).returncode == 0
    return True


def main(words: Sequence[str]) -> int:
    works = try_lowest(words[1:]) if words[:1] == ["--lowest"] else try_versions()
    return 0 if works else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
