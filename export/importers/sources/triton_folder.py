"""The folder of a model in a Triton repository: ``config.pbtxt``, files of labels, numbered versions."""

from pathlib import Path

from export.errors import ExportError
from export.importers.facts import Fact, Facts
from export.importers.labels import read_labels
from export.importers.sources.onnx_file import name_of, read_onnx
from export.importers.sources.source import Found
from model_store.errors import StoreError
from model_store.files.links import Boundary
from model_store.listing import NUMBER
from model_store.plain import find_onnx, is_onnx
from model_store.triton import CONFIG_FILE, TritonConfig, read_config, refusal


class TritonFolder:
    """A model's folder, or one of its versions. A repository of several models is served as it is."""

    kind = f"a Triton model folder ({CONFIG_FILE}, or NUMBER/model.onnx)"

    def claims(self, path: Path) -> bool:
        if not path.is_dir():
            return False
        return (path / CONFIG_FILE).is_file() or bool(_list_versions(path)) or (path / "model.onnx").exists()

    def read(self, path: Path, said: Facts) -> Found:
        folder = path.absolute()
        config = _read_config(folder)
        versions = [int(entry.name) for entry in _list_versions(folder)]
        chosen = config.version_policy.choose(versions) if config else sorted(versions)
        if versions and not chosen:
            raise ExportError(f"{path}: version_policy of {CONFIG_FILE} chooses none of the versions {versions}")
        at = folder / str(chosen[-1]) if chosen else folder
        try:
            file = find_onnx(at, Boundary(folder.parent, follow_links=True), _file_name(config))
        except StoreError as error:
            raise ExportError(f"{path}: {error}") from error
        facts = {**name_of(folder), **(_read_facts(folder, config) if config else {})}
        notes = (f"version {chosen[-1]} of {len(versions)} is imported",) if len(versions) > 1 else ()
        return Found(kind="a Triton model folder", facts=facts, model=read_onnx(file), notes=notes)


def _list_versions(folder: Path) -> list[Path]:
    """The numbered folders with an ONNX file."""
    return [
        entry
        for entry in folder.iterdir()
        if NUMBER.fullmatch(entry.name) and entry.is_dir() and any(is_onnx(file.name) for file in entry.iterdir())
    ]


def _file_name(config: TritonConfig | None) -> str | None:
    return config.default_model_filename or None if config else None


def _read_config(folder: Path) -> TritonConfig | None:
    path = folder / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        config = read_config(path.read_bytes(), CONFIG_FILE, folder.name)
    except (OSError, StoreError) as error:
        raise ExportError(f"{folder}: {error}") from error
    reason = refusal(config)
    if reason is not None:
        raise ExportError(f"{folder}: {CONFIG_FILE}: {reason}")
    if config.sequence is not None:
        raise ExportError(
            f"{folder}: {CONFIG_FILE} has sequence_batching: put the folder into the store as it is, and the server "
            "keeps its sequences"
        )
    return config


def _read_facts(folder: Path, config: TritonConfig) -> dict[str, Fact]:
    facts = {"name": Fact(config.name or folder.name, f"{CONFIG_FILE}: name" if config.name else "the folder's name")}
    if config.max_batch_size:
        facts["max_rows"] = Fact(config.max_batch_size, f"{CONFIG_FILE}: max_batch_size")
    labelled = [output for output in config.outputs if output.label_filename]
    if len(labelled) == 1:
        [output] = labelled
        origin = f"{CONFIG_FILE}: label_filename of {output.name!r}"
        facts["labels"] = Fact(read_labels(folder / output.label_filename), f"{origin}, {output.label_filename}")
        facts["output"] = Fact(output.name, origin)
        facts["task"] = Fact("classify", origin)
    return facts
