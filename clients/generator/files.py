"""The files that are written, by their path in ``clients/``."""

import subprocess
import sys

from clients.generator import python_methods, python_types, typescript
from service.api.openapi.document import make_document

_PYTHON = "python/sluice_client/api"


def write_files() -> dict[str, str]:
    """Path -> content, of the document of this checkout."""
    document = make_document("0")
    python = {
        **python_types.write_answers(document),
        "protocol.py": python_types.write_protocol(document),
        "options.py": python_types.write_options(document),
        **python_methods.write_methods(document),
    }
    files = {f"{_PYTHON}/{name}": _format(text) for name, text in python.items()}
    return files | {f"typescript/{name}": text for name, text in typescript.write_files(document).items()}


def _format(text: str) -> str:
    """As ruff writes it, with no unused import."""
    for command in (["check", "--fix", "--quiet", "--select", "F401,I"], ["format"]):
        text = subprocess.run(  # noqa: S603  # the linter of this environment
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", "clients/python/generated.py", "-"],
            input=text,
            capture_output=True,
            check=True,
            text=True,
        ).stdout
    return text
