"""The file ``<name>/rollout.json``: the canary and the shadow of a model.

A canary answers a part of the requests that name no version. A shadow gets copies of requests; its outputs go to
nobody, but are compared with those that were sent. The file is written under the lock of the model's folder and
replaced as a whole, like the aliases. A server that rolls a canary back writes the reason into ``returned``.
"""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from model_store.errors import IntegrityError, StoreError
from model_store.files.links import tell_why
from model_store.files.reading import MOST_CONFIG_BYTES, is_there, read_regular
from model_store.files.writing import replace_synced, sync_folder
from model_store.manifest import describe
from model_store.strict_model import Count, Finite, StrictModel

ROLLOUT_FILE = "rollout.json"
MOST_PERCENT = 99.0
"""With more, too few requests would be left for the stable version to compare the canary with."""

Percent = Annotated[Finite, Field(gt=0)]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9!#$%&'*+.^_`|~-]{1,100}$")]


class Limits(StrictModel):
    """How much worse than the stable version a canary may be before it goes back."""

    errors: Annotated[Finite, Field(ge=0, le=1)] = 0.01
    """How much higher its error rate may be: 0.01 is one percentage point."""
    p99_ratio: Annotated[Finite, Field(ge=1)] = 1.5
    """How many times as long its p99 may be, if the difference is more than ``p99_extra_s``."""
    p99_extra_s: Annotated[Finite, Field(ge=0)] = 0.01
    """Seconds by which its p99 may always be longer, because a new version with few requests is cold."""
    disagreement: Annotated[Finite, Field(ge=0, le=1)] = 0.1
    """The part of its answers that may differ from those of the stable version. 1: all."""
    confidence: Annotated[Finite, Field(gt=0.5, lt=1)] = 0.99
    """How sure the service must be: a canary within all limits is rolled back with a probability of at most 1 minus
    this, however long it is watched."""


class Canary(StrictModel):
    """A version that answers ``percent`` of the requests that name no version."""

    version: Count
    percent: Annotated[Percent, Field(le=MOST_PERCENT)]
    header: HeaderName | None = None
    """A header in lower case: requests with the same value get the same version. None: each request by chance."""
    limits: Limits = Limits()
    begun: str = ""
    """When it began, ISO 8601 in UTC. A new time makes a new trial, which forgets the counts of the old one."""
    returned: str = ""
    """Why it went back to the stable version. "": it has not."""

    @property
    def trial(self) -> str:
        """The identity of a trial."""
        return f"{self.version} {self.begun}"


class Shadow(StrictModel):
    """A version that is sent copies of ``percent`` of the requests that name no version."""

    version: Count
    percent: Annotated[Percent, Field(le=100)] = 100.0
    begun: str = ""


class Rollout(StrictModel):
    schema_version: Literal[1] = 1
    canary: Canary | None = None
    shadow: Shadow | None = None

    @model_validator(mode="after")
    def _check_versions(self) -> Self:
        if self.canary is not None and self.shadow is not None and self.canary.version == self.shadow.version:
            raise ValueError(f"version {self.canary.version} cannot be canary and shadow at once")
        return self

    @property
    def versions(self) -> set[int]:
        """The versions that it names."""
        return {each.version for each in (self.canary, self.shadow) if each is not None}

    @classmethod
    def read(cls, content: bytes, where: str) -> Self:
        """Raises IntegrityError, which names ``where``."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise IntegrityError(f"{where}: {describe(error)}; fix or remove it") from None


def read_rollout(folder: Path) -> Rollout:
    """The rollout of the model in a folder; an empty one if there is no file. Raises IntegrityError."""
    path, where = folder / ROLLOUT_FILE, f"{folder.name}/{ROLLOUT_FILE}"
    try:
        if not is_there(path):
            return Rollout()
        content = read_regular(path, MOST_CONFIG_BYTES)
    except (OSError, StoreError) as error:
        why = tell_why(error) if isinstance(error, OSError) else str(error)
        raise IntegrityError(f"{where} cannot be read: {why}; fix or remove it") from None
    return Rollout.read(content, where)


def write_rollout(folder: Path, rollout: Rollout) -> None:
    """Replace the file; an empty rollout has no file. The caller holds the lock of the folder. Raises OSError."""
    path = folder / ROLLOUT_FILE
    if rollout != Rollout():
        told = {"schema_version": rollout.schema_version, **rollout.model_dump(exclude_defaults=True)}
        replace_synced(path, json.dumps(told, indent=1).encode() + b"\n")
    elif path.exists():
        path.unlink()
        sync_folder(folder)
