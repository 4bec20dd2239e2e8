"""Loads a model of texts by transformers, and gives it the outputs that the manifest describes."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.errors import ExportError
from export.importers.facts import Fact, Facts, value_of
from export.importers.sources.hugging_face_torch import load_model
from export.importers.sources.source import TorchModel
from export.importers.sources.torch_model import prepare_spec
from model_store.graph import Graph, Tensor

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
VECTOR, LOGITS = "vector", "logits"
_AXES = {0: "batch", 1: "length"}
_LENGTH, _ROWS = 12, 4
"""The sizes of the example."""
_LEAST = 2
"""Torch traces a length of 1 as a graph of its own, and texts are padded to more."""
_TOLERANCE = 1e-4
"""Padding may change an answer by this share of the largest magnitude: sums of more terms round differently."""


def read_text_torch(folder: Path, config: Mapping[str, Any], facts: Facts) -> tuple[TorchModel, dict[str, Fact]]:
    """The model, and the facts about its outputs. Raises ExportError if transformers cannot load it."""
    is_vector = value_of(facts, "task") == "embed"
    module: Any = load_model(folder, config, "AutoModel" if is_vector else None)
    has_types = int(config.get("type_vocab_size") or 0) > 1 and TYPES in inspect.signature(module.forward).parameters
    names = [IDS, MASK, *([TYPES] if has_types else [])]
    pooling = value_of(facts, "vectors.pooling")
    if is_vector and pooling not in ("first", "mean", "last"):
        raise ExportError(
            f"{folder}: there is a vector for each token: give --pooling first (such as a class token), mean or last"
        )
    wrapped = _Pooled(module, pooling) if is_vector else _Scores(module)
    vocabulary = int(module.get_input_embeddings().weight.shape[0])
    longest = int(value_of(facts, "texts.length") or _LENGTH)
    drawn = _Drawer(names, vocabulary)
    length = min(_LENGTH, longest)
    example = drawn({"batch": _ROWS, "length": length}, 0)
    with torch.no_grad():
        outputs = wrapped(**example)
    _check_padding(folder, wrapped, drawn, length)
    graph = Graph(
        file="main.onnx",
        inputs=tuple(Tensor(name=name, datatype="INT64", shape=("batch", "length")) for name in names),
        outputs=tuple(_describe(name, value) for name, value in outputs.items()),
    )
    dynamic = dict.fromkeys(names, _AXES)
    bounds = {"length": (_LEAST, longest)}
    make_spec = prepare_spec(wrapped, example, tuple(outputs), dynamic, bounds=bounds, random_inputs=drawn)
    more = {"output": Fact(VECTOR, "the export: the pooled vector")} if is_vector else {}
    return TorchModel(graph=graph, make_spec=make_spec), more


class _Drawer:
    """Makes token ids of random texts, padded at the end."""

    def __init__(self, names: list[str], vocabulary: int) -> None:
        self.names = names
        self.vocabulary = vocabulary

    def __call__(self, sizes: Mapping[str, int], seed: int) -> dict[str, torch.Tensor]:
        rows, length = sizes["batch"], sizes["length"]
        generator = np.random.default_rng([seed, rows, length])
        counts = generator.integers(1, length, rows, endpoint=True)
        counts[0] = length
        mask = (np.arange(length) < counts[:, None]).astype(np.int64)
        made = {IDS: generator.integers(0, self.vocabulary, (rows, length)), MASK: mask}
        if TYPES in self.names:
            made[TYPES] = generator.integers(0, 2, (rows, length))
        return {name: torch.from_numpy(made[name]) for name in self.names}


class _Scores(torch.nn.Module):
    """The scores of a classifier of texts or of tokens."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        more = {} if token_type_ids is None else {TYPES: token_type_ids}
        return {LOGITS: self.module(input_ids=input_ids, attention_mask=attention_mask, **more).logits}


class _Pooled(torch.nn.Module):
    """One vector for each text, made of the vectors of its tokens."""

    def __init__(self, module: torch.nn.Module, pooling: str) -> None:
        super().__init__()
        self.module = module
        self.pooling = pooling

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        more = {} if token_type_ids is None else {TYPES: token_type_ids}
        found = self.module(input_ids=input_ids, attention_mask=attention_mask, **more).last_hidden_state
        if self.pooling == "first":
            return {VECTOR: found[:, 0]}
        held = attention_mask.to(found.dtype)
        if self.pooling == "last":
            after = torch.nn.functional.pad(held[:, 1:], (0, 1))
            held = held - held * after
        return {VECTOR: (found * held.unsqueeze(-1)).sum(1) / held.sum(1, keepdim=True).clamp(min=1)}


def _describe(name: str, value: torch.Tensor) -> Tensor:
    row = ["length" if axis == 0 and value.dim() == 3 else size for axis, size in enumerate(value.shape[1:])]
    return Tensor(name=name, datatype="FP32", shape=("batch", *row))


def _check_padding(folder: Path, module: torch.nn.Module, drawn: _Drawer, length: int) -> None:
    """Raises ExportError if padding changes the answer for a text."""
    whole = drawn({"batch": _ROWS, "length": length}, 1)
    for row in range(_ROWS):
        count = int(whole[MASK][row].sum())
        one = {name: values[row : row + 1] for name, values in whole.items()}
        with torch.no_grad():
            padded = module(**one)
            alone = module(**{name: values[:, :count] for name, values in one.items()})
        for name, value in alone.items():
            found = padded[name][:, :count] if value.dim() == 3 else padded[name]
            share = float((found - value).abs().max() / value.abs().max().clamp(min=1e-30))
            if not share <= _TOLERANCE:
                raise ExportError(
                    f"{folder}: {name!r} of a text of {count} tokens changes by {share:.2g} of its magnitude if it is "
                    f"padded to {length}: the model does not ignore padding: publish it by `sluice export`"
                )
