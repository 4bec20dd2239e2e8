"""Facts from the files of sentence-transformers: how tokens become one vector, and the prefix of a text."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.importers.facts import Fact
from export.importers.sources.hugging.files import CONFIG, read_json

MODULES, SENTENCES = "modules.json", "config_sentence_transformers.json"
_TRANSFORMER = "sentence_bert_config.json"
_POOLINGS = {"cls": "first", "cls_token": "first", "mean": "mean", "mean_tokens": "mean", "lasttoken": "last"}
"""Our names for their ways of pooling."""
_METRICS = {"cosine": "cosine", "dot": "cosine", "euclidean": "euclidean"}
"""Our names for their similarities. The dot product of normalised vectors is their cosine."""


def read_sentences(folder: Path) -> tuple[dict[str, Fact], list[str]]:
    """Facts of the vectors and the prefix, and remarks. Raises ExportError for steps that are not known."""
    facts: dict[str, Fact] = {}
    steps = [(str(step.get("type", "")).rpartition(".")[2], str(step.get("path", ""))) for step in _read_steps(folder)]
    for kind, path in steps:
        if kind == "Pooling":
            facts["vectors.pooling"] = _read_pooling(folder, f"{path}/config.json")
        elif kind not in ("Transformer", "Normalize"):
            raise ExportError(
                f"{folder}: {MODULES}: expected the modules Transformer, Pooling and Normalize, got {kind}: export the "
                "whole model to ONNX, or publish it by `sluice export`"
            )
    has_end = any(kind == "Normalize" for kind, _ in steps)
    facts["vectors.normalise"] = Fact(has_end, f"{MODULES}: {'Normalize' if has_end else 'it has no Normalize'}")
    config = read_json(folder / SENTENCES) if (folder / SENTENCES).is_file() else {}
    metric = config.get("similarity_fn_name")
    if metric in _METRICS and (metric != "dot" or has_end):
        facts["vectors.metric"] = Fact(_METRICS[metric], f"{SENTENCES}: similarity_fn_name {metric}")
    prefix, notes = _read_prompts(config)
    _check_steps(folder, steps, bool(prefix))
    return facts | prefix, notes


def _check_steps(folder: Path, steps: Sequence[tuple[str, str]], has_prompt: bool) -> None:
    """Raises ExportError if the steps do something to texts that the manifest cannot describe."""
    if (folder / _TRANSFORMER).is_file() and read_json(folder / _TRANSFORMER).get("do_lower_case"):
        raise ExportError(
            f"{folder}: {_TRANSFORMER}: do_lower_case: expected a tokenizer.json that lowers the case itself: add the "
            "normalizer Lowercase to it, and set do_lower_case to false"
        )
    for kind, path in steps:
        if kind == "Pooling" and has_prompt and read_json(folder / path / CONFIG).get("include_prompt") is False:
            raise ExportError(
                f"{folder}: {path}/{CONFIG}: include_prompt: the vectors of a prompt's tokens cannot be left out here: "
                "export the whole model to ONNX, or publish it by `sluice export`"
            )


def _read_steps(folder: Path) -> list[Mapping[str, Any]]:
    try:
        steps = json.loads((folder / MODULES).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{folder / MODULES}: expected JSON: {error}") from None
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ExportError(f"{folder / MODULES}: expected an array of modules")
    return steps


def _read_pooling(folder: Path, name: str) -> Fact:
    config = read_json(folder / name)
    said = config.get("pooling_mode")
    asked = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    before = "pooling_mode_"
    asked = asked or [key.removeprefix(before) for key, value in config.items() if key.startswith(before) and value]
    if len(asked) != 1 or asked[0] not in _POOLINGS:
        raise ExportError(
            f"{folder}: {name}: expected one pooling of cls_token, mean_tokens or lasttoken, got "
            f"{', '.join(map(str, asked)) or 'none'}: export the whole model to ONNX, or publish it by `sluice export`"
        )
    return Fact(_POOLINGS[asked[0]], f"{name}: {asked[0]}")


def _read_prompts(config: Mapping[str, Any]) -> tuple[dict[str, Fact], list[str]]:
    """The prompt that comes before every text, and a remark about prompts for some texts only."""
    prompts = {name: text for name, text in (config.get("prompts") or {}).items() if text}
    chosen = config.get("default_prompt_name")
    if chosen in prompts:
        return {"texts.prefix": Fact(prompts[chosen], f"{SENTENCES}: prompt {chosen}")}, []
    if not prompts:
        return {}, []
    shown = ", ".join(f"{name} {text!r}" for name, text in prompts.items())
    return {}, [
        f"its prompts ({shown:.200}) are not added, because each is for some texts only: callers send them, or "
        "--prefix adds one to every text"
    ]
