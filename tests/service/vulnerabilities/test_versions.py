"""Libraries that had vulnerabilities of their own.

Published for BentoML: CVE-2025-27520, CVE-2025-32375, CVE-2025-54381 (up to 1.4.19), CVE-2026-27905 (1.4.36),
CVE-2026-33744, CVE-2026-44345, CVE-2026-44346 (commands in the file of a build; 1.4.39); for Ray:
CVE-2025-62593 (2.52), CVE-2026-27482 (2.54).
"""

import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LAST_WITH_A_FLAW = {"bentoml": ("1.4.19", "1.4.38"), "ray": ("2.51.1", "2.53.0")}


def find_requirement(name: str) -> Requirement:
    every = PROJECT["dependencies"] + [text for extra in PROJECT["optional-dependencies"].values() for text in extra]
    [found] = [each for each in map(Requirement, every) if each.name == name]
    return found


@pytest.mark.parametrize("name", LAST_WITH_A_FLAW)
def test_versions_with_a_flaw_are_not_allowed(name: str) -> None:
    """What we require of a library leaves out its versions that had these flaws."""
    requirement = find_requirement(name)
    for version in LAST_WITH_A_FLAW[name]:
        assert not requirement.specifier.contains(version), requirement


def test_the_file_of_a_build_has_no_command_of_others() -> None:
    """BentoML's build gets its packages and its base from files of this repository, not from a model."""
    docker = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["docker"]
    assert docker == {"python_version": "3.11"}
