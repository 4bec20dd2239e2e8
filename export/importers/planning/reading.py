"""Models that read (CTC): the output with scores of symbols over time, and the symbols."""

from collections.abc import Sequence
from pathlib import Path

from export.errors import SpecError
from export.importers.planning.draft import Draft, choose_output, holds_floats, show, show_shape
from model_store.errors import StoreError
from model_store.graph import Tensor
from model_store.tasks import Reading
from model_store.texts.symbols import join_symbols, split_symbols

FILE = "symbols.txt"
_KINDS = {"none": "probabilities", "softmax": "logits"}
_MAKERS = {"Softmax": "probabilities", "LogSoftmax": "log_probabilities"}
_RAW = ("Gemm", "MatMul", "Add", "Reshape", "Transpose", "Conv", "Squeeze")


def plan_reading(draft: Draft) -> None:
    """Set ``reading``, unless the source says how the model predicts. Raises SpecError."""
    if draft.found.more:
        return
    ledger = draft.ledger
    output = choose_output(draft, "scores [batch, steps, symbols]", lambda tensor: holds_floats(tensor, 3))
    if output is not None and not holds_floats(output, 3):
        raise SpecError(f"{draft.name}: output {show([output])}: expected floats [batch, steps, symbols]")
    symbols = _read_symbols(draft)
    if output is None or symbols is None:
        return
    size = output.shape[2]
    if isinstance(size, int) and size != len(symbols):
        raise SpecError(
            f"{draft.name}: output {output.name!r} {show_shape(output)} has {size} symbols, but there are "
            f"{len(symbols)} ({ledger.origin('reading.symbols')}): expected a line for each, that of the blank too"
        )
    blank = ledger.guess("reading.blank", 0, "most models have it first")
    if blank >= len(symbols):
        origin = ledger.origin("reading.blank")
        raise SpecError(f"{draft.name}: {origin}: expected less than {len(symbols)}, got {blank}")
    scores = _find_scores(draft, output)
    if scores is None:
        return
    draft.answers.add(output.name)
    draft.fields["reading"] = draft.make(
        Reading,
        "reading",
        output=output.name,
        scores=scores,
        file=FILE,
        blank=blank,
        step_s=ledger.get("reading.step_s"),
    )
    draft.fields["further_files"] = {FILE: join_symbols(tuple(symbols))}


def _read_symbols(draft: Draft) -> Sequence[str] | None:
    """The symbols, in order; None if they must be asked for."""
    ledger = draft.ledger
    symbols: Sequence[str] | None = ledger.get("reading.symbols")
    if symbols is None:
        ledger.ask("the symbols of its scores, in their order: give --symbols FILE, one a line, that of the blank too")
    if not isinstance(symbols, str):
        return symbols
    try:
        ledger.replace("reading.symbols", split_symbols(Path(symbols).read_bytes(), symbols))
    except (OSError, StoreError) as error:
        raise SpecError(f"{draft.name}: {ledger.origin('reading.symbols')}: {error}") from None
    found: Sequence[str] = ledger.get("reading.symbols")
    return found


def _find_scores(draft: Draft, output: Tensor) -> str | None:
    """The kind of the scores; None if it must be asked for."""
    ledger = draft.ledger
    said = ledger.get("activation")
    if said is not None:
        if said not in _KINDS:
            raise SpecError(f"{draft.name}: --activation {said}: expected none, or softmax, for a model that reads")
        return _KINDS[said]
    maker = draft.maker(output.name)
    if maker == "Softmax":
        ledger.add("activation", "none", f"the graph: Softmax makes {output.name!r}")
    if maker in _MAKERS:
        return _MAKERS[maker]
    if maker in _RAW:
        ledger.guess("activation", "softmax", f"{maker} makes {output.name!r}, so it has scores of any size")
        return "logits"
    ledger.ask(f"whether {output.name!r} has probabilities: give --activation none, or softmax for scores of any size")
    return None
