"""Reads a TOML file that describes a pipeline, with its golden requests, as the manifest and files of a version."""

import base64
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, ValidationError

from model_store.errors import BadManifest
from model_store.files.reading import MOST_TEXT_BYTES
from model_store.manifest import Manifest, ModelName, Quality, describe
from model_store.pictures.formats import is_picture
from model_store.pipelines.facts import GoldenRequest, Pipeline, Step
from model_store.strict_model import StrictModel

_MOST_GOLDEN = 20
_MOST_REQUEST_BYTES = 16 << 20


class Written(NamedTuple):
    """The content of a file."""

    manifest: Manifest
    files: Mapping[str, bytes]
    """The files of the version."""


def _read_step(value: Any) -> Any:
    """Accept a version that is written as a number."""
    if not isinstance(value, dict):
        raise ValueError("expected a table, such as [steps.find] with model, task and input")
    if type(value.get("version")) is int:
        return {**value, "version": str(value["version"])}
    return value


class _Golden(GoldenRequest):
    """``request`` is a picture or a JSON file with ``inputs``; ``answer`` is a JSON file with ``predictions``."""

    request: str
    answer: str


class _File(StrictModel):
    name: ModelName
    description: str = ""
    licence: str | None = None
    steps: dict[str, Annotated[Step, BeforeValidator(_read_step)]]
    outputs: dict[str, str]
    golden: list[_Golden] = Field(default=[], max_length=_MOST_GOLDEN)
    quality: Quality | None = None


def read_file(path: Path) -> Written:
    """Read a pipeline. Raises OSError; BadManifest, which names file, field, what was expected and what came."""
    try:
        content = path.read_bytes()
        if len(content) > MOST_TEXT_BYTES:
            raise BadManifest(f"{path.name}: expected at most {MOST_TEXT_BYTES} bytes, got {len(content)}")
        read = _File.model_validate(tomllib.loads(content.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadManifest(f"{path.name}: expected TOML in UTF-8: {error}") from None
    except RecursionError:
        raise BadManifest(f"{path.name}: expected TOML with fewer values inside of each other") from None
    except ValidationError as error:
        raise BadManifest(f"{path.name}: {describe(error)}") from None
    files: dict[str, bytes] = {}
    golden = [_take_golden(one, number, path.parent, files) for number, one in enumerate(read.golden, 1)]
    facts = {
        **{name: getattr(read, name) for name in ("name", "description", "licence", "quality")},
        "task": "pipeline",
        "pipeline": Pipeline(steps=read.steps, outputs=read.outputs, golden=tuple(golden)),
    }
    try:
        return Written(Manifest.model_validate(facts), files)
    except ValidationError as error:
        raise BadManifest(f"{path.name}: {describe(error).removeprefix('the whole: ')}") from None


def _take_golden(one: _Golden, number: int, folder: Path, files: dict[str, bytes]) -> GoldenRequest:
    """Add the files of a golden request under new names."""
    request, answer = f"golden-{number}.request.json", f"golden-{number}.answer.json"
    content = _read(folder / one.request, f"golden: request {one.request}")
    if is_picture(content):
        content = json.dumps({"inputs": [{"image": base64.b64encode(content).decode()}]}).encode()
    _read_part(content, "inputs", f"golden: request {one.request}")
    files[request] = content
    where = f"golden: answer {one.answer}"
    predictions = _read_part(_read(folder / one.answer, where), "predictions", where)
    files[answer] = json.dumps({"predictions": predictions}, indent=1).encode()
    return GoldenRequest(request=request, answer=answer, atol=one.atol, rtol=one.rtol)


def _read(path: Path, where: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadManifest(f"{where} cannot be read: {error.strerror}") from None
    if len(content) > _MOST_REQUEST_BYTES:
        raise BadManifest(f"{where}: expected at most {_MOST_REQUEST_BYTES} bytes, got {len(content)}")
    return content


def _read_part(content: bytes, part: str, where: str) -> list[Any]:
    """The list in a golden file. Raises BadManifest."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    found = value.get(part) if isinstance(value, dict) else None
    if not isinstance(found, list) or not found:
        raise BadManifest(f"{where}: expected JSON such as {{{part!r}: [...]}}".replace("'", '"'))
    return found
