"""The PyTorch side of a kind: the module as it is exported, and as it is called by name."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from tests.support.kinds.case import Kind, Sample
from tests.support.kinds.values import draw, fill, flatten

_SEED = 3


def build(kind: Kind, called: bool = False) -> Any:
    """The module of a kind, or the one that is called to know the answer; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        made = kind.called() if called and kind.called is not None else kind.module()
    if called and isinstance(made, nn.Module):
        made.eval()
    return made


def example(kind: Kind) -> dict[str, Any]:
    """The example inputs, nested as ``forward`` takes them. One sample that has two names is one tensor."""
    arrays, made = draw(kind, {}, 0), {}
    tensors: dict[int, torch.Tensor] = {}
    samples: dict[str, Sample] = flatten(kind.inputs)
    for name, sample in samples.items():
        made[name] = tensors.setdefault(id(sample), torch.from_numpy(np.asarray(arrays[name])))
    nested: dict[str, Any] = fill(kind.inputs, made)
    return nested


def call(kind: Kind, module: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What PyTorch answers, by the names of the outputs. Raises what the module raises."""
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    given = fill(kind.inputs, tensors)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        returned = module(**given) if kind.by_name else module(*given.values())
    return {name: _to_array(tensor) for name, tensor in _by_name(kind, returned).items()}


def order_of_outputs(kind: Kind) -> list[str | None]:
    """The names of the tensors that the module returns, in the order in which torch takes the answer apart."""
    module = build(kind, called=True)
    given = example(kind)
    with torch.no_grad():
        returned = module(**given) if kind.by_name else module(*given.values())
    named = list(_by_name(kind, returned).items())
    order: list[str | None] = []
    for leaf in _leaves(returned):
        name = next((name for name, tensor in named if tensor is leaf and name not in order), None)
        order.append(name)
    return order


def _by_name(kind: Kind, returned: Any) -> dict[str, torch.Tensor]:
    keys: Any = returned
    if hasattr(returned, "_asdict"):
        keys = returned._asdict()
    elif hasattr(returned, "__dataclass_fields__"):
        keys = vars(returned)
    if isinstance(keys, Mapping) and all(name in keys for name in kind.outputs):
        return {name: keys[name] for name in kind.outputs}
    return dict(zip(kind.outputs, _leaves(returned), strict=True))


def _leaves(returned: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(returned) if isinstance(leaf, torch.Tensor)]


def _to_array(tensor: torch.Tensor) -> np.ndarray:
    array: np.ndarray = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().contiguous().numpy()
    return array
