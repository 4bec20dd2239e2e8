"""The number of the release is written in several files, and is the same in all of them."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RELEASE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PLACES = {
    "CHANGELOG.md": r"^## \[(\d\S*)\]",
    "Dockerfile": r"^ARG VERSION=(\S+)",
    "clients/python/pyproject.toml": r'^version = "(\S+)"',
    "clients/python/sluice_client/__init__.py": r'^__version__ = "(\S+)"',
    "clients/typescript/package.json": r'"version": "(\S+)"',
    "deploy/kserve/runtime/kustomization.yaml": r"newTag: (\S+)",
    "deploy/kubernetes/base/kustomization.yaml": r"newTag: (\S+)",
    "deploy/kubernetes/overlays/cpu/kustomization.yaml": r"newTag: (\S+)",
    "deploy/kubernetes/overlays/gpu/kustomization.yaml": r"newTag: (\S+)-gpu",
}
"""Files, and where the number stands in each; in the changelog the newest release is the first."""


@pytest.mark.parametrize("name", PLACES)
def test_every_file_names_the_same_release(name: str) -> None:
    """Images, manifests of Kubernetes and clients are those of the release that pyproject.toml names."""
    found = re.search(PLACES[name], (ROOT / name).read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == RELEASE, f"{name} names {found[1]}: a release changes it too, as CONTRIBUTING.md says"
