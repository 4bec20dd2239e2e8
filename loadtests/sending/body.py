"""A request's body with its headers."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Body:
    content: bytes
    headers: Mapping[str, str]
