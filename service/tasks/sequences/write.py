"""Text that a loop writes one token at a time: translations, captions, titles, continuations of prompts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from model_store.datatypes import DATATYPES
from model_store.graph import MAIN, Tensor
from model_store.tasks import Writing
from service.codecs.model_context import ModelContext, known
from service.codecs.rows import Group, in_order
from service.codecs.sounds import SoundWindow
from service.codecs.texts.tokens import check_characters, count_bytes_of_texts
from service.codecs.written import Decode, GrowingText, find_decoder, find_stop, without_part_of_stop
from service.engine.loop.request import ByStep, Decoding, Follow, LoopRequest, Sentence, TokenSampling
from service.engine.tensors import Arrays
from service.errors import Cancelled, InvalidInput, ModelFailure
from service.protocol.json import type_name
from service.tasks.request import FromText, TaskOptions, refuse
from service.tasks.sequences.forecast import ForecastOptions
from service.tasks.sequences.recordings import join_windows
from service.tasks.sequences.translate import TextOptions
from service.tasks.windows import check_windows, find_sounds
from service.tasks.work import SLOW_BYTES, Call, Emit, Infer, IsOver, Iterate, decode_rows, run_in_thread, run_stoppable

_CARRIED_BYTES = 256 << 20
"""If the rows of a request carry more state than this, they run in several parts."""
_ROW_BYTES, _TOKEN_BYTES = 128, 16
"""The cost of a row of the answer, and of a token in it, as ``run_in_thread`` counts."""
Stop = Annotated[str, Field(min_length=1, max_length=256)]


class WritingOptions(TextOptions):
    length_penalty: Annotated[float, Field(ge=0, le=4)] | None = None
    """with beams: 0, the default, finds the likeliest text, 1 the one whose tokens are likeliest on the average; the
    higher it is, the longer are texts"""
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    """above 0: tokens are drawn, the more evenly the higher it is; 0, the default, takes the likeliest token"""
    top_k: Annotated[int, Field(ge=1)] | None = None
    """with a temperature: draws of so many of the likeliest tokens only"""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """with a temperature: draws of the likeliest tokens that together have this probability"""
    stop: Annotated[list[Stop], FromText, Field(max_length=16)] | None = None
    """a text ends before the first of these"""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """the most tokens of a text, or of each window of a sound; default: as many as the model can write"""
    windows: bool = False
    """answer with the text of each window of a sound too, and its times"""


class Options(ForecastOptions, WritingOptions):
    """All options of a model that writes text, with ``seed``."""


class Rows(NamedTuple):
    """Rows of one shape. ``begin`` are the inputs of the first step, ``forced`` the given tokens of each row."""

    places: Sequence[int]
    begin: Mapping[str, np.ndarray]
    forced: Sequence[Sequence[int]]


async def write(call: Call[Options]) -> list[dict[str, Any]]:
    """One prediction for each row: ``text``, ``probability``, ``log_probability``, ``tokens``, ``complete``.

    A long sound is transcribed window by window. Events: row, window of a sound, step from 0, the text so far. Raises
    InvalidInput, UnsupportedMedia, BodyTooLarge; ModelFailure for scores that are not finite.
    """
    rows, plan = call.rows or (), _Plan(call)
    if call.options.windows:
        check_windows(call.model.manifest)
    prompts, groups = await _read(call, rows, plan)
    windows = in_order(groups, [group.windows for group in groups]) if groups[0].windows else []
    texts = _Texts(plan, len(windows) or len(rows), call.emit, windows)
    sentences: dict[int, Sentence] = {}
    for group in _split(groups, plan):
        begun = await _begin(group, prompts, plan)
        result = await Iterate(plan.ask(begun, texts.follow(group.places)))
        sentences.update(zip(group.places, result.sentences, strict=True))

    def describe() -> list[dict[str, Any]]:
        found = [texts.describe(place, sentences[place]) for place in range(len(sentences))]
        return join_windows(windows, found, call.model.manifest, call.options.windows) if windows else found

    size = sum(_ROW_BYTES + len(sentence.tokens) * _TOKEN_BYTES for sentence in sentences.values())
    return await run_in_thread(describe, size)


class _Plan:
    """How to write the texts of a request. Raises InvalidInput for options that contradict each other."""

    def __init__(self, call: Call[Options]) -> None:
        options, self.context = call.options, call.model
        self.facts = known(self.context.manifest.writing)
        self.loop = known(self.context.manifest.loop)
        self.width = options.beams or 1
        self.stops = options.stop or []
        self.sampling = _read_sampling(options)
        if self.width > 1:
            _refuse_beside_beams(options)
        elif options.length_penalty is not None:
            raise InvalidInput("length_penalty: expected beams above 1 beside it, for one text has no others")
        self.length_penalty = options.length_penalty or 0.0
        if len(call.rows or ()) * self.width > call.limits.max_rows:
            most = call.limits.max_rows // self.width
            raise InvalidInput(
                f"inputs: expected at most {most} texts of {self.width} beams, got {len(call.rows or ())}"
            )
        self.max_steps = min(self.loop.max_steps, call.limits.max_steps)
        self._max_tokens = options.max_tokens
        self._largest = _find_longest(self.context, self.facts)

    def check_length(self, given: int, where: str) -> None:
        """Raises InvalidInput if there is no room for a text, or for ``max_tokens``, after ``given`` tokens."""
        most = self.limit(given)
        if most < 1:
            raise InvalidInput(f"{where}: expected a prompt of at most {self.longest} tokens, got {given}")
        if self._max_tokens is not None and self._max_tokens > most:
            after = f" after the {given} tokens that {where} begins with" if given > len(self.facts.begin) else ""
            raise InvalidInput(
                f"max_tokens: expected 1 to {most} for model {self.context.name!r}{after}, got {self._max_tokens}"
            )

    @property
    def longest(self) -> int | None:
        """The most tokens of a prompt. None: the graph has no cache, and takes any number of tokens."""
        return self.max_steps if self.facts.prefix is None else self._largest

    def limit(self, given: int) -> int:
        """The most tokens that a row can have after the ``given`` ones that it begins with."""
        most = self.max_steps if self.facts.prefix is not None else self.max_steps - given + 1
        return most if self._largest is None else min(most, self._largest - given + 1)

    def ask(self, rows: Rows, follow: Follow | None) -> LoopRequest:
        facts = self.facts
        begins = [len(facts.begin) if facts.prefix is None else rows.begin[facts.prefix].shape[1]]
        begins += [1 + len(forced) for forced in rows.forced]
        limits = [self.limit(given) for given in begins]
        max_tokens = min(max(limits), self._max_tokens or max(limits))
        steps = min(max_tokens + max(map(len, rows.forced), default=0), self.max_steps)
        by_step: dict[str, ByStep] = {}
        if facts.position is not None:
            shape = (1,) * len(self.context.inputs()[facts.position].shape)
            by_step[facts.position] = lambda rows, step: np.full(shape, step, np.int64)
        decoding = Decoding(
            facts.token or known(facts.prefix),
            facts.scores,
            facts.begin[0],
            frozenset(facts.ends),
            self.width,
            self.length_penalty,
            takes_all=facts.prefix is not None,
            are_logits=True,
            forced=rows.forced if any(rows.forced) else (),
            suppressed=list(facts.suppressed),
            suppressed_first=list(facts.suppressed_first),
            max_tokens=max_tokens,
            sampling=self.sampling,
            follow=follow,
        )
        return LoopRequest(rows.begin, steps, by_step, decoding=decoding)


class _Texts:
    """The growing texts of a request, and their events."""

    def __init__(self, plan: _Plan, rows: int, emit: Emit | None, windows: Sequence[SoundWindow] = ()) -> None:
        self._model = plan.context.name
        self._decode: Decode = find_decoder(plan.facts, plan.context.tokenizers)
        self._stops = plan.stops
        self._longest_stop = max(map(len, self._stops), default=0)
        self._emit = emit
        self._events = [{"row": row} for row in range(rows)]
        if windows:
            sounds = [windows[places] for places in find_sounds(windows)]
            self._events = [{"row": window.row, "window": i} for sound in sounds for i, window in enumerate(sound)]
        self._grown = [GrowingText(self._decode) for _ in range(rows)] if emit or self._stops else []
        self._sent = [""] * rows
        self._cuts: dict[int, int] = {}
        """Row that a stop text has ended -> the length of its text."""

    def follow(self, places: Sequence[int]) -> Follow | None:
        """A callback for each token, which sends events and looks for stop texts. None if neither is asked for."""
        return (lambda row, tokens: self._take(places[row], tokens)) if self._grown else None

    def _take(self, row: int, tokens: Sequence[int]) -> bool:
        grown = self._grown[row]
        searched = max(0, len(grown.text) - self._longest_stop + 1)
        if not grown.read(tokens):
            return False
        cut = find_stop(grown.text, self._stops, searched)
        if cut is not None:
            self._cuts[row] = cut
        if self._emit is not None:
            shown = without_part_of_stop(grown.text, self._stops) if cut is None else grown.text[:cut]
            if shown != self._sent[row]:
                self._sent[row] = shown
                self._emit({**self._events[row], "step": len(tokens) - 1, "text": shown})
        return cut is not None

    def describe(self, row: int, sentence: Sentence) -> dict[str, Any]:
        if not math.isfinite(sentence.log_probability):
            raise ModelFailure(f"model {self._model!r} gave scores that are not finite")
        text = self._decode(sentence.tokens)
        if row in self._cuts:
            cut = find_stop(text, self._stops)
            text = self._grown[row].text[: self._cuts[row]] if cut is None else text[:cut]
        return {
            "text": text,
            "probability": math.exp(sentence.log_probability),
            "log_probability": sentence.log_probability,
            "tokens": len(sentence.tokens),
            "complete": sentence.has_ended,
        }


def _read_sampling(options: Options) -> TokenSampling | None:
    if options.temperature:
        return TokenSampling(options.temperature, options.top_k, options.top_p or 1.0, options.seed)
    reason = "expected a temperature above 0 beside it, for nothing is drawn without one"
    refuse(options, ("top_k", "top_p", "seed"), reason)
    return None


def _refuse_beside_beams(options: Options) -> None:
    why = {
        "stream": "more may change what was sent",
        "temperature": "a search for the likeliest text draws nothing",
        "stop": "several texts grow at the same time",
    }
    for field, reason in why.items():
        if getattr(options, field):
            raise InvalidInput(f"{field}: expected it with beams 1, for {reason}, got beams {options.beams}")


def _find_longest(context: ModelContext, facts: Writing) -> int | None:
    """The most tokens that a graph without a cache takes; None without a limit."""
    if facts.prefix is None:
        return None
    axis = context.inputs()[facts.prefix].shape[1]
    limits = context.manifest.graphs[MAIN].axis_ranges.get(str(axis))
    return None if limits is None else limits.largest


async def _read(call: Call[TaskOptions], rows: Sequence[Any], plan: _Plan) -> tuple[list[Sequence[int]], list[Group]]:
    """The given tokens of each row (none with a start graph), and the rows, in a group for each shape."""
    start, facts = plan.loop.start, plan.facts
    if start is not None:
        plan.check_length(len(facts.begin), "a text")
        return [], await decode_rows(call, start, one_window=False)
    prompts = await _read_prompts(rows, plan)
    sized = prompts if facts.prefix is not None else [prompts[0][:1]] * len(prompts)
    places_of: dict[int, list[int]] = {}
    for place, given in enumerate(sized):
        places_of.setdefault(len(given), []).append(place)
    return prompts, [Group(places, {}) for places in places_of.values()]


def _split(groups: Sequence[Group], plan: _Plan) -> Iterator[Group]:
    """The groups, cut so that the state of each part fits into memory."""
    inputs = plan.context.inputs()
    row_bytes = sum(
        math.prod(size for size in tensor.row_shape if isinstance(size, int))
        * DATATYPES[tensor.datatype].dtype.itemsize
        for tensor in (inputs[carry.input] for carry in plan.loop.carries)
    )
    most = max(1, _CARRIED_BYTES // (row_bytes * plan.width or 1))
    for group in groups:
        for low in range(0, len(group.places), most):
            part = {name: array[low : low + most] for name, array in group.inputs.items()}
            yield Group(group.places[low : low + most], part)


async def _begin(group: Group, prompts: Sequence[Sequence[int]], plan: _Plan) -> Rows:
    """The inputs of the first step for the rows of a group."""
    start, facts = plan.loop.start, plan.facts
    started = await Infer(group.inputs, start) if start is not None else {}
    count = len(group.places)
    begin = {
        carry.input: _find_first(carry.start, group.inputs, started, plan.context.inputs()[carry.input], count)
        for carry in plan.loop.carries
    }
    of_group = [prompts[place] if prompts else facts.begin for place in group.places]
    if facts.prefix is not None:
        return Rows(group.places, {**begin, facts.prefix: np.array(of_group, np.int64)}, ())
    return Rows(group.places, begin, [prompt[1:] for prompt in of_group])


def _find_first(name: str | None, given: Arrays, started: Arrays, tensor: Tensor, rows: int) -> np.ndarray:
    """The first value of a carried tensor: from the start graph, or zeros. Free axes then have the size 0."""
    if name is not None:
        return started[name] if name in started else given[name]
    shape = [size if isinstance(size, int) else 0 for size in tensor.row_shape]
    return np.zeros((rows, *shape), DATATYPES[tensor.datatype].dtype)


async def _read_prompts(rows: Sequence[Any], plan: _Plan) -> list[Sequence[int]]:
    """For each row: the tokens that every text begins with, then those of its prompt. Raises InvalidInput."""
    tokenizer = plan.context.tokenizers[known(plan.facts.file)]

    def read(is_over: IsOver) -> list[Sequence[int]]:
        prompts: list[Sequence[int]] = []
        for number, row in enumerate(rows):
            if is_over():
                raise Cancelled("nobody waits for the rows any more")
            where = f"inputs[{number}]"
            if not isinstance(row, str):
                raise InvalidInput(f"{where}: expected a text, got {type_name(row)}")
            check_characters(row, plan.longest, where)
            prompts.append((*plan.facts.begin, *tokenizer.encode(row, special=False).ids))
            plan.check_length(len(prompts[-1]), where)
        return prompts

    return await run_stoppable(read, count_bytes_of_texts(rows, SLOW_BYTES))
