"""Models of texts: how a text becomes the inputs, which vector represents it, and which output labels its tokens."""

from collections.abc import Sequence
from pathlib import Path

from export.errors import SpecError
from export.importers.changes.shapes import PoolPlaces
from export.importers.changes.texts import FillPositions, PoolTokens
from export.importers.facts import Fact
from export.importers.planning.draft import (
    FLOATS,
    Draft,
    ask_labels,
    choose_output,
    holds_floats,
    resize,
    show,
    show_shape,
)
from model_store.datatypes import DATATYPES
from model_store.errors import StoreError
from model_store.graph import Tensor
from model_store.tasks import Tags, Tokens
from model_store.texts.tokenizer import Tokenizer

FILE = "tokenizer.json"
TASKS = ("classify", "embed", "regress")
_NAMES = {
    "ids": ("input_ids", "ids", "token_ids", "tokens"),
    "mask": ("attention_mask", "mask", "input_mask"),
    "types": ("token_type_ids", "segment_ids", "type_ids"),
    "positions": ("position_ids", "positions"),
}
_INTEGERS = ("INT64", "INT32")
_OUTSIDE = "O"
_LEAST = 8
"""The shortest padded length, and the least step to the next."""
_MOST_LENGTHS = 4096
"""A graph without a mask has a length for each number of tokens, up to this one."""


def plan_texts(draft: Draft) -> None:
    """Set ``tokens``, if the task takes texts. Raises SpecError."""
    ledger = draft.ledger
    if ledger.get("task") not in TASKS or ledger.get("rows") not in (None, "texts"):
        return
    file = ledger.get("texts.tokenizer")
    if file is None:
        if ledger.get("rows") == "texts":
            ledger.ask("how texts become ids: give --tokenizer FILE, a tokenizer.json")
        return
    content = _read_tokenizer(draft, Path(file))
    found = _find_inputs(draft)
    ledger.add("rows", "texts", "a tokenizer is given")
    ids = found["ids"]
    if "positions" in found:
        _fill_positions(draft, found["positions"], ids.name)
    size = ids.shape[1]
    if isinstance(size, int):
        if "texts.length" in draft.said and ledger.get("texts.length") != size:
            raise SpecError(f"{draft.name}: --max-length {ledger.get('texts.length')}: {ids.name!r} has rows of {size}")
        ledger.facts["texts.length"] = Fact(size, f"the graph: {ids.name!r} has that length")
    if ledger.get("texts.length") is None:
        ledger.ask("the most tokens of a text: give --max-length")
        return
    longest = ledger.get("texts.length")
    lengths: Sequence[int] = (size,) if isinstance(size, int) else list_lengths(longest)
    if "mask" not in found and not isinstance(size, int):
        if longest > _MOST_LENGTHS:
            raise SpecError(
                f"{draft.name}: without a mask, texts cannot be padded: expected --max-length of {_MOST_LENGTHS} or "
                "less"
            )
        lengths = range(1, longest + 1)
        draft.notes.append("the graph has no mask, so texts are not padded: those of one length share batches")
    draft.fields["tokens"] = draft.make(
        Tokens,
        "tokens",
        ids=ids.name,
        mask=found["mask"].name if "mask" in found else None,
        types=found["types"].name if "types" in found else None,
        lengths=tuple(lengths),
        truncate=ledger.get("texts.truncate"),
        pad=ledger.add("texts.pad", 0, "usual"),
        prefix=ledger.get("texts.prefix"),
    )
    draft.fields["further_files"] = {FILE: content}


def _fill_positions(draft: Draft, positions: Tensor, ids: str) -> None:
    """Let the graph count the positions: padding comes after the tokens, so a token's index is its position."""
    first = draft.ledger.add("texts.first_position", 0, "usual")
    dtype = str(DATATYPES[positions.datatype].dtype)
    draft.changes.append(FillPositions(positions.name, ids, first, dtype, has_rows=positions.shape[0] != 1))
    draft.inputs.remove(positions)


def list_lengths(longest: int) -> tuple[int, ...]:
    """8, 16, 24 and so on to 64, then four lengths for each doubling: 80, 96, 112, 128, 160; and the longest."""
    lengths = []
    size = _LEAST
    while size < longest:
        lengths.append(size)
        size += max(_LEAST, (1 << size.bit_length() - 1) // 4)
    return (*lengths, longest)


def _read_tokenizer(draft: Draft, file: Path) -> bytes:
    try:
        content = file.read_bytes()
        Tokenizer(content, str(file))
        return content
    except (OSError, StoreError) as error:
        raise SpecError(f"{draft.name}: {draft.ledger.origin('texts.tokenizer')}: {error}") from None


def _find_inputs(draft: Draft) -> dict[str, Tensor]:
    """The inputs for ids, mask, types and positions. Raises SpecError if there are others, or no ids."""
    given = {tensor.name: tensor for tensor in draft.inputs}
    found: dict[str, Tensor] = {}
    for field, names in _NAMES.items():
        name = next((name for name in names if name in given), None)
        if name is not None:
            found[field] = given.pop(name)
    if "ids" not in found and len(given) == 1:
        found["ids"] = given.popitem()[1]
    ids = found.get("ids")
    counted = [tensor for tensor in (ids, found.get("positions")) if tensor is not None]
    if ids is None or given or any(tensor.datatype not in _INTEGERS or len(tensor.shape) != 2 for tensor in counted):
        raise SpecError(
            f"{draft.name}: a model of texts takes ids [batch, length], and maybe a mask, types and positions like "
            f"them ({', '.join(names[0] for names in _NAMES.values())}), this one {show(draft.inputs)}: "
            "export it without the others, or give --rows numbers"
        )
    return found


def pool(draft: Draft, output: Tensor) -> Tensor | None:
    """The vector of a text, made of the vectors of its tokens; None if the way must be asked for."""
    how = draft.ledger.get("vectors.pooling")
    if how not in ("first", "mean", "last"):
        draft.ledger.ask(
            f"how {output.name!r} {show_shape(output)}, a vector for each token, becomes one: give --pooling first "
            "(such as a class token), mean or last, or another output"
        )
        return None
    tokens: Tokens = draft.fields["tokens"]
    vector = resize(output, draft.choose_name("vector"), [output.shape[0], output.shape[2]])
    if how == "first":
        draft.change(PoolPlaces(output.name, vector.name, takes_mean=False), output.name, vector)
    elif tokens.mask is None:
        raise SpecError(f"{draft.name}: --pooling {how}: expected a graph with a mask of padding, this one has none")
    else:
        draft.change(PoolTokens(output.name, vector.name, how, tokens.mask), output.name, vector)
    return vector


def is_tagger(draft: Draft) -> bool:
    """Whether a classifier labels tokens, not whole texts: its scores are [batch, length, labels]."""
    if "tokens" not in draft.fields:
        return False
    named = draft.ledger.get("output")
    able = [tensor for tensor in draft.outputs if named in (None, tensor.name) and tensor.datatype in FLOATS]
    return len(able) == 1 and len(able[0].shape) == 3


def plan_tags(draft: Draft) -> None:
    """Find the output with the scores of each token's labels."""
    ledger = draft.ledger
    output = choose_output(draft, "scores of tokens", lambda tensor: holds_floats(tensor, 3))
    labels = ask_labels(draft, "tokens")
    if output is None or labels is None:
        return
    if output.shape[2] != len(labels):
        raise SpecError(
            f"{draft.name}: output {output.name!r} {show_shape(output)} has {output.shape[2]} scores, but there are "
            f"{len(labels)} labels ({ledger.origin('labels')})"
        )
    activation = ledger.guess("activation", "softmax", "most models give scores of any size")
    if activation == "sigmoid" or ledger.get("multi_label"):
        raise SpecError(f"{draft.name}: expected one label for each token, so softmax or none, got sigmoid")
    has_prefixes = any(label.startswith(("B-", "I-")) for label in labels)
    draft.answers.add(output.name)
    draft.fields["tags"] = draft.make(
        Tags,
        "tags",
        output=output.name,
        activation=activation,
        scheme="iob" if has_prefixes else "plain",
    ).model_copy(update={} if _OUTSIDE in labels else {"outside": None})
