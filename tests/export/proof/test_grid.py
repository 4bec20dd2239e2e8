"""The default grid of parity follows the cost of a row."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from export import ExportSpec, publish
from export.proof import grid
from export.spec import BATCHES, SEEDS
from model_store import Store

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("export_once")

Make = Callable[..., ExportSpec]


@pytest.fixture
def make_spec(make_spec: Make) -> Make:
    return partial(make_spec, batches=BATCHES, seeds=SEEDS)


@pytest.fixture
def slow(make_module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of which a row is taken to cost so much that only the least grid is within bounds."""
    monkeypatch.setattr(grid, "_BUDGET_S", 0.0)
    return make_module()


def sizes(store: Store, spec: ExportSpec, notes: list[str]) -> set[tuple[int, int]]:
    parity = publish(spec, store, notes.append).read_manifest().parity
    assert parity is not None
    return {(case.rows, case.seed) for case in parity.rungs}


def test_row_that_takes_long_goes_through_fewer_cases(slow: Any, make_spec: Make, store: Store) -> None:
    """At least three batch sizes and one seed remain, and a note says what was left out."""
    notes: list[str] = []
    assert sizes(store, make_spec(slow), notes) == {(1, 0), (2, 0), (3, 0)}
    [note] = [note for note in notes if "a row takes" in note]
    assert "it is compared in batches of 1, 2, 3, with seeds 0: set batches, seeds or lengths" in note


def test_what_the_spec_says_is_done_whatever_it_costs(slow: Any, make_spec: Make, store: Store) -> None:
    """Batches and seeds that the spec gives stay, even where they equal the defaults."""
    given = {"batches": (1, 2, 3, 17, 64), "seeds": (0, 1)}
    notes: list[str] = []
    found = sizes(store, make_spec(slow, **given), notes)
    assert found == {(rows, seed) for rows in given["batches"] for seed in given["seeds"]}
    assert not any("a row takes" in note for note in notes)
    assert sizes(store, make_spec(slow, seeds=(4, 5)), notes) == {(rows, seed) for rows in (1, 2, 3) for seed in (4, 5)}


def test_longest_rows_are_left_out_last(slow: Any, make_spec: Make, store: Store) -> None:
    """The example's length and a shorter one remain."""
    inputs = {"x": torch.linspace(-2.0, 2.0, 84).reshape(3, 7, 4)}
    spec = make_spec(slow, inputs=inputs, dynamic={"x": {0: "batch", 1: "time"}})
    parity = publish(spec, store).read_manifest().parity
    assert parity is not None
    assert {case.inputs for case in parity.rungs} == {"random time=7", "random time=3"}
