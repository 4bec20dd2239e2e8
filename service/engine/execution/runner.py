"""The interfaces of what runs batches: a graph, the same graph on all cores, or a graph step by step."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from service.engine.batching.cost import CostModel
from service.engine.tensors import Arrays


class Runner(Protocol):
    """Runs a graph on whole batches. It is called from several lanes at once."""

    def run(self, inputs: Arrays) -> Sequence[np.ndarray]: ...


@dataclass(frozen=True)
class AllCores:
    """A second session of a graph, whose runs use all cores: for a batch that has them to itself.

    Several batches run faster on one core each, because nothing passes between cores within a run. ``cost`` is that of
    runs on ``threads`` threads.
    """

    runner: Runner
    cost: CostModel
    threads: int


class StepRunner(Protocol):
    """Runs a graph step by step. ``step`` leaves the outputs in ``stay`` on the device; ``settle`` puts an array there.

    Such values can be read like arrays.
    """

    def step(self, inputs: Mapping[str, Any], stay: Collection[str]) -> Sequence[Any]: ...
    def settle(self, array: np.ndarray) -> Any: ...
