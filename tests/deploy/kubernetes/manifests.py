"""What `kubectl kustomize` makes of deploy/: lists of resources, for tests."""

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
KUBERNETES = ROOT / "deploy" / "kubernetes"
KSERVE = ROOT / "deploy" / "kserve"
OVERLAYS = ("base", "overlays/cpu", "overlays/gpu")
STORES = ("store-image", "store-s3", "store-volume")
COMPONENTS = ("autoscaling", "keys", "monitoring", *STORES)
WRITABLE = ["/tmp"]  # noqa: S108  # the one folder that the server writes to
SECRETS = {"sluice-keys": {"sluice_state_key": "secret"}}
"""The Secrets that people make by hand, as the files say, with the settings in them."""

Resource = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """A folder of deploy/kubernetes, with components."""

    folder: str
    components: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "+".join((Path(self.folder).name, *self.components))

    def render(self) -> list[Resource]:
        return list(_render(self.folder, self.components))

    def find(self, kind: str, name: str = "sluice") -> Resource:
        """The only resource of that kind and name."""
        [found] = [each for each in self.render() if each["kind"] == kind and each["metadata"]["name"] == name]
        return found

    def pod(self) -> Resource:
        """The pods of the Deployment: labels and specification."""
        template: Resource = self.find("Deployment")["spec"]["template"]
        return template

    def container(self) -> Resource:
        [container] = self.pod()["spec"]["containers"]
        return dict(container)


VARIANTS = (
    *map(Variant, OVERLAYS),
    *(Variant("base", (component,)) for component in COMPONENTS),
    Variant("overlays/cpu", ("monitoring", "autoscaling", "keys")),
    Variant("overlays/gpu", ("monitoring", "autoscaling", "keys")),
)


@functools.cache
def _render(folder: str, components: tuple[str, ...]) -> tuple[Resource, ...]:
    if not components:
        return tuple(kustomize(KUBERNETES / folder))
    with tempfile.TemporaryDirectory() as made:

        def relative(path: str) -> str:
            return os.path.relpath(KUBERNETES / path, os.path.realpath(made))

        content = {"resources": [relative(folder)], "components": [relative(f"components/{c}") for c in components]}
        (Path(made) / "kustomization.yaml").write_text(yaml.safe_dump(content))
        return tuple(kustomize(Path(made)))


def kustomize(folder: Path) -> list[Resource]:
    """The resources that a folder describes. Skips the test where there is no kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    run = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""  # such as a warning that a field is deprecated
    return read_all(run.stdout)


def read_all(text: str) -> list[Resource]:
    """The resources of a YAML file."""
    return [each for each in yaml.safe_load_all(text) if each is not None]


def every_container(spec: Resource) -> Iterator[Resource]:
    """The containers of a pod, those that run before the others too."""
    yield from spec.get("initContainers", ())
    yield from spec["containers"]


def check_schema(resource: Resource, version: str) -> None:
    """Fails if Kubernetes of that version would not take the resource, or would ignore a field of it."""
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    validate.validate(resource, version, strict=True)


def find_not_restricted(spec: Resource) -> list[str]:
    """What the Pod Security Standard "restricted" forbids in the specification of a pod."""
    allowed = {
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected"),
        "secret",
    }
    faults = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    faults += [f"volume {volume['name']}" for volume in spec.get("volumes", ()) if not allowed & volume.keys()]
    for container in every_container(spec):
        context = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
        faults += [
            f"{container['name']}: {fault}"
            for fault, is_so in {
                "privileged": context.get("privileged", False),
                "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation", True),
                "capabilities": context.get("capabilities") != {"drop": ["ALL"]},
                "runAsNonRoot": not context.get("runAsNonRoot"),
                "runAsUser": context.get("runAsUser") == 0,
                "seccompProfile": context.get("seccompProfile") != {"type": "RuntimeDefault"},
                "hostPort": any("hostPort" in port for port in container.get("ports", ())),
            }.items()
            if is_so
        ]
    return faults


def settings_of(container: Resource, files: Mapping[str, str], folder: Path) -> Settings:
    """The settings of the server in a container, as it reads them itself. Raises SettingsError.

    ``files`` are the ConfigMap at /etc/sluice, ``folder`` is an empty one that stands for the container's root.
    """
    environ = {each["name"]: each["value"] for each in container.get("env", ()) if each["name"].startswith("SLUICE_")}
    for name, content in files.items():
        path = folder / "etc" / "sluice" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for name in ("SLUICE_CONFIG", "SLUICE_SECRETS_DIR"):
        if name in environ:
            environ[name] = f"{folder}{environ[name]}"
    if "SLUICE_SECRETS_DIR" in environ:
        Path(environ["SLUICE_SECRETS_DIR"]).mkdir(parents=True)
        for name, content in SECRETS["sluice-keys"].items():
            (Path(environ["SLUICE_SECRETS_DIR"]) / name).write_text(content)
    return Settings.from_environ(environ)
