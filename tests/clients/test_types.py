"""The types of the clients are those of the OpenAPI document, and the Python client stands alone."""

import dataclasses
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clients.generator.files import write_files
from clients.generator.python_types import BASE64
from clients.generator.schemas import ListOf, Literals, Scalar, Union, read_tasks, read_type
from service.api.openapi.document import make_document
from sluice_client import AsyncClient, Client, answers
from sluice_client.api import options

FOLDER = Path(__file__).resolve().parents[2] / "clients"
DOCUMENT = make_document("0")
SCHEMAS = DOCUMENT["components"]["schemas"]
TASKS = read_tasks(DOCUMENT)


def test_written_types_are_current() -> None:
    """``make client-types`` has nothing to write."""
    old = [name for name, text in write_files().items() if (FOLDER / name).read_text() != text]
    assert old == [], "run `make client-types`"


def test_no_written_file_is_left_over() -> None:
    """Every file that says that it was written is written."""
    written = set(write_files())
    files = [*(FOLDER / "python").rglob("*.py"), *(FOLDER / "typescript").glob("*.ts")]
    claims = {file.relative_to(FOLDER).as_posix() for file in files if "`make client-types`" in file.read_text()[:300]}
    assert claims == written


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_clients_have_every_option_of_a_task(task: Any) -> None:
    """Both clients have a method for the task whose options are those of the document, and whose help names each."""
    described = {each["name"] for each in DOCUMENT["paths"][f"/{task.name}"]["post"]["parameters"]} - {"stream"}
    known = getattr(options, task.options.name.removesuffix("Request") + "Options").__annotations__
    assert set(known) == described | {"timeout_s", "request_id"}
    for client in (Client, AsyncClient):
        help_text = getattr(client, task.name).__doc__
        assert [name for name in described if f"\n        {name}: " not in help_text] == []
        assert hasattr(client, f"{task.name}_as_stream") == (task.events is not None)


def dataclasses_of_answers() -> Iterator[type[Any]]:
    return (kind for kind in vars(answers).values() if dataclasses.is_dataclass(kind) and kind.__name__ in SCHEMAS)


def test_dataclasses_have_every_field_of_their_schema() -> None:
    """Fields, and which of them must be there, are those of the document."""
    found = list(dataclasses_of_answers())
    for kind in found:
        schema = SCHEMAS[kind.__name__]
        fields = [field for field in dataclasses.fields(kind) if field.name != "meta"]
        assert {field.name for field in fields} == set(schema["properties"]), kind
        required = {field.name for field in fields if field.default is dataclasses.MISSING}
        assert required == set(schema.get("required", ())), kind
    assert {task.answer for task in TASKS} < {kind.__name__ for kind in found}


def test_base64_is_decoded_wherever_the_document_says_so() -> None:
    """No field of an answer is left as a text of base64."""
    texts = {
        (kind.__name__, name)
        for kind in dataclasses_of_answers()
        for name, schema in SCHEMAS[kind.__name__]["properties"].items()
        if "base64" in schema.get("description", "")
    }
    assert texts <= set(BASE64)
    assert all(field in SCHEMAS[record]["properties"] for record, field in BASE64)


def test_client_needs_nothing_but_httpx_and_numpy() -> None:
    """Importing the client imports nothing of ours, and no package that these two do not bring."""
    declared = tomllib.loads((FOLDER / "python" / "pyproject.toml").read_text())["project"]["dependencies"]
    assert [each.partition(">")[0] for each in declared] == ["httpx", "numpy"]
    code = "import httpx, numpy, sys{}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    alone, with_client = (import_by(code.format(more)) for more in ("", ", sluice_client.answers"))
    brought = {re.split(r"\W", each)[0] for each in importlib.metadata.requires("httpx") or ()}
    assert with_client - alone - sys.stdlib_module_names - brought == {"sluice_client"}


def import_by(code: str) -> set[str]:
    """What a fresh interpreter prints."""
    environment = {"PYTHONPATH": str(FOLDER / "python"), "PATH": ""}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=FOLDER.anchor)
    return set(run.stdout.split())


def test_schema_that_is_not_understood_is_an_error() -> None:
    """A type that the generator does not know is no ``Any``: it stops."""
    with pytest.raises(ValueError, match="type 'file' is not understood"):
        read_type({"type": "file"})
    union = read_type({"anyOf": [{"type": "null"}, {"type": ["string", "null"]}, {"enum": ["a"]}]})
    assert union == Union((Scalar("string"), Literals(("a",)), Scalar("null")))
    assert read_type({"type": "array", "items": {"const": True}}) == ListOf(Literals((True,)))
