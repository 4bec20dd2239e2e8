"""Facts as the options of ``sluice import`` give them, and what is published with them."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from export.importers.facts import Fact
from export.importers.importing import plan_import, publish_import
from export.importers.plan import Plan
from model_store import Store
from model_store.store import ModelVersion

Said = Mapping[str, Any]
NOTHING: Said = MappingProxyType({})


def as_options(said: Said) -> dict[str, Fact]:
    """Values by path, such as ``{"vectors.pooling": "mean"}``."""
    return {path: Fact(value, f"--{path}") for path, value in said.items()}


def publish(source: Path, store: Store, said: Said = NOTHING) -> tuple[Plan, ModelVersion]:
    """The plan, and the only version that becomes of it."""
    found, plan = plan_import(source, as_options(said))
    [version] = publish_import(source, found, plan, store)
    return plan, version
