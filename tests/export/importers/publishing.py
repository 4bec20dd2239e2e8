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
from service.models.loading import LoadedVersion, load_version
from service.settings import Settings
from sluice import main

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


def import_and_load(source: Path, store: Path, said: Said = NOTHING) -> LoadedVersion:
    """The only version that becomes of a source, loaded as by a server whose batches have up to four rows."""
    return load_version(publish(source, Store(store), said)[1], Settings(provider="cpu", max_rows=4))


def run_import(*arguments: object) -> int:
    """The exit code of ``sluice import``."""
    return main(["import", *map(str, arguments)])
