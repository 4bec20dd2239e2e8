"""Safetensors of models of texts become graphs that equal transformers' models."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.errors import ExportError
from model_store.texts.tokenizer import Tokenizer
from service.codecs.model_context import ModelContext
from service.codecs.texts.spans import find_spans
from service.codecs.texts.tokens import read_texts
from service.models.loading import LoadedVersion
from tests.export.importers.publishing import NOTHING, Said, import_and_load
from tests.support.texts.models import LABELS, WORDS, make_tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": len(WORDS),
}
TEXT = "ann lives in new york"


def imported(folder: Path, model: Any, said: Said = NOTHING) -> LoadedVersion:
    model.eval().save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(make_tokenizer())
    return import_and_load(folder, folder.parent / "store", said)


def run(loaded: LoadedVersion, length: int) -> dict[str, np.ndarray]:
    ids = Tokenizer(make_tokenizer(), "").encode(TEXT).ids
    tokens = loaded.manifest.tokens
    assert tokens is not None
    row = np.array([[*ids, *[tokens.pad] * (length - len(ids))]])
    mask = (np.arange(length) < len(ids)).astype(np.int64)[None]
    given = {"input_ids": row, "attention_mask": mask, "token_type_ids": np.zeros_like(row)}
    outputs = loaded.session.run({tensor.name: given[tensor.name] for tensor in loaded.signature.graph.inputs})
    return dict(zip((output.name for output in loaded.signature.graph.outputs), outputs, strict=True))


def reference(model: Any) -> Any:
    ids = torch.tensor([Tokenizer(make_tokenizer(), "").encode(TEXT).ids])
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids))


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DistilBert"])
def test_classifier_equals_the_original(tmp_path: Path, kind: str) -> None:
    """At every padded length, also where positions begin behind the id of padding."""
    more = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 16} if kind == "DistilBert" else {}
    config = getattr(transformers, f"{kind}Config")(**SMALL, **more, max_position_embeddings=34, num_labels=3)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    loaded = imported(tmp_path / "m", model, {"labels": ("a", "b", "c")})
    assert loaded.manifest.tokens is not None
    assert loaded.manifest.tokens.lengths[-1] == (32 if kind == "Roberta" else 34)
    assert loaded.rows.verdict == "proved"
    expected = reference(model).logits.softmax(-1).numpy()
    for length in (8, 24):
        np.testing.assert_allclose(run(loaded, length)["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["first", "mean", "last"])
def test_embedder_equals_the_original(tmp_path: Path, pooling: str) -> None:
    """The vectors of the tokens are pooled in the graph."""
    config = transformers.BertConfig(**SMALL, max_position_embeddings=32)
    model = transformers.BertModel(config)
    loaded = imported(tmp_path / "m", model, {"vectors.pooling": pooling})
    hidden = reference(model).last_hidden_state[0].numpy()
    expected = {"first": hidden[0], "mean": hidden.mean(0), "last": hidden[-1]}[pooling]
    for length in (8, 24):
        np.testing.assert_allclose(run(loaded, length)["vector"][0], expected, atol=1e-5)


def test_embedder_needs_a_pooling(tmp_path: Path) -> None:
    """The error names the option."""
    model = transformers.BertModel(transformers.BertConfig(**SMALL, max_position_embeddings=32))
    with pytest.raises(ExportError, match="a vector for each token: give --pooling first"):
        imported(tmp_path / "m", model)


def test_tagger_equals_the_original(tmp_path: Path) -> None:
    """The scores of each token."""
    config = transformers.BertConfig(**SMALL, max_position_embeddings=32, num_labels=len(LABELS))
    config.id2label = dict(enumerate(LABELS))
    model = transformers.BertForTokenClassification(config)
    loaded = imported(tmp_path / "m", model)
    assert loaded.manifest.tags is not None
    assert loaded.manifest.tags.scheme == "iob"
    expected = reference(model).logits.numpy()
    np.testing.assert_allclose(run(loaded, 16)["logits"][:, :7], expected, atol=1e-5)


def test_spans_are_those_of_the_pipeline(tmp_path: Path) -> None:
    """The aggregation "simple" of transformers' own pipeline gives the same labels, places and scores."""
    torch.manual_seed(5)
    config = transformers.BertConfig(**SMALL, max_position_embeddings=32, num_labels=len(LABELS))
    config.id2label, config.label2id = dict(enumerate(LABELS)), {label: i for i, label in enumerate(LABELS)}
    model = transformers.BertForTokenClassification(config)
    with torch.no_grad():
        model.classifier.weight.mul_(40)  # so that tokens have several labels
    loaded = imported(tmp_path / "m", model)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "m" / "tokenizer.json"),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=32,
    )
    pipeline = transformers.pipeline(
        "token-classification", model=model, tokenizer=fast, aggregation_strategy="simple", device="cpu"
    )
    context = ModelContext("m", "1", loaded.manifest, tokenizers=loaded.tokenizers)
    labels = set()
    for text in (
        "ann lives in new york",
        "rome : ask ann in new york",
        "ann ann Ω rome york",
        "in  york ask lives ann",
    ):
        [group] = read_texts([text], context, "inputs")
        outputs = loaded.session.run(group.inputs)
        [answer] = find_spans(loaded.manifest, group, outputs[0])
        found = [(span["label"], span["start"], span["end"]) for span in answer["spans"]]
        expected = pipeline(text)
        assert found == [(span["entity_group"], span["start"], span["end"]) for span in expected]
        scores = [span["probability"] for span in answer["spans"]]
        np.testing.assert_allclose(scores, [span["score"] for span in expected], atol=1e-5)
        labels |= {label for label, _, _ in found}
    assert labels == {"PER", "LOC"}
