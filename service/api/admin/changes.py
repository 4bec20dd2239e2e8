"""The bodies of requests to the administration routes. ``read`` raises NotOffered for what this server does not do."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from service.errors import NotOffered
from service.protocol.request_model import RequestModel

Level = Literal["OFF", "TIMESTAMPS"]
OneLevel = Annotated[list[Level], Field(min_length=1, max_length=1)]
Digits = Annotated[str, Field(pattern="^-?[0-9]{1,10}$")]
_LARGEST = 2**31 - 1
_MOST_BYTES = 2**62
_TRACES = "traces go to the log as JSON lines, and nowhere else"
_LOGS = "file and format of the log are chosen where the server is started"


def _only(allowed: str, reason: str) -> AfterValidator:
    def check(value: str | None, info: ValidationInfo) -> str | None:
        if value not in (None, allowed):
            raise NotOffered(f"{info.field_name}: {reason}")
        return value

    return AfterValidator(check)


class IndexRequest(RequestModel):
    ready: bool | None = None
    """only versions that serve"""


class LoadParameters(RequestModel):
    version: Annotated[str, Field(min_length=1)] | int | None = None
    """a number or an alias"""
    unload_dependents: bool | None = None
    """has no effect: no model depends on another"""

    @model_validator(mode="before")
    @classmethod
    def _refuse_files(cls, parameters: Any) -> Any:
        for name in parameters if isinstance(parameters, Mapping) else ():
            if name == "config" or name.startswith("file:"):
                raise NotOffered(f"parameters.{name:.60}: a published model never changes: publish a new version")
        return parameters


class LoadRequest(RequestModel):
    """The version to load or unload."""

    parameters: LoadParameters | None = None

    @property
    def version(self) -> str | None:
        """The number or alias; None if the request names none."""
        version = None if self.parameters is None else self.parameters.version
        return None if version is None else str(version)


def _read_level(value: Any) -> Any:
    if value in ("TENSORS", ["TENSORS"]):
        raise NotOffered("trace_level: tensors are not traced: they may hold what must not be in a log")
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _read_number(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch("-?[0-9]{1,10}", value):
        raise ValueError('expected a number in a string, such as "5"')
    return int(value)


_LevelReader = BeforeValidator(_read_level, json_schema_input_type=Level | OneLevel | None)
_NumberReader = BeforeValidator(_read_number, json_schema_input_type=Digits | None)


class TraceChanges(RequestModel):
    """The settings to change; null makes a model follow the server again."""

    trace_level: Annotated[Level | None, _LevelReader] = None
    trace_rate: Annotated[int | None, Field(ge=1, le=_LARGEST), _NumberReader] = None
    trace_count: Annotated[int | None, Field(ge=-1, le=_LARGEST, description="-1: no end"), _NumberReader] = None
    log_frequency: Annotated[int | None, Field(ge=0, le=_LARGEST), _NumberReader] = None
    trace_file: Annotated[str | None, Field(exclude=True), _only("", _TRACES)] = None
    trace_mode: Annotated[str | None, Field(exclude=True), _only("triton", _TRACES)] = None

    def changes(self) -> dict[str, str | int | None]:
        """The settings that were sent, under the names of ``tracing.DEFAULTS``."""
        return {name.removeprefix("trace_"): value for name, value in self.model_dump(exclude_unset=True).items()}


class LogChanges(RequestModel):
    """The settings to change; null changes nothing."""

    log_file: Annotated[str | None, Field(exclude=True), _only("", _LOGS)] = None
    log_info: bool | None = None
    log_warning: bool | None = None
    log_error: bool | None = None
    log_verbose_level: Annotated[int | None, Field(ge=0, le=_LARGEST)] = None
    log_format: Annotated[Literal["default", "ISO8601"] | None, Field(exclude=True), _only("default", _LOGS)] = None


class RegisterRequest(RequestModel):
    """A region of shared memory: bytes of a file below /dev/shm."""

    key: str
    """name of the file, such as /frames"""
    offset: Annotated[int, Field(ge=0, le=_MOST_BYTES)] = 0
    """where the region begins in the file"""
    byte_size: Annotated[int, Field(ge=1, le=_MOST_BYTES)]
