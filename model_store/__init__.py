"""The model store: versions of models that never change, with everything known about each of them."""

from pathlib import Path

from model_store.errors import BadConfig, BadManifest, BadName, IntegrityError, NotInStore, StoreError
from model_store.manifest import Manifest
from model_store.store import GoldenSamples, ModelVersion, Store

DEFAULT_ROOT = Path(__file__).resolve().parent / "models"
"""The reference models of the project; `sluice train` adds versions here unless told otherwise."""

__all__ = [
    "DEFAULT_ROOT",
    "BadConfig",
    "BadManifest",
    "BadName",
    "GoldenSamples",
    "IntegrityError",
    "Manifest",
    "ModelVersion",
    "NotInStore",
    "Store",
    "StoreError",
]
