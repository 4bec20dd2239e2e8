"""Checks of texts, tags, writing, reading and sounds against the graphs. Raises ValueError, which names the field."""

from model_store.checks.described import FLOATS, Described, Place, expect, find
from model_store.graph import MAIN
from model_store.tasks.language import Tags, Tokens, Writing
from model_store.tasks.reading import Reading
from model_store.tasks.sounds import Sound

_INTEGERS = ("INT64", "INT32")


def check_language(manifest: Described) -> None:
    if manifest.tokens:
        _check_tokens(manifest, manifest.tokens)
    if manifest.tags:
        _check_tags(manifest, manifest.tags)
    if manifest.writing:
        _check_writing(manifest, manifest.writing)
    if manifest.reading:
        _check_reading(manifest, manifest.reading)
    if manifest.sound:
        _check_sound(manifest, manifest.sound)


def _check_tokens(manifest: Described, facts: Tokens) -> None:
    for field, name in (("ids", facts.ids), ("mask", facts.mask), ("types", facts.types)):
        if name is None:
            continue
        kinds = _INTEGERS if field != "mask" else (*_INTEGERS, *FLOATS, "BOOL")
        tensor = expect(manifest, f"tokens.{field}", Place(facts.graph, "input", name), kinds, (None,))
        size = tensor.row_shape[0]
        if isinstance(size, int) and facts.lengths != (size,):
            raise ValueError(f"tokens.lengths: expected {size}, the length of {name!r}, got {list(facts.lengths)}")
    if manifest.loop is None:
        needed = {tensor.name for tensor in manifest.graphs[facts.graph].inputs}
        if unfilled := sorted(needed - {facts.ids, facts.mask, facts.types}):
            raise ValueError(f"tokens: expected no input besides ids, mask and types, got {unfilled[0]!r}")
    for field, others in (("image", manifest.image), ("table", manifest.table), ("sound", manifest.sound)):
        if others is not None:
            raise ValueError(f"tokens: expected no field {field} beside it: a row is of one kind")


def _check_tags(manifest: Described, facts: Tags) -> None:
    if manifest.tokens is None or not manifest.labels:
        raise ValueError("tags: expected the fields tokens and labels, which they are about")
    if manifest.classes is not None:
        raise ValueError("tags: expected no field classes beside it: the labels are those of tokens or those of rows")
    expect(manifest, "tags.output", Place(MAIN, "output", facts.output), FLOATS, (None, len(manifest.labels)))
    if facts.outside is not None and facts.outside not in manifest.labels:
        raise ValueError(f"tags.outside: expected one of the labels, got {facts.outside!r}")


def _check_writing(manifest: Described, facts: Writing) -> None:
    if manifest.loop is None:
        raise ValueError("writing: expected a loop, which writes the text")
    if manifest.text is not None:
        raise ValueError("writing: expected no field text beside it: both say how text is written")
    if manifest.loop.start is None and facts.file is None:
        raise ValueError("writing.file: expected a tokenizer, because without a start graph a row is a prompt")
    if manifest.tokens is not None and manifest.loop.start is None:
        raise ValueError("tokens: expected a loop with a start graph, which takes the text; else a row is a prompt")
    if manifest.tokens is not None and manifest.tokens.graph != manifest.loop.start:
        expected = f"the loop's start graph {manifest.loop.start!r}, which takes the row"
        raise ValueError(f"tokens.graph: expected {expected}, got {manifest.tokens.graph!r}")
    if facts.token is not None:
        _expect_number(manifest, "writing.token", facts.token)
    if facts.prefix is not None:
        expect(manifest, "writing.prefix", Place(MAIN, "input", facts.prefix), ("INT64",), ("",))
    if facts.position is not None:
        _expect_number(manifest, "writing.position", facts.position)
    place = Place(MAIN, "output", facts.scores)
    scores = find(manifest, "writing.scores", place)
    expect(manifest, "writing.scores", place, FLOATS, (None, None) if len(scores.row_shape) == 2 else (None,))
    count = scores.row_shape[-1]
    if facts.symbols and count != len(facts.symbols):
        raise ValueError(
            f"writing.symbols: expected {count}, as many as {facts.scores!r} has, got {len(facts.symbols)}"
        )
    ids = (*facts.begin, *facts.ends, *facts.suppressed, *facts.suppressed_first)
    if isinstance(count, int) and max(ids) >= count:
        raise ValueError(f"writing: expected ids below {count}, as {facts.scores!r} has scores, got {max(ids)}")


def _check_reading(manifest: Described, facts: Reading) -> None:
    for field in ("text", "writing", "forecast"):
        if getattr(manifest, field) is not None:
            raise ValueError(f"reading: expected no field {field} beside it: both say what predict_sequence does")
    symbols = len(facts.symbols) or None
    expect(manifest, "reading.output", Place(MAIN, "output", facts.output), FLOATS, (None, symbols))
    if symbols is not None and facts.blank >= symbols:
        raise ValueError(f"reading.blank: expected less than {symbols}, the number of symbols, got {facts.blank}")
    if facts.length is not None:
        expect(manifest, "reading.length", Place(MAIN, "output", facts.length), _INTEGERS, ())
    if facts.step_s is not None and manifest.sound is None:
        raise ValueError("reading.step_s: expected it where rows are sounds")


def _expect_number(manifest: Described, field: str, name: str) -> None:
    """An input of ``main`` with one integer a row, which may have an axis of its own."""
    place = Place(MAIN, "input", name)
    shape = find(manifest, field, place).row_shape
    may_be_one = len(shape) == 1 and (shape[0] == 1 or isinstance(shape[0], str))
    expect(manifest, field, place, ("INT64",), shape if may_be_one else ())


def _check_sound(manifest: Described, facts: Sound) -> None:
    place = Place(facts.graph, "input", facts.input)
    (size,) = expect(manifest, "sound.input", place, FLOATS, (None,)).row_shape
    if isinstance(size, int) and size != facts.window:
        raise ValueError(f"sound.window: expected {size}, as {place} takes, got {facts.window}")
    if facts.length is not None:
        expect(manifest, "sound.length", Place(facts.graph, "input", facts.length), ("INT64",), ())
    if facts.graph == MAIN and manifest.loop is not None and manifest.task != "tensors":
        raise ValueError(
            f"sound: expected the task tensors, got {manifest.task}: 'main' goes on from window to window, as a live "
            "stream does and a task does not"
        )
    for field, others in (("image", manifest.image), ("table", manifest.table)):
        if others is not None:
            raise ValueError(f"sound: expected no field {field} beside it: a row is of one kind")
