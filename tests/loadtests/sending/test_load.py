"""What a run sends, by protocol; beginning with failures."""

from collections.abc import Callable
from pathlib import Path

import pytest

from loadtests.sending.load import make_load
from loadtests.signature import NoModel


@pytest.mark.parametrize(
    ("model", "protocol", "said"),
    [
        ("plain", "task", "has no task route: ask it with --protocol json, binary or grpc"),
        ("horses", "json", "answered 404 instead of 200"),
        ("digits", "live", "needs a model whose live stream takes requests"),
    ],
)
def test_model_that_cannot_be_asked_so_is_reported(serve: Callable, model: str, protocol: str, said: str) -> None:
    """The error says what would work."""
    with serve() as server, pytest.raises(NoModel, match=said):
        make_load(server.address, model, [protocol], 1)


def test_each_protocol_has_its_path_and_bodies(serve: Callable) -> None:
    """Rows go to the route of the task, tensors to the model."""
    with serve() as server:
        load = make_load(server.address, "digits", ["task", "json", "binary", "grpc"], 2)
    assert [load.path(name) for name in ("task", "json", "live")] == [
        "/classify",
        "/v2/models/digits/infer",
        "/v2/models/digits/stream",
    ]
    assert {name: len(bodies) for name, bodies in load.bodies.items()} == dict.fromkeys(load.bodies, 32)
    assert all(len({body.content for body in bodies}) == 32 for bodies in load.bodies.values())


def test_large_bodies_are_few(serve: Callable) -> None:
    """Making many of them would take longer than a short run."""
    with serve() as server:
        load = make_load(server.address, "digits", ["binary"], 1024)
    assert len(load.bodies["binary"]) == 4


def test_body_of_ones_own_is_the_only_one(serve: Callable, tmp_path: Path) -> None:
    """A picture goes to the route of the task with the model in the query, and its rows are not counted."""
    (tmp_path / "a.png").write_bytes(b"png")
    with serve() as server:
        load = make_load(server.address, "digits", ["task"], 1, tmp_path / "a.png")
    assert (load.path("task"), load.rows) == ("/classify?model=digits", None)
    assert [body.content for body in load.bodies["task"]] == [b"png"]
