"""classify, embed and regress of texts."""

from typing import Any

import numpy as np
import pytest

from service.errors import InvalidInput, ModelFailure
from service.tasks import classify, embed, regress
from service.tasks.work import Infer
from tests.support.driving import ask, begin, body_of, make
from tests.support.models.text import make_model
from tests.support.texts.models import LABELS, TOKENS, make_classifier, make_embedder, make_tagger, make_tokenizer


def spans(text: Any, **more: Any) -> list[tuple[Any, ...]]:
    [answer] = body_of(ask(classify, make_tagger(), [text], **more))["predictions"]
    return [(span["label"], span["text"], span["start"], span["end"]) for span in answer["spans"]]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"top_k": 2}, "top_k: model 'm' gives labels to parts of a text: ask without it"),
        ({"explain": True}, "explain: model 'm' gives labels to parts of a text"),
        ({"wants_picture": True}, "accept: image/png: model 'm' gives labels to parts of a text"),
    ],
)
def test_options_of_whole_rows_are_refused_for_parts_of_texts(fields: dict[str, Any], complaint: str) -> None:
    """By name, never ignored."""
    with pytest.raises(InvalidInput, match=complaint):
        ask(classify, make_tagger(), ["ann"], **fields)


def test_parts_of_a_pair_are_refused() -> None:
    """A place would not say in which of the two texts it is."""
    with pytest.raises(InvalidInput, match=r"inputs\[1\]: expected one text, got a pair: labels of tokens are for one"):
        ask(classify, make_tagger(), ["ann", ["ann", "rome"]])


def test_scores_that_are_no_numbers_are_a_failure_of_the_model() -> None:
    """Nothing is made of NaN."""
    model = make_tagger()
    work = begin(classify, model, ["ann"])
    assert isinstance(work.send(None), Infer)
    with pytest.raises(ModelFailure, match="'tags' with numbers that are not finite"):
        work.send({"tags": np.full((1, 4, 5), np.nan, np.float32)})


def test_explanations_of_texts_are_refused() -> None:
    """Hiding parts of ids would make other words."""
    with pytest.raises(InvalidInput, match="explain: model 'm' takes texts, which are not explained"):
        ask(classify, make_classifier(), ["ann"], explain=True)


def test_neighbours_with_one_label_are_a_span() -> None:
    """B- begins a new span, I- goes on with one or begins one after another label, and O is none."""
    assert spans("ann lives in new york") == [("PER", "ann", 0, 3), ("LOC", "new york", 13, 21)]
    assert spans("ann ann") == [("PER", "ann", 0, 3), ("PER", "ann", 4, 7)]
    assert spans("york : ann  york york") == [
        ("LOC", "york", 0, 4),
        ("PER", "ann", 7, 10),
        ("LOC", "york york", 12, 21),
    ]
    assert spans("lives in") == []


def test_place_of_a_span_counts_characters() -> None:
    """Not bytes: text[start:end] is the span in Python."""
    assert spans("ΩΩ Ω rome") == [("LOC", "rome", 5, 9)]


def test_probability_of_a_span_is_the_mean_of_its_tokens() -> None:
    """Softmax of the scores, and spans below the threshold are left out."""
    model = make_tagger()
    [answer] = body_of(ask(classify, model, ["new york"]))["predictions"]
    expected = float(np.exp(4) / (np.exp(4) + 4))
    assert answer["spans"][0]["probability"] == pytest.approx(expected, rel=1e-6)
    assert spans("new york", threshold=0.9) == [("LOC", "new york", 0, 8)]
    assert spans("new york", threshold=0.95) == []
    assert LABELS[0] == model.manifest.tags.outside  # type: ignore[union-attr]


def test_labels_without_a_scheme_keep_their_names() -> None:
    """Neighbours with one label are a span, and an output of probabilities is taken as it is."""
    model = make_tagger({"prefix": "rome "}, scheme="plain", activation="none")
    [answer] = body_of(ask(classify, model, ["ann ann york"]))["predictions"]
    assert answer["spans"] == [
        {"label": "B-PER", "text": "ann ann", "start": 0, "end": 7, "probability": 1.0},
        {"label": "I-LOC", "text": "york", "start": 8, "end": 12, "probability": 1.0},
    ]


def test_texts_of_several_lengths_are_answered_in_their_order() -> None:
    """Each length is a run of its own."""
    model = make_classifier()
    rows = ["rome", "ann lives in new york", "in rome", ["ann", "rome"]]
    answers = body_of(ask(classify, model, rows))["predictions"]
    assert [answer["label"] for answer in answers] == ["rome", "york", "rome", "rome"]
    assert model.inferred == [("main", 2), ("main", 2)]
    assert model.tokens == [(19, 5)]
    alone = [body_of(ask(classify, model, [row]))["predictions"][0] for row in rows]
    assert alone == answers


def test_vectors_of_texts_are_compared_with_texts() -> None:
    """And with vectors; each field counts its own tokens."""
    model = make_embedder()
    answer = body_of(ask(embed, model, ["new york", "rome"], compare=["new york", {"text": "ann"}]))
    similar = [[round(one["similarity"], 6) for one in each["comparisons"]] for each in answer["predictions"]]
    assert similar[0][0] == 1.0
    assert len(similar[1]) == 2
    assert model.tokens == [(7, 1), (7, 1)]
    with pytest.raises(InvalidInput, match=r"^compare\[0\]: expected a text, got a number"):
        ask(embed, model, ["rome"], compare=[3])


def test_numbers_of_texts() -> None:
    """regress takes texts too; many of them are tokenised in a thread."""
    content = make_model(
        "int64[batch,length] ids => float[batch] y", "a = Cast<to=1>(ids) y = ReduceMax<keepdims=0>(a, [1])"
    )
    tokens = TOKENS.model_copy(update={"mask": None})
    files = {"tokenizer.json": make_tokenizer()}
    model = make({"main": content}, task="regress", regression={"output": "y"}, tokens=tokens, files=files)
    assert body_of(ask(regress, model, ["rome", "ann"]))["predictions"] == [{"value": 9.0}, {"value": 4.0}]
    assert model.threads_asked == 0
    assert len(body_of(ask(regress, model, ["rome"] * 300))["predictions"]) == 300
    assert model.threads_asked == 1
