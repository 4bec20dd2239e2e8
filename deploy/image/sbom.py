"""Writes what is installed in an environment as a CycloneDX document to the output.

`python sbom.py ENVIRONMENT REPORT`, with the Python that has cyclonedx-bom. It knows the packages, their licences and
what needs what. The hash of each downloaded file is what pip wrote into its report when it installed them.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def main(environment: Path, report: Path) -> None:
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--of", "JSON"]
    made = subprocess.run([*command, str(environment / "bin" / "python")], capture_output=True, text=True, check=True)  # noqa: S603
    document = json.loads(made.stdout)
    add_hashes(document, json.loads(report.read_text()))
    json.dump(document, sys.stdout, indent=1, sort_keys=True)


def add_hashes(document: dict[str, Any], report: dict[str, Any]) -> None:
    """Give each component the SHA-256 of the file that it was installed from. Our own package is from no such file."""
    hashes = {
        (each["metadata"]["name"], each["metadata"]["version"]): each["download_info"]["archive_info"]["hashes"][
            "sha256"
        ]
        for each in report["install"]
    }
    for component in document["components"]:
        found = hashes.get((component["name"], component["version"]))
        if found is not None:
            component["hashes"] = [{"alg": "SHA-256", "content": found}]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
