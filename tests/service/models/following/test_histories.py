"""Whatever has happened to a store while it was followed, what serves in the end is what a new server would serve."""

import asyncio
import contextlib
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from model_store import Store
from service.errors import ServiceError
from service.settings import Settings
from tests.service.models.following.stores import multiply, publish, replace, until, write_aliases
from tests.support.servers import ClosingWorker

pytestmark = pytest.mark.anyio
MODELS = ("a", "b")


class History:
    """Changes a store at random, in ways after which a new server has no other choice than one that was there."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.store = Store(root)
        self.factor = 0
        self.good: dict[str, set[int]] = {name: set() for name in MODELS}
        self.aliases: dict[str, dict[str, int]] = {name: {} for name in MODELS}

    def step(self) -> None:
        """One change of one model."""
        name = self.random.choice(MODELS)
        changes = [self.publish, self.publish, self.publish_bad, self.copy_plain, self.alias, self.alias]
        self.random.choice([*changes, self.unalias, self.break_aliases, self.remove_version, self.remove_model])(name)

    def publish(self, name: str) -> None:
        before = set(os.listdir(self.root / name)) if (self.root / name).exists() else set()
        self.factor += 1  # no two versions have the same content
        publish(self.root, self.factor, name)
        self.good[name] |= {int(new) for new in set(os.listdir(self.root / name)) - before if new.isdigit()}

    def publish_bad(self, name: str) -> None:
        publish(self.root, 1, name, fails=True)

    def copy_plain(self, name: str) -> None:
        """A version without a manifest, new or with other content, in pieces."""
        number = 1 + max(self.good[name], default=0) // 100 * 100 + 100
        content = multiply(self.random.randint(2, 9))
        folder = self.root / name / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "model.onnx").exists():
            (folder / "model.onnx").write_bytes(content[: len(content) // 2])
        replace(self.root, name, content, number)
        self.good[name].add(number)

    def alias(self, name: str) -> None:
        if self.good[name]:
            alias, number = self.random.choice(("stable", "live")), self.random.choice(sorted(self.good[name]))
            write_aliases(self.root, "{}", name)  # if it was broken
            self.aliases[name][alias] = number
            for each, meant in self.aliases[name].items():
                self.store.set_alias(name, each, meant)

    def unalias(self, name: str) -> None:
        self.aliases[name].clear()
        (self.root / name / "aliases.json").unlink(missing_ok=True)

    def break_aliases(self, name: str) -> None:
        if (self.root / name).exists():
            write_aliases(self.root, "{", name)

    def remove_version(self, name: str) -> None:
        free = sorted(self.good[name] - set(self.aliases[name].values()))
        if len(free) > 1:
            self.good[name].remove(free[0])
            shutil.rmtree(self.root / name / str(free[0]))

    def remove_model(self, name: str) -> None:
        if all((self.root / each).exists() for each in MODELS):  # an empty store counts as away
            self.good[name].clear()
            self.aliases[name].clear()
            shutil.rmtree(self.root / name)

    def finish(self) -> None:
        """Mend what would leave a choice: a model has a good version with a number that was never there, so that what
        was done by hand counts no more, and its file of aliases can be read."""
        for name in MODELS:
            replace(self.root, name, multiply(1), 1000)
            write_aliases(self.root, "{}", name)
            for alias, number in self.aliases[name].items():
                self.store.set_alias(name, alias, number)


async def tell(worker: ClosingWorker) -> dict[str, Any]:
    """What serves by default, what the aliases mean, and what is in service with its content."""
    told = {}
    for name, entry in worker.registry.entries.items():
        in_service = {number: found.files for number, found in sorted(entry.entries.items()) if found.model}
        content = {
            number: files.manifest or [file[:4] for file in files.fingerprint] for number, files in in_service.items()
        }
        told[name] = (
            None if entry.serving is None else entry.serving.version,
            entry.aliases,
            content,
            [*entry.warnings],
        )
    return told


async def serve(root: Path, **changes: Any) -> ClosingWorker:
    worker = ClosingWorker(Settings(store=root, poll_s=0.3, **changes))
    await worker.start()
    assert worker._loading is not None
    await worker._loading
    return worker


@pytest.mark.parametrize("seed", range(4))
async def test_what_serves_in_the_end_is_what_a_new_server_serves(tmp_path: Path, seed: int) -> None:
    """After versions, aliases and models have come and gone, while callers loaded and unloaded them, at any moment."""
    history = History(tmp_path, seed)
    history.publish("a")
    worker = await serve(tmp_path)
    try:
        for step in range(30):
            await asyncio.to_thread(history.step)
            if step % 4 == 0:
                registry, name = worker.registry, history.random.choice(MODELS)
                do = history.random.choice((registry.load, registry.unload, registry.lifecycle.refresh))
                with contextlib.suppress(ServiceError):  # it may not be there, or not be able to serve
                    await do(name)
        await asyncio.to_thread(history.finish)
        new = await serve(tmp_path, follow=False)
        expected = await tell(new)
        await new.stop()

        def look() -> dict[str, Any]:
            return asyncio.run_coroutine_threadsafe(tell(worker), worker.tasks.loop).result(60)

        await asyncio.to_thread(until, lambda: look() == expected, lambda: (look(), expected))
    finally:
        await worker.stop()
