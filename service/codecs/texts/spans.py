"""Turns labels of tokens into spans of a text."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from model_store.manifest import Manifest
from model_store.tasks import Tags
from service.codecs.model_context import known
from service.codecs.rows import Group, TextRow
from service.errors import InvalidInput

_BEGIN, _INSIDE = "B-", "I-"


class Tagged(NamedTuple):
    """A token with its most probable label: whether that begins a span, and the name of the label without B- or I-."""

    begins: bool
    name: str
    probability: float
    span: tuple[int, int]


def find_spans(
    manifest: Manifest, group: Group, scores: np.ndarray, threshold: float | None = None
) -> list[dict[str, Any]]:
    """``{"spans": [{"label", "text", "start", "end", "probability"}]}`` for each row, in the order of the text.

    ``scores`` are finite floats [rows, length, labels]. Neighbouring tokens with the same label are a span, as with the
    aggregation strategy "simple" of Hugging Face's pipelines. The probability of a span is the mean of its tokens.
    Spans below ``threshold`` are left out.
    """
    facts = known(manifest.tags)
    values = _activate(scores, facts)
    answers = []
    for text, row in zip(group.texts, values, strict=True):
        spans = [_describe(span, text) for span in _join(_tag(text, row, manifest.labels, facts))]
        wanted = [
            span
            for span in spans
            if span["label"] != facts.outside and (threshold is None or span["probability"] >= threshold)
        ]
        answers.append({"spans": wanted})
    return answers


def check_pairs(groups: Sequence[Group]) -> None:
    """Raises InvalidInput for a pair of texts, because a span does not say in which of the two it is."""
    for group in groups:
        for place, text in zip(group.places, group.texts, strict=True):
            if text.pair is not None:
                raise InvalidInput(f"inputs[{place}]: expected one text, got a pair: labels of tokens are for one text")


def _activate(values: np.ndarray, facts: Tags) -> np.ndarray:
    """Probabilities, float32 [rows, length, labels]."""
    values = values.astype(np.float32)
    if facts.activation == "none":
        return values
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def _tag(text: TextRow, row: np.ndarray, labels: Sequence[str], facts: Tags) -> list[Tagged]:
    """The tokens of a row that stand for a part of its text, without special tokens and the manifest's prefix."""
    tagged = []
    best = row.argmax(axis=-1).tolist()
    for place, span in enumerate(text.encoded.spans):
        if span[0] >= span[1]:
            continue
        label, probability = labels[best[place]], float(row[place, best[place]])
        prefix = label[: len(_BEGIN)] if facts.scheme == "iob" else ""
        name = label[len(prefix) :] if prefix in (_BEGIN, _INSIDE) else label
        tagged.append(Tagged(prefix == _BEGIN, name, probability, span))
    return tagged


def _join(tokens: Sequence[Tagged]) -> list[list[Tagged]]:
    spans: list[list[Tagged]] = []
    for token in tokens:
        if spans and spans[-1][-1].name == token.name and not token.begins:
            spans[-1].append(token)
        else:
            spans.append([token])
    return spans


def _describe(span: Sequence[Tagged], text: TextRow) -> dict[str, Any]:
    start, end = span[0].span[0], span[-1].span[1]
    probability = sum(token.probability for token in span) / len(span)
    return {
        "label": span[0].name,
        "text": text.text[start:end],
        "start": start,
        "end": end,
        "probability": min(1.0, probability),
    }
