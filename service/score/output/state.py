"""What a run has done so far, in a small file beside the parts, so that a run that was killed can go on.

The file is written after each part. A part that it does not name yet is written again, with the same content.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson

from model_store import ModelVersion, Store
from model_store.manifest import MANIFEST_FILE
from service.score.errors import ScoreError
from service.score.places import Entry, Place
from service.score.sources.source import START, Position

FILE = "_score.json"
_FORMAT = 1
_DIGESTS = ("digest", "fingerprint")


@dataclass(frozen=True)
class Job:
    """Everything that the content of the output depends on."""

    model: Mapping[str, Any]
    input: Mapping[str, Any]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class State:
    """The first ``parts`` parts are done, and those in ``ahead``, after a gap. The next part begins at ``position``."""

    job: Job
    parts: int = 0
    rows: int = 0
    errors: int = 0
    position: Position = START
    is_done: bool = False
    ahead: Sequence[int] = field(default_factory=tuple)

    def add(self, part: int, rows: int, errors: int, end: Position) -> "State":
        """The state after another part, which need not be the next one."""
        ahead = sorted({*self.ahead, part})
        parts = self.parts
        while ahead and ahead[0] == parts:
            ahead, parts = ahead[1:], parts + 1
        rows, errors = self.rows + rows, self.errors + errors
        return replace(self, parts=parts, rows=rows, errors=errors, position=end, ahead=tuple(ahead))

    def has(self, part: int) -> bool:
        return part < self.parts or part in self.ahead


def write_state(folder: Place, state: State) -> None:
    """Raises OSError."""
    content = {"format": _FORMAT, **asdict(state), "position": list(state.position)}
    folder.join(FILE).write(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def read_state(folder: Place) -> State | None:
    """The state in a folder; None if there is none. Raises ScoreError."""
    place = folder.join(FILE)
    if place.kind() != "file":
        return None
    try:
        content = orjson.loads(place.read())
        if content.pop("format") != _FORMAT:
            raise ValueError("another version of Sluice has written it")
        return State(**{**content, "job": Job(**content["job"]), "position": Position(*content["position"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScoreError(f"{place.shown} cannot be read: {error}: start over with --restart") from None


def check_same(before: Job, now: Job, folder: Place) -> None:
    """Raises ScoreError, which says what has changed since the run began."""
    for what in ("model", "input", "options"):
        old, new = getattr(before, what), getattr(now, what)
        differing = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if differing:
            name = differing[0]
            shown = f"{name} was {old.get(name)!r:.200}, and is {new.get(name)!r:.200} now"
            raise ScoreError(
                f"{folder.shown} has the output of a run whose {what} differed: "
                f"{'its files have changed' if name in _DIGESTS else shown}: give it as it was, or another output, or "
                "--restart"
            )


def describe_input(files: Iterable[Entry]) -> dict[str, Any]:
    """The number and bytes of files, and a digest of their names, sizes and times of change."""
    digest, count, size = hashlib.sha256(), 0, 0
    for file in files:
        digest.update(orjson.dumps([file.name, file.size_bytes, file.stamp]))
        count, size = count + 1, size + file.size_bytes
    return {"files": count, "bytes": size, "fingerprint": digest.hexdigest()}


def describe_model(store: Store, version: ModelVersion, provider: str) -> dict[str, Any]:
    """The version and a digest of its files; of a pipeline, also of the files of its models. Raises StoreError."""
    digest = hashlib.sha256(_digest(version))
    if not version.is_plain and (facts := version.read_manifest().pipeline) is not None:
        for step in facts.steps.values():
            if step.model is not None:
                digest.update(_digest(store.find(step.model, step.version)))
    return {"name": version.name, "version": version.version, "digest": digest.hexdigest(), "provider": provider}


def _digest(version: ModelVersion) -> bytes:
    """Of the manifest only, if there is one: it has the digests of all files, and they are checked on reading."""
    digest = hashlib.sha256()
    files = sorted(version.folder.iterdir()) if version.is_plain else [version.folder / MANIFEST_FILE]
    for file in files:
        if file.is_file():
            digest.update(file.name.encode() + b"\0")
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.digest()
