"""A server with a stable version that doubles and another one on trial, and callers who ask it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from model_store.rollout import Canary, Limits, Rollout, Shadow, write_rollout
from service.models.rollout import rollouts
from tests.support.models import graphs
from tests.support.models.text import make_model
from tests.support.servers import FAST, Serving, settings_for

PATH: Final = "/v2/models/m/infer"
TENSOR: Final = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1000, 2, 3]}


def fails() -> bytes:
    """y = 2 x, but a batch with a number from 1000 on asks for more memory than there is."""
    return make_model(
        "float[batch,3] x => float[batch,3] y",
        f"""
        largest = ReduceMax<keepdims=0>(x) thousands = Mul(largest, 0.001) whole = Cast<to=7>(thousands)
        excess = Clip(whole, 0, 1) size = Mul(excess, [{1 << 36}]) filled = ConstantOfShape(size)
        nothing = ReduceSum<keepdims=0>(filled) twice = Mul(x, 2.0) y = Add(twice, nothing)
        """,
    )


def slow(turns: int = 60) -> bytes:
    """y = 2 x, after so many products of matrices, which take about 0.1 ms each."""
    return make_model(
        "float[batch,3] x => float[batch,3] y",
        """
        z = Loop<body = body (int64 turn, bool go, float[192,192] v) => (bool go_on, float[192,192] w) {
            go_on = Identity(go) w = MatMul(v, c)
        }>(turns, true, c)
        part = ReduceSum<keepdims=0>(z)
        nothing = Mul(part, 0.0)
        twice = Mul(x, 2.0)
        y = Add(twice, nothing)
        """,
        turns=np.array(turns),
        true=True,
        c=np.zeros((192, 192), np.float32),
    )


def triples() -> bytes:
    """y = 3 x: other answers."""
    return make_model("float[batch,3] x => float[batch,3] y", "y = Mul(x, 3.0)")


def write(root: Path, *others: bytes) -> Path:
    """The model ``m``: version 1 doubles and is stable, and the others follow."""
    for version, content in enumerate((graphs.double(), *others), start=1):
        graphs.write_plain(root, "m", content, version)
    (root / "m" / "aliases.json").write_text('{"stable": 1}')
    return root


def canary(version: int = 2, percent: float = 30.0, header: str | None = None, **limits: float) -> Canary:
    now = datetime.now(UTC).isoformat()
    return Canary(version=version, percent=percent, header=header, limits=Limits(**limits), begun=now)


def shadow(version: int = 2, percent: float = 100.0) -> Shadow:
    return Shadow(version=version, percent=percent, begun=datetime.now(UTC).isoformat())


@contextmanager
def serving(root: Path, window_s: float = 0.05, **settings: Any) -> Iterator[Serving]:
    """A server that judges after so many seconds, again and again."""
    usual = rollouts.WINDOW_S
    rollouts.WINDOW_S = window_s  # type: ignore[misc]  # final for all others
    try:
        with Serving(settings_for(root, max_rows=4, **settings), FAST) as server:
            yield server
    finally:
        rollouts.WINDOW_S = usual  # type: ignore[misc]


def begin(server: Serving, **roles: Any) -> None:
    """Write rollout.json and have the server read it."""
    write_rollout(server.worker.settings.store / "m", Rollout(**roles))
    refresh(server)


def refresh(server: Serving) -> None:
    worker = server.worker
    asyncio.run_coroutine_threadsafe(worker.registry.lifecycle.refresh("m"), worker.tasks.loop).result(60)


def ask(client: httpx.Client, headers: dict[str, str] | None = None, path: str = PATH) -> httpx.Response:
    return client.post(path, json={"inputs": [TENSOR]}, headers=headers)


def ask_until(server: Serving, holds: Callable[[dict[str, Any]], bool], callers: int = 4) -> Counter[tuple[int, str]]:
    """Ask from several connections until something holds of the card. Returns the statuses by version."""
    seen: Counter[tuple[int, str]] = Counter()

    async def call(client: httpx.AsyncClient, stop: asyncio.Event) -> None:
        while not stop.is_set():
            answer = await client.post(PATH, json={"inputs": [TENSOR]})
            seen[answer.status_code, answer.json().get("model_version", "")] += 1

    async def main() -> None:
        stop = asyncio.Event()
        async with httpx.AsyncClient(base_url=server.url, timeout=60, verify=False) as client:  # noqa: S501
            tasks = [asyncio.create_task(call(client, stop)) for _ in range(callers)]
            try:
                async with asyncio.timeout(60):
                    while not holds((await client.get("/v2/models/m/rollout")).json()):
                        pass
            finally:
                stop.set()
                await asyncio.gather(*tasks)

    asyncio.run(main())
    return seen
