"""Folders of models of texts: what their files say, and the graph with one vector for each text."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.errors import ExportError, MissingFacts, NotPublished, ParityError, SpecError
from export.importers.importing import plan_import
from export.importers.plan import Plan
from export.importers.planning.texts import list_lengths
from model_store import GoldenSamples, Store
from model_store.errors import StoreError
from model_store.tasks import Tags
from model_store.texts.tokenizer import Tokenizer
from service.models.loading import LoadedVersion
from tests.export.importers.publishing import as_options, import_and_load
from tests.support.models.text import make_model
from tests.support.texts.models import LABELS, WORDS, make_tokenizer, tagger

IDS = "int64[batch,length] input_ids"
BOTH = f"{IDS}, int64[batch,length] attention_mask"
TABLE = np.random.default_rng(0).standard_normal((len(WORDS), 4)).astype(np.float32)
TOKENS = make_model(
    f"{BOTH} => float[batch,length,4] last_hidden_state", "last_hidden_state = Gather(table, input_ids)", table=TABLE
)
SCORES = make_model(
    f"{BOTH} => float[batch,2] logits",
    """
    words = Gather(table, input_ids) held = Cast<to = 1>(attention_mask) column = Unsqueeze(held, [-1])
    kept = Mul(words, column) logits = ReduceSum<keepdims = 0>(kept, [1])
    """,
    table=TABLE[:, :2],
)
LEAKY = make_model(
    f"{BOTH} => float[batch,2] logits",
    "words = Gather(table, input_ids) logits = ReduceSum<keepdims = 0>(words, [1])",
    table=TABLE[:, :2],
)
BERT = {"architectures": ["BertModel"], "model_type": "bert", "max_position_embeddings": 64}
CLASSIFIER = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "no", "1": "yes"}}
CLASSIFIER = {**BERT, **CLASSIFIER}
STEPS = [
    {"type": "sentence_transformers.models.Transformer", "path": ""},
    {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
    {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"},
]
POOLING = {"word_embedding_dimension": 4, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


def write(folder: Path, files: Mapping[str, Any]) -> Path:
    for name, content in {"tokenizer.json": make_tokenizer(), **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


def plan(folder: Path, **said: Any) -> Plan:
    return plan_import(folder, as_options({path.replace("__", "."): value for path, value in said.items()}))[1]


def run(loaded: LoadedVersion, text: str, length: int) -> np.ndarray:
    """The only output for one text that is padded to a length."""
    ids = Tokenizer(make_tokenizer(), "").encode(text).ids
    row = np.array([[*ids, *[0] * (length - len(ids))]])
    [output, *_] = loaded.session.run({"input_ids": row, "attention_mask": (row > 0).astype(np.int64)})
    return output


REFUSED: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], type[Exception], str]] = {
    "no pooling": ({"config.json": BERT, "model.onnx": TOKENS}, {}, MissingFacts, "vector for each token.*--pooling"),
    "an unknown pooling": (
        {"config.json": BERT, "modules.json": STEPS, "1_Pooling/config.json": {"pooling_mode_max_tokens": True}},
        {},
        NotPublished,
        "expected one pooling of cls_token, mean_tokens or lasttoken, got max_tokens",
    ),
    "another module": (
        {"config.json": BERT, "modules.json": [*STEPS, {"type": "x.Dense"}], "1_Pooling/config.json": POOLING},
        {},
        NotPublished,
        "expected the modules Transformer, Pooling and Normalize, got Dense",
    ),
    "lower case": (
        {
            "config.json": BERT,
            "modules.json": STEPS,
            "1_Pooling/config.json": POOLING,
            "sentence_bert_config.json": {"do_lower_case": True},
        },
        {},
        NotPublished,
        "do_lower_case: expected a tokenizer.json that lowers the case itself",
    ),
    "a pooling without the prompt": (
        {
            "config.json": BERT,
            "modules.json": STEPS,
            "1_Pooling/config.json": {**POOLING, "include_prompt": False},
            "config_sentence_transformers.json": {"prompts": {"query": "ask : "}, "default_prompt_name": "query"},
        },
        {},
        NotPublished,
        "include_prompt: the vectors of a prompt's tokens cannot be left out",
    ),
    "no length": (
        {"config.json": {**CLASSIFIER, "max_position_embeddings": None}, "model.onnx": SCORES},
        {},
        MissingFacts,
        "the most tokens of a text: give --max-length",
    ),
    "another input": (
        {
            "config.json": CLASSIFIER,
            "model.onnx": make_model(
                f"{IDS}, int64[batch,length] word_lengths => float[batch,length] logits",
                "s = Add(input_ids, word_lengths) logits = Cast<to=1>(s)",
            ),
        },
        {},
        SpecError,
        "a model of texts takes ids .* this one 'input_ids' .*'word_lengths'",
    ),
    "a first position without positions": (
        {"config.json": CLASSIFIER, "model.onnx": SCORES},
        {"texts.first_position": 0},
        SpecError,
        "--texts.first_position: the graph takes no positions: leave it out",
    ),
    "no tokenizer": (
        {"config.json": CLASSIFIER, "model.onnx": SCORES, "tokenizer.json": b"{}"},
        {},
        SpecError,
        "expected a tokenizer.json of the library tokenizers",
    ),
    "texts without a tokenizer": (
        {"config.json": CLASSIFIER, "model.onnx": SCORES},
        {"texts.tokenizer": "nowhere.json"},
        SpecError,
        "--texts.tokenizer: .*nowhere.json",
    ),
    "an option of pictures": (
        {"config.json": CLASSIFIER, "model.onnx": SCORES},
        {"picture.size": 8},
        SpecError,
        "--picture.size",
    ),
    "an option without texts": (
        {"config.json": CLASSIFIER, "model.onnx": SCORES},
        {"rows": "numbers", "texts.length": 8},
        SpecError,
        "--texts.length: the model's rows are numbers: leave it out",
    ),
    "labels that do not fit": (
        {"config.json": {**BERT, "architectures": ["BertForTokenClassification"]}, "model.onnx": SCORES},
        {"labels": ("a", "b", "c")},
        SpecError,
        "there are 3 labels",
    ),
}


@pytest.mark.parametrize(("files", "said", "kind", "text"), REFUSED.values(), ids=REFUSED)
def test_folder_that_says_too_little_or_something_else_is_refused(
    tmp_path: Path, files: Mapping[str, Any], said: Mapping[str, Any], kind: type[Exception], text: str
) -> None:
    """The error says what was expected, and what to do."""
    with pytest.raises(kind, match=text):
        plan_import(write(tmp_path / "m", files), as_options(said))


def test_graph_that_does_not_leave_padding_out_is_refused(tmp_path: Path) -> None:
    """Its answers would depend on the length to which a text is padded."""
    folder = write(tmp_path / "m", {"config.json": CLASSIFIER, "model.onnx": LEAKY})
    with pytest.raises(ParityError, match=r"'logits' of a text of .* tokens changes by .* if it is padded"):
        import_and_load(folder, tmp_path / "store")


def test_tokenizer_that_is_missing_is_asked_for(tmp_path: Path) -> None:
    """The error has the line of Python that makes it."""
    folder = write(tmp_path / "m", {"config.json": CLASSIFIER, "model.onnx": SCORES})
    (folder / "tokenizer.json").unlink()
    with pytest.raises(NotPublished, match=r"expected tokenizer.json, got none: save it by transformers"):
        plan(folder)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, r"it has a tokenizer.json, but no config.json with architectures or model_type"),
        ({"config.json": {"vocab_size": 3}}, r"but no config.json with architectures or model_type"),
        ({"config.json": b"{"}, r"config.json: expected JSON"),
    ],
)
def test_folder_without_its_configuration_does_not_become_tensors(
    tmp_path: Path, files: Mapping[str, Any], complaint: str
) -> None:
    """A text model without its tokenizer would be published, so the configuration is asked for."""
    folder = write(tmp_path / "m", {"model.onnx": SCORES, **files})
    with pytest.raises(ExportError, match=complaint):
        plan(folder)


def test_classifier_is_served_with_its_labels(tmp_path: Path) -> None:
    """Its probabilities are the softmax of its logits, at every padded length."""
    files = {"config.json": CLASSIFIER, "model.onnx": SCORES, "tokenizer_config.json": {"pad_token": "[PAD]"}}
    loaded = import_and_load(
        write(tmp_path / "m", files), tmp_path / "store", {"texts.truncate": True, "texts.prefix": "ask "}
    )
    tokens = loaded.manifest.tokens
    assert tokens is not None
    assert (tokens.lengths, tokens.truncate, tokens.prefix) == ((8, 16, 24, 32, 40, 48, 56, 64), True, "ask ")
    assert (loaded.manifest.task, loaded.manifest.labels, loaded.rows.verdict) == ("classify", ("no", "yes"), "proved")
    assert loaded.tokenizers["tokenizer.json"].size == len(WORDS)
    words = TABLE[Tokenizer(make_tokenizer(), "").encode("ann in rome").ids, :2].sum(0)
    np.testing.assert_allclose(run(loaded, "ann in rome", 8)[0], words, rtol=1e-5)
    np.testing.assert_allclose(run(loaded, "ann in rome", 24)[0], words, rtol=1e-5)


@pytest.mark.parametrize(
    ("positions", "config", "first"),
    [
        ("int64[batch,length]", {}, 0),
        ("int32[1,length]", {}, 0),
        ("int64[batch,length]", {"model_type": "roberta", "pad_token_id": 1}, 2),
    ],
)
def test_positions_are_counted_in_the_graph(
    tmp_path: Path, positions: str, config: Mapping[str, Any], first: int
) -> None:
    """A caller sends none. In models of RoBERTa's kind they begin behind the id of padding, and take fewer tokens."""
    places = np.random.default_rng(1).standard_normal((64, 2)).astype(np.float32)
    graph = make_model(
        f"{BOTH}, {positions} position_ids => float[batch,2] logits",
        """
        words = Gather(table, input_ids) places = Gather(at, position_ids) both = Add(words, places)
        held = Cast<to = 1>(attention_mask) column = Unsqueeze(held, [-1])
        kept = Mul(both, column) logits = ReduceSum<keepdims = 0>(kept, [1])
        """,
        table=TABLE[:, :2],
        at=places,
    )
    folder = write(tmp_path / "m", {"config.json": {**CLASSIFIER, **config}, "model.onnx": graph})
    assert f"the input 'position_ids' is counted in the graph, from {first}" in str(plan(folder).changes[0])
    loaded = import_and_load(folder, tmp_path / "store")
    assert loaded.rows.verdict == "proved"
    assert loaded.manifest.tokens is not None
    assert loaded.manifest.tokens.lengths[-1] == 64 - first
    ids = Tokenizer(make_tokenizer(), "").encode("ann lives in rome").ids
    wanted = TABLE[ids, :2].sum(0) + places[first : first + len(ids)].sum(0)
    for length in (8, 24, 64 - first):
        np.testing.assert_allclose(run(loaded, "ann lives in rome", length)[0], wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("cls_token", lambda words: words[0]),
        ("lasttoken", lambda words: words[-1]),
        ("mean_tokens", lambda words: words.mean(0)),
    ],
)
def test_vectors_of_tokens_become_one_vector(tmp_path: Path, pooling: str, expected: Any) -> None:
    """As sentence-transformers does, in the graph, and padding does not count."""
    files = {
        "config.json": {**BERT, "architectures": ["BertForMaskedLM"]},
        "modules.json": STEPS,
        "1_Pooling/config.json": {f"pooling_mode_{pooling}": True},
        "sentence_bert_config.json": {"max_seq_length": 24},
        "config_sentence_transformers.json": {
            "prompts": {"query": "ask : ", "document": ""},
            "default_prompt_name": "query",
            "similarity_fn_name": "cosine",
        },
        "onnx/model.onnx": TOKENS,
        "README.md": b"---\nlicense: mit\n---\n",
    }
    loaded = import_and_load(write(tmp_path / "m", files), tmp_path / "store")
    manifest = loaded.manifest
    assert manifest.tokens is not None
    assert (manifest.tokens.lengths, manifest.tokens.prefix) == ((8, 16, 24), "ask : ")
    assert manifest.embedding is not None
    assert (manifest.embedding.normalise, manifest.licence, manifest.parity is not None) == (True, "mit", True)
    words = TABLE[Tokenizer(make_tokenizer(), "").encode("ann in rome").ids]
    for length in (5, 8, 16):
        np.testing.assert_allclose(run(loaded, "ann in rome", length)[0], expected(words), rtol=1e-5)


def test_prompts_for_some_texts_are_a_remark(tmp_path: Path) -> None:
    """Which texts they are for is known to callers only."""
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    files = {"config.json": BERT, "modules.json": STEPS[:2], "1_Pooling/config.json": POOLING, "model.onnx": TOKENS}
    planned = plan(write(tmp_path / "m", {**files, "config_sentence_transformers.json": prompts}))
    assert any("query 'query: '" in note for note in planned.notes)
    assert planned.get("vectors.normalise") is False


def test_tagger_has_the_scheme_of_its_labels(tmp_path: Path) -> None:
    """B- and I- say where spans begin; without O every token belongs to one."""
    config = {**BERT, "architectures": ["BertForTokenClassification"]}
    named = {"id2label": {str(i): label for i, label in enumerate(LABELS)}}
    files = {"config.json": {**config, **named}, "model.onnx": tagger()}
    folder = write(tmp_path / "m", files)
    loaded = import_and_load(folder, tmp_path / "store", {"texts.length": 16, "output": "tags"})
    assert loaded.manifest.tags == Tags(output="tags", scheme="iob")
    assert loaded.manifest.tokens is not None
    assert loaded.manifest.tokens.lengths == tuple(range(1, 17))  # it takes no mask
    plain = plan(folder, labels=("A", "B", "C", "D", "E"), activation="none", texts__length=16, output="tags")
    assert plain.description.tags == Tags(output="tags", outside=None, activation="none")


def test_score_of_one_label_is_a_number(tmp_path: Path) -> None:
    """A reranker has one label, so its score is a number and no class."""
    config = {**CLASSIFIER, "id2label": {"0": "LABEL_0"}}
    one = make_model(
        f"{BOTH} => float[batch,1] logits",
        """
        words = Gather(table, input_ids) held = Cast<to = 1>(attention_mask) column = Unsqueeze(held, [-1])
        kept = Mul(words, column) logits = ReduceSum<keepdims = 0>(kept, [1])
        """,
        table=TABLE[:, :1],
    )
    planned = plan(write(tmp_path / "m", {"config.json": config, "model.onnx": one}))
    assert (planned.description.task, planned.description.labels) == ("regress", ())


def test_samples_are_texts(tmp_path: Path) -> None:
    """Lines of a file, or files of a folder: golden samples are those of the most frequent length."""
    folder = write(tmp_path / "m", {"config.json": CLASSIFIER, "model.onnx": SCORES})
    lines = ["ann", "rome in new york", "", "ann lives in rome and in new york and in rome"]
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    for number, line in enumerate(lines[:2]):
        (folder.parent / "texts").mkdir(exist_ok=True)
        (folder.parent / "texts" / f"{number}.txt").write_text(line)
    for path in (tmp_path / "texts.txt", tmp_path / "texts"):
        loaded = import_and_load(folder, tmp_path / "store", {"samples": str(path), "name": path.stem})
        number = Store(tmp_path / "store").find(path.stem)
        golden = GoldenSamples.from_bytes(number.read_all()[1]["golden.npz"])
        assert golden.inputs["input_ids"].shape == (2, 8)
        assert {found.tensor for found in loaded.manifest.statistics} >= {"logits"}


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.txt", "", "expected a text in each line, the file is empty"),
        ("a.txt", "ann " * 90, "text 1 has 92 tokens: expected 1 to 64"),
        ("a.csv", "words\nann", "expected a column 'text', got words"),
        ("a.json", "[]", "expected a folder of texts, or a file .txt, .npz, .parquet or .csv"),
    ],
)
def test_samples_that_are_no_texts_are_refused(tmp_path: Path, name: str, content: str, text: str) -> None:
    """The error names the file."""
    if name.endswith(".csv"):
        pytest.importorskip("pandas")
    (tmp_path / name).write_text(content)
    folder = write(tmp_path / "m", {"config.json": CLASSIFIER, "model.onnx": SCORES})
    with pytest.raises((NotPublished, StoreError), match=text):
        import_and_load(folder, tmp_path / "store", {"samples": str(tmp_path / name)})


def test_quality_is_measured_on_labelled_texts(tmp_path: Path) -> None:
    """The texts are in a folder with a sub-folder for each label."""
    folder = write(tmp_path / "m", {"config.json": CLASSIFIER, "model.onnx": SCORES})
    for label, text in (("no", "ann in rome"), ("yes", "new york")):
        (tmp_path / "texts" / label).mkdir(parents=True)
        (tmp_path / "texts" / label / "a.txt").write_text(text)
    loaded = import_and_load(folder, tmp_path / "store", {"evaluate": str(tmp_path / "texts")})
    assert loaded.manifest.quality is not None
    assert (loaded.manifest.quality.rows, "accuracy" in loaded.manifest.quality.metrics) == (2, True)


def test_lengths_grow_by_quarters_of_doublings() -> None:
    """So at most a fifth of a row is padding, beside short ones."""
    long = (80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512)
    assert list_lengths(512) == (8, 16, 24, 32, 40, 48, 56, 64, *long)
    assert list_lengths(100) == (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 100)
    assert list_lengths(5) == (5,)
