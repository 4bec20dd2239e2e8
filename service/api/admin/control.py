"""Changes while the server runs, in every worker: models, traces, logs.

A request reaches one worker. That worker makes the change, which shows whether it is possible, and then tells the
others (`workers.py`). A worker that starts later has the state of the store and the settings.
"""

from pathlib import Path

from service.api.admin.diagnostics import Logs
from service.errors import Forbidden, NotOffered, NotReady, ServiceError
from service.models.registry import Registry
from service.settings import Settings
from service.workers import Command, Workers


class Control:
    """``folder`` is shared by all workers of this server."""

    def __init__(self, registry: Registry, settings: Settings, folder: Path | None) -> None:
        self.logs = Logs()
        self._registry = registry
        self._is_allowed = settings.control
        self._is_alone = folder is None and settings.workers > 1
        self._workers = Workers(folder if settings.control else None, self._apply)

    async def open(self) -> None:
        await self._workers.open()

    async def close(self) -> None:
        await self._workers.close()

    def check(self) -> None:
        """Raises Forbidden where the settings allow no change, NotOffered where it could not reach all workers."""
        if not self._is_allowed:
            raise Forbidden("this server cannot be changed while it runs: start it with SLUICE_CONTROL=true")
        if self._is_alone:
            raise NotOffered("the workers of this server share no folder: set SLUICE_METRICS_DIR")

    async def change(self, command: Command) -> None:
        """Make a change in every worker. ``command["do"]`` is load, unload, trace or log.

        Raises as ``Registry.load`` and ``unload`` do; NotReady where another worker could not make the change.
        """
        await self._make(command)
        complaints = await self._workers.tell(command)
        if complaints:
            raise NotReady(f"some workers could not make the change: {'; '.join(complaints)}")

    async def _apply(self, command: Command) -> str:
        """Make a change that another worker was asked for; returns why that failed, or nothing."""
        try:
            await self._make(command)
        except ServiceError as error:
            return str(error)
        return ""

    async def _make(self, command: Command) -> None:
        match command["do"]:
            case "load":
                await self._registry.load(command["model"], command["version"])
            case "unload":
                await self._registry.unload(command["model"], command["version"])
            case "trace":
                if command["model"] is not None:
                    self._registry.model_entry(command["model"])  # raises UnknownModel
                self._registry.tracer.change(command["model"], command["changes"])
            case "log":
                self.logs.change(command["settings"])
