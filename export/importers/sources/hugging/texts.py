"""A folder with a model of texts: labels of texts or of tokens, or vectors, also of sentence-transformers."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.importers.facts import Fact, Facts
from export.importers.labels import order_labels
from export.importers.sources.hugging.files import (
    CONFIG,
    PROCESSOR,
    name_architecture,
    read_classes,
    read_json,
    read_licence,
)
from export.importers.sources.hugging.sentences import MODULES, read_sentences
from export.importers.sources.onnx_file import name_of
from export.importers.sources.source import OnnxModel
from model_store.texts.tokenizer import Tokenizer

TOKENIZER = "tokenizer.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
TEXT_TASKS = {"ForSequenceClassification": "classify", "ForTokenClassification": "classify", "Model": "embed"}
"""Tasks by the end of the architecture's name."""
_VECTORS = ("sentence_embedding", "last_hidden_state", "token_embeddings", "text_embeds")
"""Outputs of ONNX files with the vector, or with one vector for each token."""
_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet", "longformer", "data2vec-text")
"""Types of models whose positions begin after the id of padding, so that they take fewer tokens than positions."""
_NO_LIMIT = 1_000_000
"""Tokenizers without a limit name a number far above this."""


def is_text_model(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether the folder has a model of texts that can be imported, perhaps after a tokenizer is added."""
    architecture = name_architecture(config)
    if (folder / PROCESSOR).is_file():
        return False
    if (folder / TOKENIZER).is_file():
        return (folder / MODULES).is_file() or architecture.endswith(tuple(TEXT_TASKS))
    return architecture.endswith(("ForSequenceClassification", "ForTokenClassification"))


def read_text_facts(folder: Path, config: Mapping[str, Any]) -> tuple[dict[str, Fact], list[str]]:
    """What the folder says, and remarks. Raises ExportError."""
    if not (folder / TOKENIZER).is_file():
        raise ExportError(
            f"{folder}: expected {TOKENIZER}, got none: save it by transformers: "
            f"AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
        )
    architecture = name_architecture(config)
    facts: dict[str, Fact] = dict(name_of(folder))
    notes: list[str] = []
    if (folder / MODULES).is_file():
        facts["task"] = Fact("embed", MODULES)
        more, remarks = read_sentences(folder)
        facts, notes = facts | more, notes + remarks
    else:
        task = next(task for end, task in TEXT_TASKS.items() if architecture.endswith(end))
        facts["task"] = Fact(task, f"{CONFIG}: architectures {architecture}")
        facts |= _read_answers(config, architecture)
    facts["rows"] = Fact("texts", TOKENIZER)
    facts["texts.tokenizer"] = Fact(str(folder / TOKENIZER), TOKENIZER)
    facts |= _read_length(folder, config)
    facts |= _read_padding(folder, config)
    facts |= _read_first_position(config)
    if licence := read_licence(folder):
        facts["licence"] = licence
    return facts, notes


def _read_answers(config: Mapping[str, Any], architecture: str) -> dict[str, Fact]:
    """The answers of a classifier. With a single label the answer is a number."""
    labels = config.get("id2label")
    if not architecture.endswith("Classification") or not labels:
        return {}
    facts = read_classes(config)
    if len(labels) == 1 and architecture.endswith("ForSequenceClassification"):
        task = Fact("regress", f"{CONFIG}: id2label has one label, so its score is a number")
        return {"output": facts["output"], "task": task}
    return {**facts, "labels": Fact(order_labels(labels, f"{CONFIG}: id2label"), f"{CONFIG}: id2label")}


def _read_length(folder: Path, config: Mapping[str, Any]) -> dict[str, Fact]:
    """The smallest of the limits that the files name."""
    limits = list(_list_limits(folder, config))
    return {"texts.length": min(limits, key=lambda fact: fact.value)} if limits else {}


def _list_limits(folder: Path, config: Mapping[str, Any]) -> Iterator[Fact]:
    for file, name in (("sentence_bert_config.json", "max_seq_length"), (_TOKENIZER_CONFIG, "model_max_length")):
        value = read_json(folder / file).get(name) if (folder / file).is_file() else None
        if isinstance(value, int | float) and 0 < value < _NO_LIMIT:
            yield Fact(int(value), f"{file}: {name}")
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and positions > 0:
        yield Fact(positions - _find_first_position(config), f"{CONFIG}: max_position_embeddings")


def _read_first_position(config: Mapping[str, Any]) -> dict[str, Fact]:
    first = _find_first_position(config)
    origin = f"{CONFIG}: pad_token_id, after which positions of {config.get('model_type')} begin"
    return {"texts.first_position": Fact(first, origin)} if first else {}


def _find_first_position(config: Mapping[str, Any]) -> int:
    """The position of the first token."""
    return 1 + int(config.get("pad_token_id") or 0) if config.get("model_type") in _AFTER_PADDING else 0


def _read_padding(folder: Path, config: Mapping[str, Any]) -> dict[str, Fact]:
    if (folder / _TOKENIZER_CONFIG).is_file():
        token = read_json(folder / _TOKENIZER_CONFIG).get("pad_token")
        token = token.get("content") if isinstance(token, dict) else token
        place = Tokenizer((folder / TOKENIZER).read_bytes(), str(folder / TOKENIZER)).find(token) if token else None
        if place is not None:
            return {"texts.pad": Fact(place, f"{_TOKENIZER_CONFIG}: pad_token {token}")}
    if isinstance(config.get("pad_token_id"), int):
        return {"texts.pad": Fact(config["pad_token_id"], f"{CONFIG}: pad_token_id")}
    return {}


def choose_vector(model: OnnxModel, facts: Facts) -> dict[str, Fact]:
    """The output of an ONNX file with the vector of the text, or of each token."""
    if facts["task"].value != "embed":
        return {}
    outputs = {tensor.name: tensor for tensor in model.graph.outputs}
    name = next((name for name in _VECTORS if name in outputs), None)
    if name is None:
        return {}
    if len(outputs[name].shape) == 2:
        pooled = "vectors.pooling" in facts
        return {"vectors.pooling": Fact("none", f"the file: {name!r} is one vector")} if pooled else {}
    return {"output": Fact(name, f"the file: it has an output {name!r}")}
