"""How a sound becomes an input."""

from export.errors import SpecError
from export.importers.changes.channels import DropChannel
from export.importers.planning.draft import FLOATS, Draft, resize, show, show_shape
from export.importers.sources.source import OnnxModel
from model_store.graph import Tensor
from model_store.tasks import Sound

TASKS = ("classify", "embed", "regress", "predict_sequence")
_SAME = ("rate", "length", "window", "overlap", "multiple", "least", "longest_s", "level_dbfs")
"""The facts that the manifest has by the same name."""


def plan_sound(draft: Draft) -> None:
    """Set ``sound``, if the task can take sounds and some fact says that the rows are sounds. Raises SpecError."""
    ledger = draft.ledger
    says = any(path.startswith("sound.") for path in ledger.facts)
    if ledger.get("task") not in TASKS or not (says or ledger.get("rows") == "sounds"):
        return
    if "rows" in draft.said and ledger.get("rows") != "sounds":
        raise SpecError(
            f"{draft.name}: {ledger.origin('rows')}: the rows are {ledger.get('rows')}, but facts about sounds are "
            "given: leave out one of them"
        )
    ledger.add("rows", "sounds", "facts about sounds are given")
    tensor = _find_input(draft)
    if tensor is None:
        return
    ledger.add("sound.input", tensor.name, "the graph: its only input that can be samples")
    samples = tensor.shape[-1]
    if isinstance(samples, int):
        ledger.add("sound.window", samples, f"the graph: input {tensor.name!r} is {show_shape(tensor)}")
    if len(tensor.shape) == 3:
        draft.changes.append(DropChannel(tensor.name))
        flat = resize(tensor, tensor.name, (tensor.shape[0], samples))
        draft.inputs = [flat if each.name == tensor.name else each for each in draft.inputs]
    if ledger.get("sound.rate") is None:
        ledger.ask(f"the rate of the samples of {tensor.name!r}, in Hz, as in training: give --rate")
        return
    said = {name: ledger.get(f"sound.{name}") for name in _SAME}
    draft.fields["sound"] = draft.make(Sound, "sound", input=tensor.name, **said)


def _find_input(draft: Draft) -> Tensor | None:
    """The input that takes the samples; None if it must be asked for."""
    ledger = draft.ledger
    inputs = [tensor for tensor in draft.inputs if not tensor.optional]
    length, said = ledger.get("sound.length"), ledger.get("sound.input")
    if length is not None and length not in {tensor.name for tensor in inputs}:
        raise SpecError(f"{draft.name}: --length-input {length}: expected an input, got {show(inputs)}")
    is_onnx = isinstance(draft.found.model, OnnxModel)
    able = [tensor for tensor in inputs if tensor.datatype in FLOATS and _holds_samples(tensor, is_onnx)]
    if said is not None:
        able = [tensor for tensor in able if tensor.name == said]
    if not able:
        which = "an input" if said is None else f"--sound-input {said}"
        raise SpecError(f"{draft.name}: {which}: expected floats [batch, samples] for sounds, got {show(inputs)}")
    others = [tensor for tensor in inputs if tensor.name not in (able[0].name, length)]
    if len(able) > 1 or others:
        ledger.ask(
            f"which input takes the samples: {show(inputs)}: give --sound-input, and --length-input for one that takes "
            "their number; the server fills no others"
        )
        return None
    return able[0]


def _holds_samples(tensor: Tensor, is_onnx: bool) -> bool:
    """Whether rows are [samples], or [1, samples] of a graph that can be changed."""
    return len(tensor.shape) == 2 or (is_onnx and len(tensor.shape) == 3 and tensor.shape[1] == 1)
