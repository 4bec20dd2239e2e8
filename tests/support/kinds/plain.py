"""Whether a graph of `torch.onnx.export` alone is right at every check of a kind."""

import contextlib
import inspect
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from tests.support.inferring import Plain
from tests.support.kinds.case import Kind
from tests.support.kinds.compare import measure
from tests.support.kinds.original import build, example, order_of_outputs
from tests.support.kinds.values import Check, axes_of, fill, flatten

Answers = list[tuple[Check, Mapping[str, np.ndarray]]]


def find_exporter(kind: Kind, answers: Answers) -> str | None:
    """The first of torch's exporters whose graph gives all ``answers``, which are PyTorch's; None where none does."""
    for name, export in (("dynamo", _export_dynamo), ("torchscript", _export_torchscript)):
        with tempfile.TemporaryDirectory(prefix="kinds-") as folder, quiet():
            path = Path(folder) / "plain.onnx"
            try:
                export(kind, path)
                right = _is_right(kind, path, answers)
            except Exception:  # noqa: BLE001  # however it fails, it has not got the model right
                right = False
        if right:
            return name
    return None


def _export_dynamo(kind: Kind, path: Path) -> None:
    given, axes = example(kind), axes_of(kind)
    dynamic = fill(kind.inputs, {name: dict(axes[name]) for name in axes})
    module = _module(kind)
    args: dict[str, Any] = {"kwargs": given} if kind.by_name else {"args": tuple(given.values())}
    if isinstance(module, torch.export.ExportedProgram):
        torch.onnx.export(module, f=path, dynamo=True, verbose=False)
    else:
        shapes = _spread(module, dynamic if kind.by_name else tuple(dynamic.values()))
        torch.onnx.export(module, **args, f=path, dynamo=True, dynamic_shapes=shapes, verbose=False)


def _export_torchscript(kind: Kind, path: Path) -> None:
    given, axes = example(kind), axes_of(kind)
    module = _module(kind)
    args = _in_order(module, given) if kind.by_name else tuple(given.values())
    names = [name for name in _order(kind, module) if name in flatten(kind.inputs)]
    dynamic = {name: dict(axes[name]) for name in axes}
    torch.onnx.export(
        module, args, path, dynamo=False, input_names=names, dynamic_axes=dynamic, verbose=False, opset_version=18
    )


def _module(kind: Kind) -> Any:
    module = build(kind)
    if isinstance(module, str):
        module = torch.export.load(module) if module.endswith(".pt2") else torch.jit.load(module)
    if isinstance(module, torch.nn.Module):
        with contextlib.suppress(NotImplementedError):  # the module of a program
            module.eval()
    elif not isinstance(module, torch.export.ExportedProgram):
        module = _Function(module)
    return module


def _spread(module: Any, dynamic: Any) -> Any:
    """The free axes in the form that torch expects if forward takes any number of arguments."""
    if isinstance(module, torch.jit.ScriptModule):
        return dynamic
    kinds = {parameter.kind for parameter in inspect.signature(module.forward).parameters.values()}
    return (dynamic,) if kinds == {inspect.Parameter.VAR_POSITIONAL} else dynamic


class _Function(torch.nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def _parameters(module: Any) -> list[str]:
    if isinstance(module, torch.jit.ScriptModule):
        return [argument.name for argument in module.forward.schema.arguments][1:]
    return list(inspect.signature(module.forward).parameters)


def _in_order(module: Any, given: Mapping[str, Any]) -> tuple[Any, ...]:
    """The arguments by position, with None for what is left out."""
    names = _parameters(module)
    if not set(given) <= set(names):
        return tuple(given.values())
    last = max(names.index(name) for name in given)
    return tuple(given.get(name) for name in names[: last + 1])


def _order(kind: Kind, module: Any) -> list[str]:
    """The flat names in the order in which the exporters flatten the arguments."""
    names = list(kind.inputs)
    if kind.by_name and hasattr(module, "forward") and set(names) <= set(_parameters(module)):
        names = [name for name in _parameters(module) if name in kind.inputs]
    order: list[str] = []
    for name in names:
        flat = flatten({name: kind.inputs[name]})
        nested = fill({name: kind.inputs[name]}, {key: key for key in flat})
        order += pytree.tree_leaves(nested)
    return order


def _is_right(kind: Kind, path: Path, answers: Answers) -> bool:
    runtime = Plain(path)
    order = _order(kind, _module(kind))
    returned = order_of_outputs(kind)
    for check, expected in answers:
        given = {name: check.inputs[_match(name, place, order)] for place, name in enumerate(runtime.input_names)}
        got = dict(zip(returned, runtime.run(given).values(), strict=True))
        measure(kind, expected, {name: array for name, array in got.items() if name is not None})
    return True


def _match(name: str, place: int, order: list[str]) -> str:
    """The flat name of a graph's input: the same name, or the same with underscores, or the one at its place."""
    by_name = {flat.replace(".", "_"): flat for flat in order}
    return name if name in order else by_name.get(name) or order[place]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence torch: its logs and warnings in Python, and what its older exporter prints from C++."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)
        logging.disable(before)
