"""What runs batches: a graph, once more on all cores, or step by step."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from service.engine.batching.cost import CostModel
from service.engine.tensors import Arrays


class Runner(Protocol):
    """Runs a graph on whole batches. Called from several lanes at once."""

    def run(self, inputs: Arrays) -> Sequence[np.ndarray]: ...


@dataclass(frozen=True)
class AllCores:
    """The same graph once more, each of its runs on all cores: for a batch that has them to itself.

    Where several batches run, one core each is more: nothing has to be handed from core to core within a run. ``cost``
    is that of these runs, each on ``threads`` threads.
    """

    runner: Runner
    cost: CostModel
    threads: int


class StepRunner(Protocol):
    """Runs a graph step by step. What ``step`` leaves on a device, and what ``settle`` gives, reads like an array."""

    def step(self, inputs: Mapping[str, Any], stay: Collection[str]) -> Sequence[Any]: ...
    def settle(self, array: np.ndarray) -> Any: ...
