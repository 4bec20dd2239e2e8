"""The pods of deploy/kubernetes and deploy/kserve, really run: by podman, with the image of the Dockerfile."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from model_store import DEFAULT_ROOT
from tests.deploy.kubernetes.manifests import KSERVE, KUBERNETES, WRITABLE, Resource, Variant, kustomize
from tests.deploy.kubernetes.pods import Pod
from tests.deploy.podman import NEEDS_CONTAINERS, Podman
from tests.support.models.reference import Reference

pytestmark = NEEDS_CONTAINERS
IMAGE = "localhost/sluice-test:cpu"
MODELS = ("diabetes-regressor", "language-classifier")
ROW = np.linspace(-1, 1, 10, dtype=np.float32).reshape(1, 10)
TEXT = {"model": "language-classifier", "inputs": ["Freitag, den 13. März 2026"]}
LIST = ("models", "list", "--json", "--store", "/models")
CALLERS = 4
WATCH_S = 0.2


@pytest.fixture(scope="module")
def podman() -> Podman:
    return Podman()


@pytest.fixture(scope="module")
def image(podman: Podman) -> str:
    return podman.build(IMAGE)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two models, which everybody may read."""
    folder = tmp_path_factory.mktemp("store")
    folder.chmod(0o755)
    for name in MODELS:
        shutil.copytree(DEFAULT_ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def pod(podman: Podman, image: str, store: Path) -> Iterator[Pod]:
    """The pod of the CPU overlay, with keys and with a store on its volume."""
    variant = Variant("overlays/cpu", ("keys",))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sluice-keys"}}
    resources = [each for each in variant.render() if each["kind"] == "ConfigMap"]
    resources.append({**secret, "data": {"sluice_state_key": "YSBrZXk="}})
    with Pod(podman, variant.pod()["spec"], image, resources=resources, claims={"store": store}) as pod:
        yield pod


@pytest.fixture(scope="module")
def runtime(podman: Podman, image: str, store: Path) -> Iterator[Pod]:
    """The pod that KServe makes of the runtime: what `storageUri` names is at /mnt/models."""
    [runtime] = kustomize(KSERVE / "runtime")
    [container] = runtime["spec"]["containers"]
    mount = {"name": "kserve-provision-location", "mountPath": "/mnt/models", "readOnly": True}
    volume = {"name": mount["name"], "hostPath": {"path": str(store)}}
    spec: Resource = {
        "containers": [{**container, "volumeMounts": [*container["volumeMounts"], mount]}],
        "volumes": [*runtime["spec"]["volumes"], volume],
    }
    with Pod(podman, spec, image) as pod:
        yield pod


def infer_http(pod: Pod) -> np.ndarray:
    given = tritonclient.http.InferInput("measurements", ROW.shape, "FP32")
    given.set_data_from_numpy(ROW)
    with tritonclient.http.InferenceServerClient(pod.url.removeprefix("http://")) as client:
        return np.asarray(client.infer("diabetes-regressor", [given]).as_numpy("progression"))


def infer_grpc(pod: Pod) -> np.ndarray:
    given = tritonclient.grpc.InferInput("measurements", ROW.shape, "FP32")
    given.set_data_from_numpy(ROW)
    with tritonclient.grpc.InferenceServerClient(pod.grpc_url) as client:
        return np.asarray(client.infer("diabetes-regressor", [given]).as_numpy("progression"))


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """What the graph gives for the row."""
    return Reference("diabetes-regressor").predict({"measurements": ROW})["progression"]


class Traffic:
    """Callers who ask until the pod leaves the Service, which it does when it says that it is not ready."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._begun, self._removed = threading.Semaphore(0), threading.Event()
        self.statuses: list[int] = []

    def __enter__(self) -> "Traffic":
        self._threads = ThreadPoolExecutor(CALLERS + 1)
        self._callers = [self._threads.submit(self._call) for _ in range(CALLERS)]
        self._watcher = self._threads.submit(self._watch)
        for _ in range(CALLERS):
            self._begun.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._watcher.result()
        for caller in self._callers:
            caller.result()
        self._threads.shutdown()

    def _call(self) -> None:
        with httpx.Client(base_url=self._pod.url, timeout=30) as client:
            while not self._removed.is_set():
                self.statuses.append(client.post("/classify", json=TEXT).status_code)
                self._begun.release()

    def _watch(self) -> None:
        try:
            while self._pod.ask("readiness") == 200:
                self._removed.wait(WATCH_S)
        finally:
            self._removed.set()


@pytest.mark.parametrize("infer", [infer_http, infer_grpc])
@pytest.mark.parametrize("served", ["pod", "runtime"])
def test_pod_answers(
    served: str, infer: Callable[[Pod], np.ndarray], expected: np.ndarray, request: pytest.FixtureRequest
) -> None:
    """The pods of the overlay and of KServe's runtime answer v2 over HTTP and gRPC with what the graph gives."""
    np.testing.assert_array_equal(infer(request.getfixturevalue(served)), expected)


@pytest.mark.parametrize("served", ["pod", "runtime"])
def test_pod_serves_the_store_of_its_volume(served: str, request: pytest.FixtureRequest) -> None:
    """The models are those of the volume and no others; a task answers; each probe's route is 200."""
    pod: Pod = request.getfixturevalue(served)
    with httpx.Client(base_url=pod.url, timeout=30) as client:
        assert client.get("/v2/models").json() == {"models": list(MODELS)}
        answer = client.post("/classify", json=TEXT).json()
    assert answer["predictions"][0]["label"] == "de"
    assert {probe: pod.ask(probe) for probe in pod.probes} == dict.fromkeys(pod.probes, 200)


@pytest.mark.parametrize("served", ["pod", "runtime"])
def test_pod_is_as_restricted_as_it_says(served: str, request: pytest.FixtureRequest) -> None:
    """The server is no root, has no capabilities, cannot get any, has a filter of system calls, and writes to /tmp."""
    pod: Pod = request.getfixturevalue(served)
    status = dict(line.split(":\t") for line in pod.container.execute("cat", "/proc/1/status").splitlines())
    assert status["Uid"].split()[0] == "10001"
    assert (status["CapEff"], status["CapBnd"], status["NoNewPrivs"], status["Seccomp"]) == (
        "0" * 16,
        "0" * 16,
        "1",
        "2",
    )
    with pytest.raises(AssertionError, match="Read-only file system"):
        pod.container.execute("touch", "/file")
    pod.container.execute("touch", f"{WRITABLE[0]}/file")


def test_pod_reads_its_keys(pod: Pod) -> None:
    """The Secret's files are where the server looks for them."""
    assert pod.container.execute("ls", "/etc/sluice-keys").split() == ["sluice_state_key"]
    environ = dict(line.split("=", 1) for line in pod.container.execute("env").splitlines())
    assert environ["SLUICE_SECRETS_DIR"] == "/etc/sluice-keys"


@pytest.mark.parametrize("served", ["pod", "runtime"])
def test_pod_stops_without_a_failed_request(served: str, request: pytest.FixtureRequest) -> None:
    """Under load, a pod that is told to stop answers until its callers have left, and ends in its grace period."""
    pod: Pod = request.getfixturevalue(served)
    with Traffic(pod) as traffic:
        began = time.monotonic()
        code = pod.stop()
        took_s = time.monotonic() - began
    assert set(traffic.statuses) == {200}
    assert code == 0, pod.container.log()
    assert took_s < pod.grace_s


def test_store_is_an_image(podman: Podman, image: str, store: Path) -> None:
    """The Dockerfile of the component makes an image of a store, which the server serves from where it is mounted."""
    dockerfile = KUBERNETES / "components" / "store-image" / "Dockerfile"
    name = "localhost/sluice-store:test"
    podman.run("build", "--pull=never", "--tag", name, "--file", str(dockerfile), str(store))
    try:
        mount = f"type=image,source={name},destination=/models"
        listed = podman.run("run", "--rm", "--mount", mount, "--entrypoint", "sluice", image, *LIST)
    finally:
        podman.run("image", "rm", name)
    assert [each["name"] for each in json.loads(listed)] == list(MODELS)
