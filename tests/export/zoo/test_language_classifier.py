import numpy as np
import pytest

from tests.support.models.reference import Reference

pytest.importorskip("babel")
pytest.importorskip("tokenizers")
pytest.importorskip("torch")
import torch

from export.zoo import language_classifier as recipe
from export.zoo.data import languages
from export.zoo.quality.verification import compare_pairs, measure_errors
from model_store.texts.rows import fill_rows
from model_store.texts.tokenizer import open_tokenizer

OWN_SCRIPT = ("bn", "el", "he", "hi", "ja", "ko", "ta", "th", "zh")
"""Languages that share their letters with no other of the thirty."""


@pytest.fixture(scope="module")
def data():
    return languages.load_languages()


@pytest.fixture(scope="module")
def published():
    return Reference(recipe.NAME)


@pytest.fixture(scope="module")
def tokenizer(published):
    return open_tokenizer(published.manifest.tokens, published.files["tokenizer.json"], recipe.NAME)


def take_few(data):
    """Some terms of each language."""
    chosen = np.concatenate([np.flatnonzero(data.train.labels == label)[::60] for label in range(30)])
    return languages.Part(tuple(data.train.texts[place] for place in chosen), data.train.labels[chosen])


def test_no_text_is_in_two_parts_or_languages(data):
    """Every text is in one part and one language, whatever its capitals, and every part has all thirty languages."""
    parts = [getattr(data, name) for name in languages.PARTS]
    texts = [text.casefold() for part in parts for text in part.texts]
    assert len(texts) == len(set(texts)) > 50_000
    assert all(set(part.labels) == set(range(30)) for part in (*parts, data.sentences))


def test_terms_are_split_by_key():
    """Each key is in one part, whatever the language, and each kind of key is shared out in the same shares."""
    keys = [(kind, str(number)) for kind in ("territory", "unit") for number in range(100)]
    owners = languages._split_keys(keys)
    assert set(owners) == set(keys)
    for kind in ("territory", "unit"):
        parts = [owners[key] for key in keys if key[0] == kind]
        assert [parts.count(name) for name in languages.PARTS] == [70, 10, 20]


def test_terms_of_one_key_name_one_thing():
    """A territory has its currencies with it, and a unit its amounts and spans of time."""
    from babel import Locale

    terms = languages._list_terms(Locale.parse("de"))
    assert {"Schweiz", "Schweizer Franken"} <= set(terms["territory", "CH"])
    assert {"Stunden", "20 Stunden", "in 3 Stunden", "vor 2 Stunden"} <= set(terms["unit", "duration-hour"])
    assert set(terms["month", "3"]) == {"März"}


def test_joined_terms_are_of_one_language(data):
    """Each text has terms of its language, in lists as it writes them; languages take turns."""
    joined = languages.join_terms(data.test, 60, seed=3)
    assert joined.labels.tolist() == [*range(30)] * 2
    for text, label in zip(joined.texts, joined.labels, strict=True):
        own = [term for term, other in zip(data.test.texts, data.test.labels, strict=True) if other == label]
        assert sum(term in text for term in own) >= 1
    assert languages.join_terms(data.test, 60, seed=3).texts == joined.texts


def test_tokenizer_takes_any_text_and_is_made_alike_each_time(data):
    """The same texts give the same file; letters that it never saw have tokens, and capitals those of small letters."""
    few = take_few(data)
    content = recipe.train_tokenizer(few.texts)
    assert content == recipe.train_tokenizer(few.texts)
    tokenizer = open_tokenizer(recipe.FACTS, content, "few")
    assert tokenizer.size == recipe.SYMBOLS
    assert tokenizer.encode("ᚠᛇᚻ 🦊").ids
    assert tokenizer.encode("MONDAY Überall").ids == tokenizer.encode("monday überall").ids


@pytest.mark.slow
def test_same_seed_gives_the_same_weights(data, monkeypatch):
    """Two trainings of a few steps end with equal weights, and another seed with others."""
    monkeypatch.setattr(recipe, "STEPS", 3)
    few = take_few(data)
    tokenizer = open_tokenizer(recipe.FACTS, recipe.train_tokenizer(few.texts), "few")

    def fit(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = recipe.LanguageClassifier()
            recipe._fit(model, tokenizer, [few], lambda told: None)
        return torch.cat([weights.flatten() for weights in model.parameters()])

    assert torch.equal(fit(0), fit(0))
    assert not torch.equal(fit(0), fit(1))


def test_drawn_tokens_are_padded_at_their_end():
    """The mask is 1 from the first place on and never 1 again after a 0; padding has the id 0."""
    drawn = recipe.draw_tokens({"batch": 50, "length": 9}, seed=1)
    ids, mask = drawn["ids"], drawn["mask"]
    assert mask[:, 0].all()
    assert (mask.diff(dim=1) <= 0).all()
    assert torch.equal(ids == 0, mask == 0)


def test_published_classifier_reaches_its_bar(data, published):
    """Measured again on held-out terms, the stored version reaches its bar, and every figure of its manifest."""
    facts, quality = published.manifest, published.manifest.quality
    content, threshold = published.files["tokenizer.json"], facts.embedding.threshold
    measured = recipe.measure_quality(published.predict, data, content, threshold)
    assert dict(measured.bar) == dict(quality.bar) == {"accuracy": 0.85}
    assert measured.metrics["accuracy"] >= 0.85
    assert measured.metrics["accuracy_joined"] >= 0.95
    assert dict(measured.metrics) == pytest.approx(dict(quality.metrics), abs=0.02)
    assert facts.labels == languages.CODES
    assert facts.tasks == {"embed", "classify"}
    assert len(content) < 100_000


def test_padding_has_no_effect(published, tokenizer):
    """A text has the same probabilities and vector at each padded length."""
    rows = [tokenizer.encode(text) for text in ("Freitag", "пятница")]
    dtypes = dict.fromkeys(("ids", "mask"), np.dtype(np.int64))
    answers = [published.predict(fill_rows(recipe.FACTS, rows, length, dtypes)) for length in recipe.FACTS.lengths]
    for answer in answers[1:]:
        assert answer["probabilities"] == pytest.approx(answers[0]["probabilities"], abs=1e-5)
        assert answer["embedding"] == pytest.approx(answers[0]["embedding"], abs=1e-4)


def test_row_of_padding_alone_gives_numbers(published):
    """A row without a token gives finite numbers."""
    answer = published.predict({name: np.zeros((2, 8), np.int64) for name in ("ids", "mask")})
    assert all(np.isfinite(array).all() for array in answer.values())


def test_sentences_in_a_script_of_their_own_are_recognised(data, published, tokenizer):
    """Everyday sentences, which are not in training, are of the right language where the script is its own."""
    probabilities, _ = recipe._predict_all(published.predict, tokenizer, data.sentences.texts)
    found = [languages.CODES[place] for place in probabilities.argmax(1)]
    wanted = [languages.CODES[label] for label in data.sentences.labels]
    pairs = [(got, code) for got, code in zip(found, wanted, strict=True) if code in OWN_SCRIPT]
    assert len(pairs) == 27
    assert all(got == code for got, code in pairs)


def test_published_threshold_makes_equal_errors_on_held_out_pairs(data, published, tokenizer):
    """On the validation part, as many pairs of two languages are accepted as pairs of one are rejected, and few."""
    joined = languages.join_terms(data.validation, recipe.HELD_OUT_JOINED_ROWS, published.manifest.provenance.seed)
    _, vectors = recipe._predict_all(published.predict, tokenizer, joined.texts)
    threshold = published.manifest.embedding.threshold
    accepts, rejects = measure_errors(compare_pairs(vectors, joined.labels), threshold)
    assert accepts == pytest.approx(rejects, abs=0.01)
    assert max(accepts, rejects) < 0.05
