"""Changes while the server runs, in every worker: models, traces, logs.

A request reaches one worker. It makes the change there, which also shows whether it can be made, and then tells the
others (`workers.py`). A worker that is started later begins with what the store and the settings say.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.api.admin.diagnostics import Logs
from service.errors import Forbidden, NotOffered, NotReady, ServiceError
from service.models.registry import Registry
from service.settings import Settings
from service.workers import Command, Workers


class Control:
    """``folder`` is what the workers of this server have in common."""

    def __init__(self, registry: Registry, settings: Settings, folder: Path | None) -> None:
        self.logs = Logs()
        self._registry = registry
        self._settings = settings
        self._alone = folder is None and settings.workers > 1
        self._workers = Workers(folder if settings.control else None, self._apply)

    async def open(self) -> None:
        await self._workers.open()

    async def close(self) -> None:
        await self._workers.close()

    async def load(self, model: str, version: str | None) -> None:
        """Raises as ``Registry.load`` does; Forbidden, NotOffered, NotReady where another worker could not."""
        await self._do({"do": "load", "model": model, "version": version})

    async def unload(self, model: str, version: str | None) -> None:
        """Raises as ``Registry.unload`` does; Forbidden, NotOffered."""
        await self._do({"do": "unload", "model": model, "version": version})

    async def trace(self, model: str | None, changes: Mapping[str, str | int | None]) -> None:
        """Changes as ``diagnostics.read_trace`` gives them, for one model or all. Raises as ``check``, UnknownModel."""
        await self._do({"do": "trace", "model": model, "changes": dict(changes)})

    async def log(self, settings: Mapping[str, Any]) -> None:
        """Settings that ``Logs.check`` has checked. Raises as ``check``."""
        await self._do({"do": "log", "settings": dict(settings)})

    def check(self) -> None:
        """Raises Forbidden where the settings allow no change, NotOffered where it could not reach all workers."""
        if not self._settings.control:
            raise Forbidden("this server lets nobody change it while it runs: start it with SLUICE_CONTROL=true")
        if self._alone:
            raise NotOffered("the workers of this server have no folder in common: set SLUICE_METRICS_DIR")

    async def _do(self, command: Command) -> None:
        self.check()
        await self._make(command)
        complaints = await self._workers.tell(command)
        if complaints:
            raise NotReady(f"done in some workers, not in all: {'; '.join(complaints)}")

    async def _apply(self, command: Command) -> str:
        """Make a change that another worker was asked for."""
        try:
            await self._make(command)
        except ServiceError as error:
            return str(error)
        return ""

    async def _make(self, command: Command) -> None:
        model = command.get("model")
        match command["do"]:
            case "load":
                await self._registry.load(command["model"], command["version"])
            case "unload":
                await self._registry.unload(command["model"], command["version"])
            case "trace":
                if model is not None:
                    self._registry.model_entry(model)  # raises UnknownModel
                self._registry.tracer.change(model, command["changes"])
            case "log":
                self.logs.change(command["settings"])
