"""Explains failures of an exporter, with what to change in ``forward``. Each advice was tried with torch 2.13."""

import re
import site
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch.nn.utils.rnn import PackedSequence


class Hint(NamedTuple):
    """``pattern`` is searched in errors and tracebacks. ``own``: forward is the cause, whichever exporter runs."""

    pattern: str
    advice: str
    own: bool = False


_HINTS = (
    Hint(r"static shape of|[Cc]onstraints violated|specialized", "forward fixes the size of that axis: take it from "
         "tensor.shape instead of a number, or leave the axis out of dynamic if it is meant to be fixed", True),
    Hint(r"pack_padded_sequence|pad_packed_sequence|PackedSequence", "packed sequences cannot be exported: mask the "
         "padding instead (run over the padded rows, take the state of each at its length - 1, and for a backward "
         "direction turn each row round by its length)"),
    Hint(r"quantized|torch\.ao\.", "quantised modules cannot be exported: give the module as it was before, with "
         "samples, and publish it with --precision int8"),
    Hint(r"data-dependent|GuardOnDataDependent|\.item\(\)", "forward decides in Python by the values of a tensor: use "
         "torch.where or torch.cond", True),
    Hint(r"structure of `inputs` and `dynamic_shapes`", "give forward one named tensor argument per input, no *args, "
         "lists or dictionaries", True),
    Hint(r"complex-valued input|number type: complex|ComplexFloat", "complex numbers have few ONNX forms: compute with "
         "real ones, such as cos and sin instead of exp(1j * x)"),
    Hint(r"[Ss]parse|_to_dense", "sparse tensors have no ONNX form: call .to_dense() on them before the export"),
    Hint(r"nested_tensor|NestedTensor", "nested tensors have no ONNX form: pad the rows to one length, and mask the "
         "padding"),
    Hint(r"torch\.autograd\.|autograd\.Function", "forward differentiates, or has an autograd.Function that cannot be "
         "followed: write its forward with operators of torch alone"),
    Hint(r"No ONNX function found|DispatchError|[Uu]nsupportedOperator|is not supported", "an operator has no ONNX "
         "form: write it with simpler ones; compute what depends on no input in __init__, and what ONNX cannot do "
         "outside the model"),
)  # fmt: skip
_OTHERWISE = Hint("", "change forward so that torch.export.export(module, inputs) takes it")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_OURS = str(Path(__file__).parents[1])
_OTHERS = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), *site.getsitepackages(), _OURS, "<"})


@dataclass(frozen=True, slots=True)
class Failure:
    """``reason`` in one line, the exporter's step if known, the line of the user's code, and the advice."""

    reason: str
    step: str | None
    place: str | None
    hint: Hint


def diagnose(error: BaseException) -> Failure:
    chain = list(_chain(error))
    texts = "\n".join(_COLOUR.sub("", f"{type(one).__name__}: {one}") for one in chain)
    hint = _find_hint(texts) or _find_hint("\n".join(_list_calls(chain))) or _OTHERWISE
    root = chain[-1]
    step = re.search(r"This is (step \d/\d)", texts)
    lines = [line.strip() for line in _COLOUR.sub("", str(root)).splitlines() if line.strip()]
    reason = f"{type(root).__name__}: {' '.join(lines[:3])[:500]}"
    return Failure(reason, step[1] if step else None, _find_place(chain), hint)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes; the original cause comes last."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _find_hint(text: str) -> Hint | None:
    return next((hint for hint in _HINTS if re.search(hint.pattern, text)), None)


def _list_calls(chain: list[BaseException]) -> Iterator[str]:
    """The functions and lines of code that were running, and whether one handled a packed sequence."""
    for error in chain:
        for call in traceback.extract_tb(error.__traceback__):
            if not call.filename.startswith(_OURS):
                yield f"{call.name} {call.line}"
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if any(isinstance(value, PackedSequence) for value in frame.f_locals.values()):
                yield PackedSequence.__name__


def _find_place(chain: list[BaseException]) -> str | None:
    """The innermost line of the user's own code."""
    for error in reversed(chain):
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_OTHERS)]
        inside = [frame for frame in frames if frame.name == "forward"] or frames[-1:]
        if inside and inside[-1].name not in ("main", "<module>"):
            return f"{inside[-1].filename}, line {inside[-1].lineno}"
    return None
