"""The model version that codecs and tasks work on."""

from dataclasses import dataclass

from model_store.manifest import Manifest


@dataclass(frozen=True, slots=True)
class ModelContext:
    """Its name and number, for answers and messages, and what is known of it."""

    name: str
    version: str
    manifest: Manifest
