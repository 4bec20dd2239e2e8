"""The image, built and run by podman as a cluster would run it: `make test-image`."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from packaging.utils import canonicalize_name

from service.api.openapi.examples import EXAMPLES
from tests.deploy.examples import find_failures
from tests.deploy.podman import BASE, NEEDS_CONTAINERS, REPOSITORY, WITHOUT_PYTHON, Container, Podman
from tests.support.connections.listening import RATE, write_listeners
from tests.support.grpc_servers import tensor
from tests.support.processes import free_port
from tests.support.sounds.encoding import encode
from tests.test_lock import read_pins

pytestmark = NEEDS_CONTAINERS
IMAGE, GPU_IMAGE = "localhost/sluice-test:cpu", "localhost/sluice-test:gpu"
LARGEST_BYTES = 450_000_000
SBOM = "opt/sluice/sbom.cdx.json"
CAREFUL = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
LIMITED = ("--memory", "2g", "--cpus", "1")
READY = "models serve"


@pytest.fixture(scope="module")
def podman() -> Podman:
    return Podman()


@pytest.fixture(scope="module")
def image(podman: Podman) -> str:
    return podman.build(IMAGE)


@pytest.fixture(scope="module")
def files(podman: Podman, image: str) -> Iterator[Path]:
    with podman.mounted(image) as root:
        yield root


@dataclass(frozen=True)
class Running:
    """A container of the image, and where it answers."""

    container: Container
    client: httpx.Client
    grpc_url: str


@contextmanager
def serving(podman: Podman, image: str, *options: str) -> Iterator[Running]:
    """Run the image without capabilities, with a read-only root and with limits."""
    port, grpc_port = free_port(), free_port()
    variables = {"PORT": port, "GRPC_PORT": grpc_port, "HOST": "127.0.0.1", "CONTROL": "true"}
    given = [f"--env=SLUICE_{name}={value}" for name, value in variables.items()]
    with podman.started(image, options=(*CAREFUL, *LIMITED, *given, *options)) as container:
        container.read_until(READY)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield Running(container, client, f"127.0.0.1:{grpc_port}")


@pytest.fixture(scope="module")
def running(podman: Podman, image: str) -> Iterator[Running]:
    """A container with the reference models, which are in the image."""
    with serving(podman, image) as server:
        yield server


@pytest.fixture(scope="module")
def listening(podman: Podman, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With a mounted store of models that take sounds, which any user may read."""
    root = write_listeners(tmp_path_factory.mktemp("sounds"))
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with serving(podman, image, "--env=SLUICE_STORE=/models", f"--volume={root}:/models:ro") as server:
        yield server


def test_image_is_small(podman: Podman, image: str) -> None:
    """The whole image, with the trimmed base image, is under 450 MB."""
    described = podman.inspect(image)
    [base_bytes] = [podman.inspect(BASE)["Size"]]
    print(f"image: {described['Size'] / 1e6:.0f} MB; base image before it is trimmed: {base_bytes / 1e6:.0f} MB")
    assert described["Size"] < LARGEST_BYTES


def test_every_documented_request_is_answered(running: Running) -> None:
    """Each example of each route and of each reference model is 200: nothing that was left out is missing."""
    assert find_failures(running.client) == {}


def test_picture_and_text_are_classified(running: Running) -> None:
    """The picture of a zero is a zero, and a date in two languages has two labels."""
    digit = running.client.post("/classify", json=EXAMPLES["classify"]["digit"][1]).json()
    assert digit["predictions"][0]["label"] == "0"
    days = {"model": "language-classifier", "inputs": ["Friday, March 13, 2026", "piątek, 13 marca 2026"]}
    texts = running.client.post("/classify", json=days).json()["predictions"]
    assert texts[0]["label"] != texts[1]["label"]


def test_pictures_are_generated(running: Running) -> None:
    """A diffusion model gives the same pictures for the same seed."""
    wanted = EXAMPLES["generate"]["diffusion"][1]
    first, again = (running.client.post("/generate", json={**wanted, "seed": 7}).json()["outputs"] for _ in range(2))
    assert first
    assert first == again


@pytest.mark.parametrize("kind", ["wav", "flac", "opus", "mp3"])
def test_sound_is_answered(listening: Running, kind: str) -> None:
    """A sound in each form is decoded by the libraries of the image, and classified by a mounted model."""
    rate = RATE if kind in ("wav", "flac") else 8000
    body = encode(np.zeros(4 * rate, np.float32), rate, kind)
    headers = {"content-type": "audio/mpeg" if kind == "mp3" else f"audio/{'ogg' if kind == 'opus' else kind}"}
    answer = listening.client.post("/classify?model=louder", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["label"] == "quiet"


def test_grpc_is_answered(running: Running) -> None:
    """The protocol answers over gRPC as over HTTP."""
    rows = np.zeros((1, 1, 8, 8), np.float32)
    body = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": rows.ravel().tolist()}]}
    over_http = running.client.post("/v2/models/digits-classifier/infer", json=body).json()["outputs"][0]
    with triton.InferenceServerClient(running.grpc_url) as client:
        over_grpc = client.infer("digits-classifier", [tensor("image", rows)]).as_numpy(over_http["name"])
    assert np.array_equal(over_grpc.ravel(), np.array(over_http["data"], np.float32))


def test_metrics_and_health_are_answered(running: Running) -> None:
    """Prometheus can scrape it, and the health check of the image finds the port that a variable chose."""
    assert "sluice_" in running.client.get("/metrics").text
    assert running.container.is_healthy()


def test_process_has_no_privileges(running: Running) -> None:
    """It runs as user 10001, without any capability, under a seccomp filter, and can write to nothing but /tmp."""
    status = dict(line.split(":\t", 1) for line in running.container.execute("cat", "/proc/1/status").splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    writable = "import os; print([p for p in ('/', '/opt/sluice', '/models', '/var', '/tmp') if os.access(p, os.W_OK)])"
    assert running.container.execute("python", "-c", writable).strip() == "['/tmp']"


def test_limit_of_cores_is_seen(running: Running) -> None:
    """One core of the quota counts, not those of the machine."""
    command = "from service.cores import count_cores; print(count_cores())"
    assert running.container.execute("python", "-c", command).strip() == "1"


def test_requests_run_compiled(running: Running) -> None:
    """The path of a request is compiled code."""
    command = "from service.compiled import is_compiled; print(is_compiled())"
    assert running.container.execute("python", "-c", command).strip() == "True"


def test_stop_ends_with_zero(podman: Podman, image: str) -> None:
    """SIGTERM ends a server in its grace with exit code 0, without a network too, and nothing is left to kill."""
    with podman.started(image, options=(*CAREFUL, *LIMITED, "--network", "none")) as container:
        assert container.read_until(READY).is_healthy()
        assert container.stop() == 0


def test_server_without_memory_is_killed_and_says_so(podman: Podman, image: str) -> None:
    """The memory limit is real: with too little, the container does not pretend to serve."""
    with podman.started(image, options=(*CAREFUL, "--memory", "48m", "--network", "none")) as container:
        assert container.wait() != 0


def test_sbom_lists_what_is_installed(files: Path) -> None:
    """Each package of the environment is in the document, with a licence and the hash that the lock file allows."""
    document = json.loads((files / SBOM).read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    listed = {(canonicalize_name(each["name"]), each["version"]): each for each in document["components"]}
    [site] = (files / "opt/sluice/lib").glob("python3*/site-packages")
    folders = [path.name.removesuffix(".dist-info").rsplit("-", 1) for path in site.glob("*.dist-info")]
    assert {(canonicalize_name(name), version) for name, version in folders} == set(listed)
    lock = (REPOSITORY / "requirements-cpu.lock").read_text()
    unlocked = {
        name for (name, _), each in listed.items() if any(h["content"] not in lock for h in each.get("hashes", ()))
    }
    without = {name for (name, _), each in listed.items() if not each.get("hashes")}
    assert (unlocked, without) == (set(), {"sluice-serving"})
    assert {name for name, _ in listed} <= {*read_pins(lock), "sluice-serving"}
    # What these three say of their licence is a text, not a name.
    unlicensed = {name for (name, _), each in listed.items() if not each.get("licenses")}
    assert unlicensed <= {"protobuf", "pysimdjson", "simple-di"}


def test_licences_stay(files: Path) -> None:
    """Licences of Python's packages and copyrights of Debian's are in the image."""
    [site] = (files / "opt/sluice/lib").glob("python3*/site-packages")
    assert len([path for path in site.rglob("*") if re.match(r"(?i)licen[cs]e|copying", path.name)]) > 60
    packages = re.findall(r"^Package: (\S+)", (files / "var/lib/dpkg/status").read_text(), re.MULTILINE)
    shared = files / "usr/share/doc"
    assert [name for name in packages if (shared / name).is_dir() and not (shared / name / "copyright").exists()] == []


def test_no_tool_that_builds_or_installs_is_left(files: Path) -> None:
    """There is no compiler and no pip, in no folder."""
    folders = [files / name for name in ("usr/bin", "usr/local/bin", "opt/sluice/bin")]
    programs = [path.name for folder in folders for path in folder.iterdir()]
    assert [name for name in programs if re.fullmatch(r"(gcc|g\+\+|cc|c\+\+|as|make|pip|uv|ld)([-\d].*)?", name)] == []
    assert [path for path in files.rglob("pip") if path.is_dir() and "dist-packages" in str(path)] == []
    assert [path for path in files.rglob("pip") if path.is_dir() and "site-packages" in str(path)] == []


def test_shell_is_not_needed(podman: Podman, image: str) -> None:
    """The entry point and the health check are programs, not lines for a shell, and run without one."""
    config = podman.inspect(image)["Config"]
    assert (config["Entrypoint"], config["User"]) == (["sluice", "serve"], "10001:10001")
    assert podman.inspect(image)["Healthcheck"]["Test"] == ["CMD", "sluice", "health"]
    options = (
        *CAREFUL,
        *LIMITED,
        "--network",
        "none",
        "-v",
        "/dev/null:/usr/bin/dash:ro",
        "-v",
        "/dev/null:/usr/bin/bash:ro",
    )
    with podman.started(image, options=options) as container:
        assert container.read_until(READY).is_healthy()


def test_layers_have_no_secret_and_no_path_of_the_machine(podman: Podman, image: str, files: Path) -> None:
    """What the build adds names neither the folder of the checkout, nor an index, nor a variable of the builder."""
    history = podman.run("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    variables = podman.inspect(image)["Config"]["Env"]
    given = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    hosts = set(re.findall(r"https?://([^/'\s]+)", given)) - {"pypi.org"}
    private = [word.encode() for word in (str(REPOSITORY), *hosts)]
    added = [path.read_bytes() for path in (files / "opt/sluice").rglob("*") if path.is_file()]
    contents = [history.encode(), "\n".join(variables).encode(), *added]
    assert {word for word in private for content in contents if word in content} == set()
    secret = re.compile(r"(?i)(secret|token|passw|api_?key|proxy)\w*=")
    assert [line for line in (*history.splitlines(), *variables) if secret.search(line)] == []


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_package_has_a_file_for_the_machine(variant: str, machine: str, tmp_path: Path) -> None:
    """For x86 and for ARM there is a wheel of each package whose hash is in the lock file. Nothing is downloaded."""
    uv = shutil.which("uv", path=f"{REPOSITORY / '.venv/clients/uv/bin'}:/usr/local/bin:/usr/bin") or shutil.which("uv")
    if uv is None:
        pytest.skip("not installed: uv")
    options = ["--no-config", "--quiet", "--dry-run", "--target", str(tmp_path), "--only-binary", ":all:"]
    platform = ["--python-version", "3.11", "--python-platform", f"{machine}-manylinux_2_34"]
    lock = ["--require-hashes", "-r", str(REPOSITORY / f"requirements-{variant}.lock")]
    done = subprocess.run(
        [uv, "pip", "install", *options, *platform, *lock], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def gpu_image(podman: Podman) -> str:
    return podman.build(GPU_IMAGE, "--build-arg", "VARIANT=gpu", base=WITHOUT_PYTHON)


def test_gpu_image_serves_on_the_cpu_and_says_so(podman: Podman, gpu_image: str) -> None:
    """On a base without Python, as CUDA's is, the GPU image builds; without a GPU it serves on the CPU, and warns."""
    with podman.started(gpu_image, options=(*CAREFUL, *LIMITED, "--network", "none")) as container:
        log = container.read_until(READY).log()
    assert "serves on CPUExecutionProvider" in log
    assert "this ONNX Runtime has cuda, but the session came up on the CPU" in log


def test_gpu_image_refuses_where_cuda_is_required(podman: Podman, gpu_image: str) -> None:
    """With SLUICE_PROVIDER=cuda and no GPU, no model serves on the CPU, and the log names the reason."""
    options = (*CAREFUL, *LIMITED, "--network", "none", "-e", "SLUICE_PROVIDER=cuda")
    with podman.started(gpu_image, options=options) as container:
        log = container.read_until("provider 'cuda' is required, but the session came up on CPU").log()
    assert "serves on CPUExecutionProvider" not in log
