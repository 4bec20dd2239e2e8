from datetime import date

import numpy as np
import pytest

from export.errors import ExportError
from tests.support.models.reference import Reference

pytest.importorskip("babel")
pytest.importorskip("torch")
import torch

from export.zoo import date_translator
from export.zoo.data import dates


class Published(Reference):
    """The model in the store, looped as the manifest says."""

    def begin(self, text):
        """What the first step of a text carries; the text is padded to the next of the lengths, in a batch of two."""
        facts, loop = self.manifest.text, self.manifest.loop
        width = next(length for length in facts.lengths if length >= len(text))
        source = dates.encode([text] * 2, facts.characters, width)
        begun = self.predict({facts.source: source}, loop.start)
        return {carry.input: begun[carry.start] for carry in loop.carries}

    def translate(self, text):
        """The text in German and the logarithm of its probability."""
        facts, loop = self.manifest.text, self.manifest.loop
        carried, token, written, total = self.begin(text), facts.begin, "", 0.0
        for _ in range(loop.max_steps):
            answer = self.predict({**carried, facts.token: np.full(2, token)})
            carried |= {carry.input: answer[carry.output] for carry in loop.carries if carry.output}
            scores = answer[facts.scores][0]
            token = int(scores.argmax())
            total += float(scores[token])
            if token == facts.end:
                return written, total
            written += facts.symbols[token]
        raise AssertionError(f"{text!r} came to no end: {written!r}")


@pytest.fixture(scope="module")
def data():
    return dates.load_dates()


@pytest.fixture(scope="module")
def published():
    return Published(date_translator.NAME)


@pytest.mark.parametrize("text", ["Saturday, December 31, 2022!", "Wednesday, September 30, 2022, in the evening"])
def test_text_that_is_no_date_is_not_encoded(text):
    """Another character and a text above the width are refused with what was expected."""
    with pytest.raises(ValueError, match=r"expected at most 32 characters of '.*', got '.*'"):
        dates.encode([text], ("", *" ,.0123456789" + "abcdefghijklmnopqrstuvwxyzDSW"), 32)


def test_character_above_the_known_ones_is_refused(published):
    """An unknown character fails the run, and the error names the shapes."""
    with pytest.raises(ExportError, match="source"):
        published.predict({"source": np.full((2, 24), len(published.manifest.text.characters))}, "encode")


def test_row_of_padding_alone_gives_numbers(published):
    """A row without a character gives finite numbers."""
    begun = published.predict({"source": np.zeros((2, 24), np.int64)}, "encode")
    answer = published.predict({**begun, "token": np.full(2, published.manifest.text.begin)})
    assert all(np.isfinite(array).all() for array in (*begun.values(), *answer.values()))


def test_text_without_end_is_cut_at_the_last_step():
    """A model that never writes the end symbol is stopped at the last step."""

    def predict(inputs, graph="main"):
        scores = np.tile(np.array([-9, -9, -1], np.float32), (2, 1))
        return {"state": scores} if graph == "encode" else {"scores": scores, "next_state": inputs["state"]}

    written = date_translator.translate(predict, np.ones((2, 5), np.int64), ("", "", "x"))
    assert written == ["x" * date_translator.MAX_STEPS] * 2


def test_dates_are_split_without_overlap(data):
    """Test and validation share no day with train; the early dates are of years that occur nowhere else."""
    parts = (data.train, data.validation, data.test, data.early)
    assert [len(part.english) for part in parts] == [20_000, 1_000, 1_000, 1_000]
    assert len({text for part in parts for text in part.english}) == 23_000
    assert len({text for part in parts for text in part.german}) == 23_000
    years = [{int(text.rsplit(" ", 1)[1]) for text in part.english} for part in parts]
    assert all(min(part) >= 1000 and max(part) <= 9999 for part in years[:3])
    assert max(years[3]) < 1000


def test_both_languages_mean_the_same_day(data):
    """Both texts name the same day, and each weekday and month has one translation."""
    names = set()
    for english, german in zip(data.test.english, data.test.german, strict=True):
        weekday, middle, year = english.split(", ")
        month, day = middle.split()
        german_weekday, rest = german.split(", ")
        german_day, german_month, german_year = rest.split()
        assert (f"{day}.", year) == (german_day, german_year)
        names |= {(weekday, german_weekday), (month, german_month)}
    assert len(names) == len(dict(names)) == len({german for _, german in names}) == 7 + 12
    ordinal = date(2022, 12, 31).toordinal()
    known = dates._write(np.array([ordinal, ordinal + 61]))
    assert known.english == ("Saturday, December 31, 2022", "Thursday, March 2, 2023")
    assert known.german == ("Samstag, 31. Dezember 2022", "Donnerstag, 2. März 2023")


def test_pairs_hold_the_symbol_before_each_symbol(data):
    """The decoder gets the target of the step before."""
    characters = ("", *dates.list_characters(data.train.english))
    symbols = ("", "", *dates.list_characters(data.train.german))
    model = date_translator.Translator(
        date_translator.Encoder(len(characters)), date_translator.Decoder(len(symbols)), characters, symbols
    )
    source, token, target = date_translator._encode_pairs(model, data.validation)
    assert source.shape == (1000, 32)
    assert "".join(symbols[symbol] for symbol in target[0]) == data.validation.german[0]
    assert all((target == date_translator.END).sum(1) == 1)
    assert torch.equal(token[:, 1:], target[:, :-1])
    assert all(token[:, 0] == date_translator.BEGIN)
    assert target.shape[1] <= date_translator.MAX_STEPS


def test_steps_one_by_one_are_the_steps_at_once():
    """The decoder gives the same scores in a loop as for the whole text."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        encoder, decoder = date_translator.Encoder(20), date_translator.Decoder(15)
        memory, mask, state = encoder(torch.randint(1, 20, (3, 9)))
        tokens = torch.randint(15, (3, 6))
        together, last = decoder.follow(tokens, state, memory, mask)
        for step in range(6):
            scores, state = decoder(tokens[:, step], state, memory, mask)
            assert torch.allclose(scores, together[:, step], atol=1e-5)
    assert torch.allclose(state, last, atol=1e-5)


def test_published_model_translates_unseen_dates(published, data):
    """The stored graphs translate at least 99 % of 1,000 unseen dates exactly."""
    facts = published.manifest.text
    measured = date_translator.measure_quality(published.predict, data, facts.characters, facts.symbols)
    assert measured.rows == 1000
    assert measured.metrics["exact_match"] >= published.manifest.quality.bar["exact_match"] == 0.99
    assert measured.metrics == pytest.approx(dict(published.manifest.quality.metrics), abs=0.002)


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("Saturday, December 31, 2022", "Samstag, 31. Dezember 2022"),
        ("Sunday, May 1, 2022", "Sonntag, 1. Mai 2022"),
        ("Wednesday, September 28, 1485", "Mittwoch, 28. September 1485"),
    ],
)
def test_manifest_says_how_the_loop_runs(published, english, german):
    """A loop that follows the manifest translates a date with a probability near 1."""
    written, total = published.translate(english)
    assert written == german
    assert -0.2 < total <= 0


def test_every_date_fits_what_the_manifest_takes(published, data):
    """Every character is known, the longest date fits, and the loop has steps for the end symbol."""
    facts = published.manifest.text
    for part in (data.train, data.validation, data.test):
        assert set("".join(part.english)) <= set(facts.characters)
        assert set("".join(part.german)) <= set(facts.symbols)
        assert facts.lengths[0] < max(map(len, part.english)) <= facts.lengths[-1]
        assert max(map(len, part.german)) < published.manifest.loop.max_steps


def test_padding_changes_nothing(published):
    """More padding changes neither state, memory nor scores."""
    facts = published.manifest.text
    texts = ["Sunday, May 1, 2022", "Friday, June 10, 1999"]
    short, long = (
        published.predict({"source": dates.encode(texts, facts.characters, width)}, "encode") for width in (24, 57)
    )
    assert long["state"] == pytest.approx(short["state"], abs=1e-6)
    assert long["memory"][:, :24] == pytest.approx(short["memory"], abs=1e-6)
    assert not long["memory"][:, 24:].any()
    assert not long["mask"][:, 24:].any()
    assert short["mask"].sum(1).tolist() == [len(text) for text in texts]
    token = np.full(2, facts.begin)
    first, second = (published.predict({**begun, "token": token})["scores"] for begun in (short, long))
    assert second == pytest.approx(first, abs=1e-5)


def test_row_keeps_its_bits_in_a_batch(published, data):
    """From two rows on, the other rows of a batch do not change a row's bits."""
    facts = published.manifest.text
    source = dates.encode(data.test.english[:33], facts.characters, 32)
    begun = published.predict({"source": source}, "encode")
    token = np.arange(33) % len(facts.symbols)
    answers = {**begun, **published.predict({**begun, "token": token})}
    for row in (0, 16, 32):
        pair = [row, row]
        alone = published.predict({"source": source[pair]}, "encode")
        alone |= published.predict({**alone, "token": token[pair]})
        assert all(np.array_equal(alone[name][0], answers[name][row]) for name in answers)


def test_scores_are_logarithms_of_probabilities(published):
    """The probabilities of all symbols sum to 1 at any step."""
    begun = published.begin("Saturday, December 31, 2022")
    for token in range(len(published.manifest.text.symbols)):
        scores = published.predict({**begun, "token": np.full(2, token)})["scores"]
        assert np.exp(scores).sum(1) == pytest.approx(np.ones(2), abs=1e-5)
