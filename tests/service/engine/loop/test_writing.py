"""Rows that write tokens: caches, prompts, draws, suppressed tokens, ends and limits, each row by its own rules."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model_store.tasks import Carry
from service.engine.batching.cost import RunMemory
from service.engine.loop.request import Decoding, LoopRequest, Sentence, TokenSampling
from service.errors import BodyTooLarge, TooLate
from tests.service.engine.loop.bench import SLOW_S, Bench, Counting
from tests.support.clocks import virtual
from tests.support.writers import graphs as writers
from tests.support.writers.graphs import SCORES, SYMBOLS

END = 5
CHANCES = np.log(np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True))
Make = Callable[[], tuple[bytes, Sequence[Carry]]]
FORMS: dict[str, tuple[Make, dict[str, np.ndarray]]] = {
    "a state": (writers.sum_state, {"before": np.zeros(1, np.int64)}),
    "no cache": (writers.read_all, {"memory": np.zeros((1, 1), np.float32)}),
    "a cache that grows": (writers.grow_cache, {"cache": np.zeros((1, 2, 0, 1), np.float32)}),
    "a cache of fixed length": (writers.fill_cache, {"cache": np.zeros((1, 1, 12, 1), np.float32)}),
}


def open_bench(form: str = "a state", **more: Any) -> Bench:
    content, carries = FORMS[form][0]()
    prefix = {"prefix": "tokens"} if form == "no cache" else {}
    return Bench(content, carries, **prefix, **more)


def writing(
    form: str = "a state", *, prompts: Sequence[Sequence[int]] = ((1,),), steps: int = 8, **how: Any
) -> LoopRequest:
    """Rows that begin with these prompts, of one length where the graph takes all tokens."""
    rows = len(prompts)
    begin = {name: np.repeat(array, rows, axis=0) for name, array in FORMS[form][1].items()}
    takes_all = form == "no cache"
    if takes_all:
        begin["tokens"] = np.array(prompts, np.int64)
    elif max(map(len, prompts)) > 1:
        how["forced"] = [prompt[1:] for prompt in prompts]
    by_step = {"position": lambda rows, step: step} if form == "a cache of fixed length" else {}
    token = "tokens" if takes_all else "token"
    rules = {"ends": (END,), "are_logits": True, "takes_all": takes_all, **how}
    return LoopRequest(begin, steps, by_step, decoding=Decoding(token, "scores", begin=prompts[0][0], **rules))


def write(prompt: Sequence[int], steps: int = 8, ends: Sequence[int] = (END,), without: Sequence[int] = ()) -> Sentence:
    """The likeliest token each time, by hand."""
    tokens, chance, total = [], 0.0, sum(prompt)
    for _ in range(steps):
        scores = SCORES[total % SYMBOLS].astype(np.float64)
        scores[list(without)] = -math.inf
        token = int(scores.argmax())
        chance += scores[token] - math.log(np.exp(scores).sum())
        if token in ends:
            return Sentence(tokens, chance)
        tokens.append(token)
        total += token
    return Sentence(tokens, chance, has_ended=False)


def check(got: Sentence, wanted: Sentence) -> None:
    assert (list(got.tokens), got.has_ended) == (list(wanted.tokens), wanted.has_ended)
    assert got.log_probability == pytest.approx(wanted.log_probability, abs=1e-5)


@virtual
async def test_row_that_does_not_write_keeps_its_token_beside_rows_that_do() -> None:
    """A request without a decoding gives in company what it gives alone."""
    plain = LoopRequest({"token": np.array([2]), "before": np.array([0])}, 4, keep=("sum",))
    bench = open_bench()
    alone = (await bench.ask(plain)).kept["sum"].tolist()
    together, _ = await asyncio.gather(bench.ask(plain), bench.ask(writing()))
    assert together.kept["sum"].tolist() == alone == [[2, 4, 6, 8]]


@virtual
async def test_follower_that_raises_harms_nobody() -> None:
    """An exception of a follower is logged, and all rows go on, also its own."""

    def follow(row: int, tokens: Sequence[int]) -> bool:
        raise RuntimeError("no")

    bench = open_bench()
    for result in await asyncio.gather(bench.ask(writing(follow=follow)), bench.ask(writing())):
        check(result.sentences[0], write((1,)))


@pytest.mark.parametrize("bound", [False, True], ids=["arrays", "state of the device"])
@pytest.mark.parametrize("form", FORMS)
@virtual
async def test_every_form_of_memory_writes_the_same(form: str, bound: bool) -> None:
    """State, caches of both kinds and no cache give what was computed by hand, rows of several requests together."""
    bench = open_bench(form, runner=Counting(FORMS[form][0]()[0], bound))
    prompts = [(1,), (2,), (3,), (4,)]
    answers = [bench.ask(writing(form, prompts=[prompt])) for prompt in prompts]
    for prompt, answer in zip(prompts, answers, strict=True):
        check((await answer).sentences[0], write(prompt))


@virtual
async def test_one_value_of_a_step_is_for_all_beams_of_all_rows() -> None:
    """A position may come as an array of one row, which counts for each hypothesis of each row."""
    prompts = [(1,), (2,)]
    wanted = (await open_bench().ask(writing(width=3, prompts=prompts))).sentences
    request = writing("a cache of fixed length", width=3, prompts=prompts)
    request = replace(request, by_step={"position": lambda rows, step: np.array([step])})
    for got, sentence in zip((await open_bench("a cache of fixed length").ask(request)).sentences, wanted, strict=True):
        check(got, sentence)


@pytest.mark.parametrize("form", FORMS)
@virtual
async def test_beams_write_the_same_in_every_form_of_memory(form: str) -> None:
    """Hypotheses keep their memory, whatever its form is."""
    wanted = (await open_bench().ask(writing(width=3, prompts=[(1, 1), (1, 2)]))).sentences
    got = (await open_bench(form).ask(writing(form, width=3, prompts=[(1, 1), (1, 2)]))).sentences
    for one, other in zip(got, wanted, strict=True):
        check(one, other)


@pytest.mark.parametrize(("form", "shares"), [("a state", True), ("no cache", False), ("a cache that grows", False)])
@virtual
async def test_rows_share_a_step_if_their_memories_have_one_shape(form: str, shares: bool) -> None:
    """Rows of one length step together; rows of several lengths do so only if the memory does not grow."""
    bench = open_bench(form)
    late: list[asyncio.Future[Any]] = []

    def follow(row: int, tokens: Sequence[int]) -> bool:
        if not late:  # joins those that have made a step
            late.append(bench.ask(writing(form, steps=4, ends=())))
        return False

    await bench.ask(writing(form, prompts=[(1,), (3,)], steps=4, ends=(), follow=follow))
    check((await late[0]).sentences[0], write((1,), 4, ends=()))
    assert bench.counting.steps[:2] == [2, 3 if shares else 1]


@pytest.mark.parametrize("form", FORMS)
@virtual
async def test_prompt_is_read_before_the_first_token_is_chosen(form: str) -> None:
    """A prompt of several tokens counts neither for the text nor for its probability."""
    bench = open_bench(form)
    prompts = [(1, 4, 2), (1, 3, 3)]
    result = await bench.ask(writing(form, prompts=prompts))
    steps = 8 if form == "no cache" else 6  # it takes the whole prompt at its first step
    wanted = [write(prompt, steps) for prompt in prompts]
    for sentence, other in zip(result.sentences, wanted, strict=True):
        check(sentence, other)


@virtual
async def test_prompts_of_several_lengths_share_a_request() -> None:
    """Each row has its own prompt, and after it as many tokens as the limit allows."""
    prompts = [(1,), (1, 2, 3, 4), (1, 1)]
    result = await open_bench().ask(writing(prompts=prompts, steps=9, max_tokens=4, ends=()))
    for prompt, sentence in zip(prompts, result.sentences, strict=True):
        check(sentence, write(prompt, 4, ends=()))
    beams = await open_bench().ask(writing(prompts=prompts, steps=9, max_tokens=4, ends=(), width=2))
    assert [len(sentence.tokens) for sentence in beams.sentences] == [4, 4, 4]


@virtual
async def test_suppressed_tokens_are_not_chosen() -> None:
    """Suppressed tokens are chosen neither greedily nor by beams or draws; some are suppressed only as the first."""
    first = int(SCORES[1].argmax())
    bench = open_bench()
    check((await bench.ask(writing(suppressed=[first, 0]))).sentences[0], write((1,), without=[first, 0]))
    [sentence] = (await bench.ask(writing(suppressed_first=[first], prompts=[(0, 1)], ends=()))).sentences
    second = int(np.where(np.arange(SYMBOLS) == first, -np.inf, SCORES[1]).argmax())
    assert list(sentence.tokens) == [second, *write((1, second), 6, ends=()).tokens]
    for how in ({"width": 3}, {"sampling": TokenSampling(2.0, seed=3)}):
        [sentence] = (await bench.ask(writing(suppressed=[2, 3], ends=(), **how))).sentences
        assert len(sentence.tokens) == 8
        assert not {2, 3} & set(sentence.tokens)


@virtual
async def test_row_ends_with_any_of_its_ends_and_where_its_follower_says() -> None:
    """The follower sees each token once, in order, and its last one stays part of the text."""
    tokens = list(write((1,), ends=()).tokens)
    [sentence] = (await open_bench().ask(writing(ends=(END, tokens[2])))).sentences
    assert list(sentence.tokens) == tokens[: tokens.index(tokens[2])]
    seen: list[list[int]] = []

    def follow(row: int, so_far: Sequence[int]) -> bool:
        seen.append(list(so_far))
        return len(so_far) == 3

    [sentence] = (await open_bench().ask(writing(ends=(), follow=follow, prompts=[(0, 1)]))).sentences
    assert seen == [tokens[:1], tokens[:2], tokens[:3]]
    assert (list(sentence.tokens), sentence.has_ended) == (tokens[:3], True)


def sampling(seed: int, **how: Any) -> LoopRequest:
    return writing(ends=(), sampling=TokenSampling(seed=seed, **how))


@virtual
async def test_same_seed_writes_the_same_in_any_company() -> None:
    """Draws depend on seed and step alone: not on other rows, their prompts or the place in the request."""
    bench = open_bench()
    alone = [(await bench.ask(sampling(seed, temperature=1.5))).sentences[0] for seed in range(6)]
    assert len({tuple(sentence.tokens) for sentence in alone}) > 3
    company = [bench.ask(writing(prompts=[(2,), (2,)], width=2)), bench.ask(writing(prompts=[(1, 5, 5)]))]
    mixed = [bench.ask(sampling(seed, temperature=1.5)) for seed in range(6)]
    assert [(await answer).sentences[0] for answer in mixed] == alone
    await asyncio.gather(*company)
    twice = writing(prompts=[(1,), (1,)], ends=(), sampling=TokenSampling(1.5, seed=4))
    assert (await bench.ask(twice)).sentences == [alone[4], alone[4]]


@pytest.mark.parametrize("how", [{"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-6}])
@virtual
async def test_draw_of_the_likeliest_only_is_greedy(how: dict[str, float]) -> None:
    """One token, a tiny share, or a tiny temperature leave the likeliest token."""
    check((await open_bench().ask(sampling(7, **how))).sentences[0], write((1,), ends=()))


@virtual
async def test_draws_have_the_shares_of_the_scores() -> None:
    """Over many seeds a token comes as often as its probability says, among the two likeliest if so many are asked."""
    bench = open_bench(max_rows=64, max_slots=2000, max_queue_rows=2000)
    for top_k in (None, 2):
        answers = [
            bench.ask(writing(steps=1, ends=(), sampling=TokenSampling(seed=s, top_k=top_k))) for s in range(600)
        ]
        counts = np.bincount([(await answer).sentences[0].tokens[0] for answer in answers], minlength=SYMBOLS)
        shares = np.exp(CHANCES[1])
        if top_k:
            shares[np.argsort(-shares)[2:]] = 0
        assert counts / 600 == pytest.approx(shares / shares.sum(), abs=0.06)


@pytest.mark.parametrize(("form", "places"), [("no cache", 1), ("a cache that grows", 2)])
@virtual
async def test_row_that_would_grow_too_large_is_refused(form: str, places: int) -> None:
    """The size of a row at its last step counts, not the one that it begins with."""
    bench = open_bench(form, memory=RunMemory(4 * 20 * places, (0.0, 4.0, 0.0)))
    await bench.ask(writing(form, steps=18))
    with pytest.raises(BodyTooLarge):
        bench.ask(writing(form, steps=21))


@virtual
async def test_request_is_refused_by_the_usual_length_of_texts() -> None:
    """A request is judged by the usual length of texts, not by the longest possible one."""
    bench = open_bench(cost_s=SLOW_S)
    end = int(SCORES[1].argmax())
    for steps, shown in ((1, "1 step "), (100, "21 steps ")):
        await bench.ask(writing(steps=100, ends=(end,) if steps == 1 else ()))
        busy = bench.ask(writing(steps=2, ends=()))  # an idle loop would begin what seems too slow
        with pytest.raises(TooLate, match=f"^{shown}would take"):
            bench.ask(writing(steps=100), timeout_s=1e-9)
        await busy


@virtual
async def test_rows_that_may_not_share_a_step_take_turns() -> None:
    """With one row a step, every request writes what it writes by hand."""
    bench = open_bench("no cache", max_rows=1)
    answers = [bench.ask(writing("no cache", prompts=[(n,), (n + 1,)])) for n in (1, 2)]
    for n, answer in zip((1, 2), answers, strict=True):
        for sentence, begin in zip((await answer).sentences, (n, n + 1), strict=True):
            check(sentence, write((begin,)))
    assert set(bench.counting.steps) == {1}
