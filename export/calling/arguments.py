"""Matches inputs to the parameters of ``forward``."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter, Signature
from typing import Any

from export.errors import SpecError

_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Binding:
    """One way to call a model. ``loose`` are inputs that go to ``*args`` or ``**kwargs``, which accept any name."""

    positional: tuple[Any, ...] = ()
    keyword: Mapping[str, Any] = field(default_factory=dict)
    loose: tuple[str, ...] = ()
    note: str | None = None
    """A note for the user."""


def bind(where: str, signature: Signature, given: Mapping[str, Any]) -> list[Binding]:
    """The ways to pass ``given``, the preferred one first; nearly always there is just one. Raises SpecError.

    Inputs named like parameters are passed by name; a parameter with a default may be left out. Inputs without such a
    name go to ``*args`` or ``**kwargs``. These may also be given under their own name, as a list or a dictionary.
    If no input is named like a parameter, as with ``forward(input)`` of torch's own modules, all are passed in order.
    """
    parameters = _Parameters(where, signature, given)
    if not parameters.named and parameters.rest and parameters.others and not parameters.spread_any:
        return [parameters.by_name(), parameters.in_order()]
    if parameters.pass_by_name:
        return [parameters.by_name()]
    return [parameters.in_order()]


class _Parameters:
    def __init__(self, where: str, signature: Signature, given: Mapping[str, Any]) -> None:
        self.where, self.given = where, dict(given)
        kinds = {parameter.kind: name for name, parameter in signature.parameters.items()}
        self.rest, self.others = kinds.get(Parameter.VAR_POSITIONAL, ""), kinds.get(Parameter.VAR_KEYWORD, "")
        self.named = {
            name: parameter for name, parameter in signature.parameters.items() if name not in (self.rest, self.others)
        }
        spread = self.given.pop(self.rest, ()) if isinstance(given.get(self.rest), list | tuple) else ()
        nested = self.given.pop(self.others, {}) if isinstance(given.get(self.others), Mapping) else {}
        self.spread: tuple[Any, ...] = tuple(spread)
        self.nested: dict[str, Any] = dict(nested)
        self._name_positional_only()
        self.unknown = [name for name in self.given if name not in self.named]

    def _name_positional_only(self) -> None:
        """Parameters before a ``/`` cannot be passed by name: they get, in order, the inputs that match no
        parameter."""
        free = [
            name
            for name, parameter in self.named.items()
            if parameter.kind is Parameter.POSITIONAL_ONLY and name not in self.given
        ]
        new = dict(zip([name for name in self.given if name not in self.named], free, strict=False))
        self.given = {new.get(name, name): value for name, value in self.given.items()}

    @property
    def spread_any(self) -> bool:
        return bool(self.spread or self.nested)

    @property
    def pass_by_name(self) -> bool:
        """Whether the inputs are passed by name, not in order."""
        if not self.named:
            return bool(self.others or (self.spread_any and not self.unknown))
        return len(self.unknown) < len(self.given) or not self.given

    def by_name(self) -> Binding:
        extra = [] if self.others else self.unknown
        if extra and not self.rest:
            raise self._misfit(f"forward has no parameter {', '.join(extra)}")
        rest = [*(self.given[name] for name in extra), *self.spread]
        positional: list[Any] = []
        keyword: dict[str, Any] = {}
        in_order = True
        for name, parameter in self.named.items():
            if name in self.given:
                if in_order and parameter.kind in _BY_POSITION:
                    positional.append(self.given[name])
                else:
                    keyword[name] = self.given[name]
            elif parameter.default is Parameter.empty:
                raise self._misfit(f"{name} has no default and is not given")
            elif parameter.kind is Parameter.POSITIONAL_ONLY or (rest and parameter.kind in _BY_POSITION):
                positional.append(parameter.default)
            else:
                in_order = False
        if self.others:
            keyword |= {name: self.given[name] for name in self.unknown}
        return Binding((*positional, *rest), keyword | self.nested, tuple(self.unknown))

    def in_order(self) -> Binding:
        places = [name for name, parameter in self.named.items() if parameter.kind in _BY_POSITION]
        needed = [name for name, parameter in self.named.items() if parameter.default is Parameter.empty]
        values = [*self.given.values(), *self.spread]
        if len(values) > len(places) and not self.rest:
            raise self._misfit("no name is a parameter, and there are more inputs than parameters")
        if lacking := [name for name in needed if name not in places[: len(values)]]:
            raise self._misfit(f"no name is a parameter, and nothing is left for {', '.join(lacking)}")
        names = list(self.given)
        passed = ", ".join(f"{name} as {place}" for name, place in zip(names, places, strict=False))
        alone = len(names) == len(places) == 1
        note = f"no input is named like a parameter of forward, so they are passed in order: {passed}"
        return Binding(tuple(values), self.nested, (), note if passed and not alone else None)

    def _misfit(self, what: str) -> SpecError:
        takes = ", ".join(_describe(self.named, self.rest, self.others)) or "nothing"
        return SpecError(
            f"{self.where}: inputs: forward takes ({takes}), inputs gives ({', '.join(self.given)}): {what}: name the "
            "inputs like forward's parameters; nest the tensors of one parameter: inputs={'parameter': {'key': tensor}}"
        )


def _describe(named: Mapping[str, Parameter], rest: str, others: str) -> Iterator[str]:
    for name, parameter in named.items():
        shown = name if parameter.default is Parameter.empty else f"{name}={_shorten(parameter.default)}"
        yield f"{shown} by keyword only" if parameter.kind is Parameter.KEYWORD_ONLY else shown
    yield from (f"*{rest}",) if rest else ()
    yield from (f"**{others}",) if others else ()


def _shorten(default: Any) -> str:
    text = repr(default)
    return text if len(text) <= 12 else "…"


def signature_of(function: Any) -> Signature:
    """The parameters of a function or of a module's ``forward``; ``*args`` if they cannot be found out."""
    import torch

    if isinstance(function, torch.jit.ScriptModule):
        forward: Any = function.forward
        return _read_schema(forward.schema.arguments[1:])  # without self
    if isinstance(function, torch.jit.ScriptFunction):
        scripted: Any = function
        return _read_schema(scripted.schema.arguments)
    if isinstance(function, torch.nn.Module):
        return _read_exported(function) or _inspect(_forward_of(function))
    return _inspect(function)


def takes_anything(signature: Signature) -> bool:
    """Whether the signature is ``(*args, **kwargs)``."""
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    return kinds == {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}


def _forward_of(module: Any) -> Any:
    """The module's ``forward``, or that of the inner module to which ``forward(*args, **kwargs)`` delegates."""
    inner = list({id(part): part for part in module.children() if any(True for _ in part.parameters())}.values())
    if len(inner) == 1 and takes_anything(_inspect(module.forward)):
        return _forward_of(inner[0])
    return module.forward


def _inspect(function: Any) -> Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return Signature([Parameter("args", Parameter.VAR_POSITIONAL)])


def _read_schema(arguments: Sequence[Any]) -> Signature:
    """The parameters of a TorchScript function or method."""
    parameters = []
    for argument in arguments:
        kind = Parameter.KEYWORD_ONLY if argument.kwarg_only else Parameter.POSITIONAL_OR_KEYWORD
        default = argument.default_value if argument.has_default_value() else Parameter.empty
        parameters.append(Parameter(argument.name, kind, default=default))
    return Signature(parameters)


def is_exported(module: Any) -> bool:
    """Whether the module comes from ``ExportedProgram.module()``."""
    codegen = getattr(getattr(module, "graph", None), "_codegen", None)
    return hasattr(codegen, "pytree_info")


def _read_exported(module: Any) -> Signature | None:
    """The parameters of an exported program, which must be called just as it was exported; None for other modules."""
    if not is_exported(module):
        return None
    info = module.graph._codegen.pytree_info
    by_position = len(info.orig_args) - info.in_spec.child(1).num_children
    return Signature(
        [
            Parameter(name, Parameter.POSITIONAL_OR_KEYWORD if number < by_position else Parameter.KEYWORD_ONLY)
            for number, name in enumerate(info.orig_args)
        ]
    )
