"""The copy of a store from S3, really made: by Debian's rclone, from moto's S3."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from model_store import DEFAULT_ROOT, Store
from tests.deploy.kubernetes.manifests import Resource, Variant
from tests.support.processes import free_port

pytestmark = pytest.mark.deploy
START_S = 60.0
MODEL = "diabetes-regressor"


@pytest.fixture
def address() -> Iterator[str]:
    """Where an empty S3 answers."""
    program = shutil.which("moto_server", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for name, found in {"moto[server]": program, "rclone": shutil.which("rclone")}.items():
        if found is None:
            pytest.skip(f"{name} is not installed")
    address = f"http://127.0.0.1:{(port := free_port())}"
    server = subprocess.Popen([str(program), "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
    try:
        wait_for(address)
        yield address
    finally:
        server.kill()
        server.wait()


def wait_for(address: str) -> None:
    until, pause = time.monotonic() + START_S, threading.Event()
    while time.monotonic() < until:
        try:
            httpx.get(address)
            return
        except httpx.TransportError:
            pause.wait(0.2)
    raise AssertionError(f"moto does not answer within {START_S} s")


def rclone(
    container: Resource, address: str, *arguments: str, path: str | None = None
) -> "subprocess.CompletedProcess[str]":
    """rclone with the variables of the container; its AWS is moto."""
    given = {each["name"]: each.get("value", "a-key") for each in container["env"]}
    here = {"RCLONE_CONFIG_S3_ENDPOINT": address, "RCLONE_CONFIG_S3_PROVIDER": "Other", "RCLONE_RETRIES": "1"}
    environ = {"PATH": os.environ["PATH"], **given, **here, "S3_PATH": path or given["S3_PATH"]}
    words = [argument.replace("$(S3_PATH)", environ["S3_PATH"]) for argument in arguments]
    return subprocess.run(["rclone", *words], env=environ, capture_output=True, text=True, check=False, timeout=60)


def test_store_comes_from_s3(address: str, tmp_path: Path) -> None:
    """The container's arguments and variables copy a store from a bucket; copying again is no error."""
    [container] = Variant("base", ("store-s3",)).pod()["spec"]["initContainers"]
    arguments = [argument.replace("/models", str(tmp_path)) for argument in container["args"]]
    for command in (("mkdir", "s3:$(S3_PATH)"), ("copy", str(DEFAULT_ROOT / MODEL), f"s3:$(S3_PATH)/{MODEL}")):
        assert rclone(container, address, *command).returncode == 0
    for _ in range(2):
        assert rclone(container, address, *arguments).returncode == 0
        Store(tmp_path).find(MODEL).verify()


def test_bucket_that_is_not_there_is_an_error(address: str, tmp_path: Path) -> None:
    """A misspelt bucket ends the container with a reason, so the pod does not start its server."""
    [container] = Variant("base", ("store-s3",)).pod()["spec"]["initContainers"]
    arguments = [argument.replace("/models", str(tmp_path)) for argument in container["args"]]
    run = rclone(container, address, *arguments, path="none/none")
    assert run.returncode != 0
    assert "not found" in run.stderr
