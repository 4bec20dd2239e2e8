"""Pods of deploy/, run by `podman play kube`: what a test needs of a cluster, without one.

podman knows no Service, autoscaler or policy, and does not probe here: a test asks the routes of the probes. Changed is
that the network is the host's, on 127.0.0.1 and free ports, that names are new ones, and that no image is pulled.
"""

import contextlib
import copy
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import httpx
import yaml

from tests.deploy.kubernetes.manifests import Resource
from tests.deploy.podman import Container, Podman
from tests.support.processes import free_port

START_S = 120.0


class Pod:
    """``with Pod(spec, image) as pod``: a pod that answers at ``pod.url`` and ``pod.grpc_url`` until the block ends.

    ``resources`` are the ConfigMaps and Secrets that its volumes name, ``claims`` the folders whose content its claimed
    volumes have, by the name of the volume.
    """

    def __init__(
        self,
        podman: Podman,
        spec: Resource,
        image: str,
        *,
        resources: Sequence[Resource] = (),
        claims: Mapping[str, Path] | None = None,
    ) -> None:
        self.name = f"sluice-test-{uuid.uuid4().hex[:8]}"
        self.http_port, self.grpc_port = free_port(), free_port()
        self.url, self.grpc_url = f"http://127.0.0.1:{self.http_port}", f"127.0.0.1:{self.grpc_port}"
        self.grace_s = int(spec.get("terminationGracePeriodSeconds", 30))
        self.spec, self.resources = copy.deepcopy((spec, list(resources)))
        self.claims = claims or {}
        [container] = self.spec["containers"]
        self._podman = podman
        self.container = Container(podman, f"{self.name}-{container['name']}")
        probes = [name for name in container if name.endswith("Probe")]
        self.probes = {name.removesuffix("Probe"): container.pop(name) for name in probes}
        self._use_the_host(container, image)
        self._rename(container)

    def _use_the_host(self, container: Resource, image: str) -> None:
        self.spec["hostNetwork"] = True
        container.pop("ports", None)
        container |= {"image": image, "imagePullPolicy": "Never"}
        address = {"HOST": "127.0.0.1", "PORT": str(self.http_port), "GRPC_PORT": str(self.grpc_port)}
        container["env"] += [{"name": f"SLUICE_{name}", "value": value} for name, value in address.items()]
        flags = {f"--{name.lower().replace('_', '-')}": value for name, value in address.items()}
        arguments = [argument.partition("=") for argument in container.get("args", ())]
        container["args"] = [f"{flag}={flags.get(flag, value)}" for flag, _, value in arguments]

    def _rename(self, container: Resource) -> None:
        """podman has one volume and one Secret of each name, for all pods."""
        for resource in self.resources:
            resource["metadata"]["name"] += f"-{self.name}"
        for volume in self.spec["volumes"]:
            for kind, field in (
                ("configMap", "name"),
                ("secret", "secretName"),
                ("persistentVolumeClaim", "claimName"),
            ):
                if kind in volume:
                    volume[kind][field] += f"-{self.name}"
            if "secret" in volume:
                volume["secret"].setdefault("optional", False)  # which it is anyway; podman 4.3 dies if nothing is said
            if "emptyDir" in volume:
                mounts = [mount for mount in container["volumeMounts"] if mount["name"] == volume["name"]]
                for each in (volume, *mounts):
                    each["name"] += f"-{self.name}"

    def __enter__(self) -> Self:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name}, "spec": self.spec}
        try:
            for volume in self.spec["volumes"]:
                if "persistentVolumeClaim" in volume:
                    name = self._podman.run("volume", "create", volume["persistentVolumeClaim"]["claimName"]).strip()
                    folder = self._podman.run("volume", "inspect", name, "--format", "{{.Mountpoint}}").strip()
                    shutil.copytree(self.claims[volume["name"]], folder, dirs_exist_ok=True)
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                yaml.safe_dump_all([*self.resources, pod], file)
                file.flush()
                self._podman.run("play", "kube", file.name)
            self._wait_until_ready()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        """Everything that has the name of this pod in its own."""
        with contextlib.suppress(AssertionError):  # it may not have come to be
            self._podman.run("pod", "rm", "--force", "--time", "0", self.name)
        for kind in ("volume", "secret"):
            names = self._podman.run(kind, "ls", "--format", "{{.Name}}").split()
            for name in names:
                if self.name in name:
                    self._podman.run(kind, "rm", name)

    def _wait_until_ready(self) -> None:
        """As the kubelet does: ask until it answers."""
        until, pause = time.monotonic() + START_S, threading.Event()
        while self.ask("readiness") != 200:
            state = self._podman.run("inspect", self.container.name, "--format", "{{.State.Status}}").strip()
            assert state in ("created", "running"), f"the container is {state}:\n{self.container.log()}"
            assert time.monotonic() < until, f"not ready within {START_S} s:\n{self.container.log()}"
            pause.wait(0.2)

    def ask(self, probe: str) -> int:
        """The status of a probe's route; 0 if nobody answers."""
        try:
            return httpx.get(f"{self.url}{self.probes[probe]['httpGet']['path']}", timeout=5).status_code
        except httpx.TransportError:
            return 0

    def stop(self) -> int:
        """SIGTERM, and SIGKILL after the grace period, as the kubelet does. The exit code of the container."""
        return self.container.stop(self.grace_s)
