"""Orders the tensors that a model returns by the output names of its spec."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from export.calling.nesting import parts_of
from export.errors import SpecError


class _Returned(NamedTuple):
    """A tensor that a model returned. ``by_key``: found by a key; ``by_field``: by a field of a named tuple."""

    path: str
    by_key: bool
    by_field: bool
    tensor: torch.Tensor


def order_outputs(where: str, names: Sequence[str], returned: Any) -> tuple[torch.Tensor, ...]:
    """The tensors of ``returned`` in the order of ``names``. Raises SpecError, with both sides, if they do not fit.

    Values of a dictionary or dataclass are found by key (``pooled``), or by all their keys (``out.pooled``) if one key
    is ambiguous; values that ``names`` does not mention are left out. Everything else is used completely and in order.
    A named tuple is read by field if ``names`` has one of its fields, else in order.
    """
    found = list(_find(returned, "", False, False))
    fields = any(one.by_field and _is_called(one, name) for one in found for name in names)
    keyed = [one for one in found if one.by_key or (fields and one.by_field)]
    in_order = [one for one in found if not (one.by_key or (fields and one.by_field))]
    chosen: dict[str, torch.Tensor] = {}
    for name in names:
        exact = [one for one in keyed if one.path == name]
        fitting = exact or [one for one in keyed if _is_called(one, name)]
        if len(fitting) > 1:
            raise SpecError(
                f"{where}: outputs: {name!r} may be {' or '.join(one.path for one in fitting)}: give all its keys"
            )
        if fitting:
            chosen[name] = fitting[0].tensor
    rest = [name for name in names if name not in chosen]
    if len(rest) != len(in_order):
        raise _misfit(where, names, found, rest, keyed)
    chosen |= {name: one.tensor for name, one in zip(rest, in_order, strict=True)}
    return tuple(chosen[name] for name in names)


def _find(value: Any, path: str, by_key: bool, by_field: bool) -> Iterator[_Returned]:
    if isinstance(value, torch.Tensor):
        yield _Returned(path, by_key, by_field, value)
        return
    fields = getattr(value, "_fields", None) if isinstance(value, tuple) else None
    for position, part in enumerate(parts_of(value) or ()):
        key = fields[position] if fields else part.key
        below = f"{path}.{key}" if path else key
        yield from _find(part.value, below, by_key or part.named, by_field or fields is not None)


def _is_called(one: _Returned, name: str) -> bool:
    return one.path == name or one.path.endswith(f".{name}")


def _misfit(
    where: str, names: Sequence[str], found: Sequence[_Returned], rest: Sequence[str], keyed: Sequence[_Returned]
) -> SpecError:
    if keyed:
        got = ", ".join(one.path for one in found)
        return SpecError(
            f"{where}: outputs: forward returns {got}, outputs names {', '.join(names)}"
            + (f": it has no key {', '.join(rest)}" if rest else "")
            + ": use the keys that forward returns, and a name for each tensor without a key"
        )
    return SpecError(
        f"{where}: the module returns {len(found)} tensors, but outputs has {len(names)} names ({', '.join(names)}): "
        "name every tensor of forward"
    )
