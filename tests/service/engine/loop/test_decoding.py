"""Symbols that a loop chooses by its scores: greedily, or by beam search."""

import asyncio
import itertools
import math

import numpy as np
import pytest
from onnx import helper

from model_store.tasks import Carry
from service.engine.loop.decoding import Beams
from service.engine.loop.request import Decoding, LoopRequest
from service.errors import InvalidInput
from tests.service.engine.loop.bench import FLOAT, INT, Bench, Counting
from tests.support.clocks import virtual
from tests.support.models import graphs

SYMBOLS = 5
END = SYMBOLS - 1
CHANCES = np.log(np.random.default_rng(3).dirichlet(np.full(SYMBOLS, 0.6), (2, SYMBOLS))).astype(np.float32)
CHANCES = np.maximum(CHANCES, -30)
SPEAK = (Carry(input="table", output="next_table"),)


def speak() -> bytes:
    """scores = the row of the last symbol in one of two tables of chances; which one is carried and turns each step."""
    return graphs.build(
        [
            helper.make_node("Mul", ["table", "size"], ["first"]),
            helper.make_node("Add", ["first", "token"], ["row"]),
            helper.make_node("Gather", ["chances", "row"], ["scores"]),
            helper.make_node("Sub", ["one", "table"], ["next_table"]),
        ],
        [("token", INT, ["batch"]), ("table", INT, ["batch"])],
        [("scores", FLOAT, ["batch", SYMBOLS]), ("next_table", INT, ["batch"])],
        {"chances": CHANCES.reshape(2 * SYMBOLS, SYMBOLS), "size": np.array(SYMBOLS), "one": np.array(1)},
    )


def speaking(table: int, width: int = 1, rows: int = 1, steps: int = 6, penalty: float = 0.0) -> LoopRequest:
    begin = {"table": np.full(rows, table, np.int64)}
    decoding = Decoding("token", "scores", 0, (END,), width, penalty, max_tokens=steps)
    return LoopRequest(begin, steps, decoding=decoding)


def say_likeliest(table: int, steps: int, penalty: float = 0.0) -> tuple[list[int], float]:
    """The best sentence of at most ``steps`` symbols with its end, by trying all of them, and its chance."""
    best: tuple[list[int], float] = ([], -math.inf)
    most = -math.inf
    for length in range(steps):
        for tokens in itertools.product(range(END), repeat=length):
            chance, last, which = 0.0, 0, table
            for token in (*tokens, END):
                chance += float(CHANCES[which, last, token])
                last, which = token, 1 - which
            rate = chance / (length + 1) ** penalty
            if rate > most:
                best, most = (list(tokens), chance), rate
    return best


@virtual
async def test_more_hypotheses_than_a_step_has_rows_are_refused() -> None:
    """A row needs all its slots in one step."""
    bench = Bench(speak(), SPEAK, max_rows=4)
    with pytest.raises(InvalidInput, match="beams: expected at most 4, got 5"):
        bench.ask(speaking(0, width=5))


@virtual
async def test_greedy_decoding_takes_the_likeliest_symbol_each_time() -> None:
    """Each step is fed the symbol with the highest score of the step before, until the end."""
    bench = Bench(speak(), SPEAK)
    tables = (0, 1, 0)
    for table, answer in zip(tables, [bench.ask(speaking(table)) for table in tables], strict=True):
        [sentence] = (await answer).sentences
        last, which, tokens = 0, table, []
        while len(tokens) < 6 and last != END:
            last, which = int(CHANCES[which, last].argmax()), 1 - which
            tokens.append(last)
        assert sentence.has_ended == (last == END)
        assert list(sentence.tokens) == [token for token in tokens if token != END]


@pytest.mark.parametrize("penalty", [0.0, 0.5, 1.0, 2.0])
@virtual
async def test_beams_as_many_as_there_are_sentences_find_the_best(penalty: float) -> None:
    """With enough hypotheses beam search finds what trying all sentences finds, for several rows in one step."""
    bench = Bench(speak(), SPEAK, max_rows=600, max_slots=600)
    asked = [bench.ask(speaking(table, width=256, steps=4, penalty=penalty)) for table in (0, 1)]
    for table, answer in enumerate(asked):
        [sentence] = (await answer).sentences
        tokens, chance = say_likeliest(table, 4, penalty)
        assert list(sentence.tokens) == tokens
        assert sentence.log_probability == pytest.approx(chance, abs=1e-4)


def test_length_penalty_makes_a_longer_text_win() -> None:
    """Two tokens of 0.6 each beat an end of 0.4, which is likelier than both, once their mean counts."""
    for penalty, expected in ((0.0, []), (1.0, [0, 0])):
        beams = Beams(2, (1,), 4, penalty)
        for chance in (0.6, 0.6, 0.0):
            beams.take(np.log(np.maximum([[chance, 1 - chance]] * 2, 1e-9)))
        assert (beams.best().tokens, beams.has_ended) == (expected, True)


@virtual
async def test_beams_keep_to_their_row_wherever_the_state_lies() -> None:
    """Rows that search with beams give in company, and with their state on the device, what each gives alone."""
    bench = Bench(speak(), SPEAK, max_rows=12)
    bound = Bench(speak(), SPEAK, runner=Counting(speak(), bound=True))
    alone = [(await bench.ask(speaking(table, width=3))).sentences[0] for table in (0, 1)]
    together = await asyncio.gather(*(bench.ask(speaking(t, width=3, rows=2)) for t in (0, 1, 0)))
    for table, result in zip((0, 1, 0), together, strict=True):
        assert list(result.sentences) == [alone[table]] * 2
        assert (await bound.ask(speaking(table, width=3))).sentences == [alone[table]]
