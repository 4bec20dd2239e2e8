"""The types of settings. A value is a text from the environment, or a value of a TOML file."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field


def split(value: object) -> object:
    """The parts of a comma-separated text. Other values, such as a list of TOML, stay as they are."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def split_pairs(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part]
    if not all(key.strip() and text.strip() for key, _, text in pairs):
        raise ValueError("expected name=value pairs, comma-separated")
    split = {key.strip(): text.strip() for key, _, text in pairs}
    if len(split) < len(pairs):
        raise ValueError("expected each name once")
    return split


def _match(pattern: str, expected: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text, re.IGNORECASE | re.ASCII):
            raise ValueError(f"expected {expected}")
        return text

    return AfterValidator(check)


def _refuse_boolean(value: object) -> object:
    """Without this, pydantic would take a boolean of TOML for 0 or 1."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


def _resolve(path: Path) -> Path:
    """The path without links, if it leads to the same file. A path through /proc/PID/root would not."""
    resolved = path.resolve()
    try:
        is_same = path.samefile(resolved)
    except OSError:
        is_same = not path.exists()
    return resolved if is_same else path.absolute()


_Int = Annotated[int, BeforeValidator(_refuse_boolean)]
_Float = Annotated[float, BeforeValidator(_refuse_boolean), Field(allow_inf_nan=False)]
Count = Annotated[_Int, Field(ge=1)]
CountOrZero = Annotated[_Int, Field(ge=0)]
OptionalIndex = Annotated[
    Annotated[_Int, Field(ge=0)] | None, BeforeValidator(lambda value: None if value == "" else value)
]
ByteLimit = Annotated[_Int, Field(ge=1024)]
Port = Annotated[_Int, Field(ge=0, le=65535)]
Seconds = Annotated[_Float, Field(ge=0)]
Rate = Annotated[_Float, Field(ge=0)]
Timeout = Annotated[_Float, Field(ge=0.001)]
AbsolutePath = Annotated[Path, AfterValidator(_resolve)]
LinkedPath = Annotated[Path, AfterValidator(Path.absolute)]
"""A path whose links are followed on each use, because they may change while the server runs."""
OptionalPath = Annotated[AbsolutePath | None, BeforeValidator(lambda value: value or None)]
Share = Annotated[_Float, Field(ge=0, le=1)]
LogTarget = Annotated[str, AfterValidator(lambda text: text if text in ("", "-") else str(Path(text).resolve()))]
"""A file, "-" for standard output, or "" for nowhere."""
Origin = Annotated[
    str, _match(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9._~:\[\]-]+", "*, or origins such as https://app.example:8443")
]
SharedName = Annotated[str, _match(r"[^/:\s]+(:ro)?", "names without a path, such as frames-* or frames-*:ro")]
BasePath = Annotated[str, _match(r"(/(?!\.{1,2}(/|$))[a-z0-9._~-]+)*", "a path such as /team/sluice, or nothing")]
Issuer = Annotated[
    str,
    _match(
        r"(https://[a-z0-9._:\[\]-]+|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?)(/[a-z0-9._~%/-]*)?|",
        "an address such as https://login.example; http only for this machine",
    ),
]
_VERSION = "[1-9][0-9]{0,17}"
VersionPolicy = Annotated[
    str,
    _match(
        rf"latest:[1-9][0-9]{{0,8}}|all|{_VERSION}(\+{_VERSION})*|pinned:[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}",
        "latest:N, all, versions such as 1+3, or pinned:V with a version or an alias",
    ),
]
"""Which versions of a model serve."""
