"""embed: vectors of rows, and how similar they are to other vectors."""

import base64
import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from model_store.tasks import Embedding
from service.codecs.model_context import known
from service.codecs.pictures.reader import decode_base64
from service.codecs.rows import in_order
from service.codecs.texts.tokens import count_tokens
from service.errors import InvalidInput, ModelFailure
from service.tasks.answer import check_finite
from service.tasks.request import FromText, TaskOptions
from service.tasks.windows import average_windows, check_windows, describe_windows
from service.tasks.work import SLOW_BYTES, Call, Result, decode_rows, infer_group, run_in_thread

NAME = "embed"
MOST_PAIRS = 1 << 18


class Options(TaskOptions):
    """The fields of a request besides its rows."""

    encoding: Literal["float", "base64"] = "float"
    """`base64`: each vector as the bytes of its numbers, float32, little-endian"""
    dimensions: Annotated[int, Field(ge=1)] | None = None
    """a shorter length of the vectors, if the model has it"""
    compare: Annotated[list[Any], FromText, Field(min_length=1, max_length=1024)] | None = None
    """rows, or vectors as `{"embedding": ...}`: the answer says how similar each row is to each of these"""
    windows: bool = False
    """answer with the vector of each window of a sound too, and its times"""


async def work(call: Call[Options]) -> Result:
    """``{"model", "version", "predictions": [{"embedding", "comparisons"?: [{"similarity" | "distance", "same"?}],
    "windows"?}]}``.

    The vector of a sound is the mean over its windows, normalised afterwards. A stream has one event, the last.
    """
    if call.wants_picture:
        raise InvalidInput("accept: image/png: vectors are no picture: ask for JSON")
    options, facts = call.options, known(call.model.manifest.embedding)
    if options.windows:
        check_windows(call.model.manifest)
    others = options.compare or []
    given = [_read_vector(other, i) for i, other in enumerate(others)]
    _check_pairs(len(call.rows or ()), len(given))
    found, windows, _ = await embed_rows(call, "inputs")
    rows = [row for row, vector in zip(others, given, strict=True) if vector is None]
    made = iter((await embed_rows(dataclasses.replace(call, rows=rows), "compare")).vectors if rows else ())
    compared = [next(made) if vector is None else vector for vector in given]
    _check_sizes(compared, len(found[0]), call.model.name)

    def describe() -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = [{"embedding": each} for each in encode_vectors(found, options.encoding)]
        if compared:
            among = np.stack(compared).astype(np.float64)
            for answer, vector in zip(answers, found, strict=True):
                values = compare_vectors(vector, among, facts).tolist()
                answer["comparisons"] = [describe_comparison(value, facts) for value in values]
        for answer, its_windows in zip(answers, windows, strict=False):
            shown = encode_vectors([one["embedding"] for one in its_windows], options.encoding)
            answer["windows"] = [{**one, "embedding": of_one} for one, of_one in zip(its_windows, shown, strict=True)]
        return answers

    size_bytes = sum(vector.nbytes for vector in found) * (1 + len(compared))
    size_bytes += sum(one["embedding"].nbytes for its_windows in windows for one in its_windows)
    return call.answer(size_bytes > SLOW_BYTES, predictions=await run_in_thread(describe, size_bytes))


class Embedded(NamedTuple):
    """The vector of each row, the windows of each row with their vectors (if asked for), and the number of tokens."""

    vectors: list[np.ndarray]
    windows: list[list[dict[str, Any]]]
    tokens: int


async def embed_rows(call: Call[Options], field: str) -> Embedded:
    """Embed the rows of the call. ``field`` is where they are in the request, for messages."""
    manifest, size = call.model.manifest, call.options.dimensions
    facts = known(manifest.embedding)
    full = call.model.outputs()[facts.output].row_shape[0]
    if size not in (None, full, *facts.dimensions):
        able = " or ".join(map(str, (*facts.dimensions, full)))
        raise InvalidInput(f"dimensions: expected {able}, as vectors of model {manifest.name!r} have, got {size}")
    rows = await decode_rows(call, field=field, one_window=False)
    groups, found, windows = [], [], []
    for group in rows:
        outputs = await infer_group(group, field=field)
        merged, means = average_windows(group, outputs, [facts.output])
        groups.append(merged)
        found.append(_make_vectors(means[facts.output][:, :size], facts, manifest.name))
        if call.options.windows:
            each = _make_vectors(outputs[facts.output][:, :size], facts, manifest.name)
            windows.append(describe_windows(group, [{"embedding": vector} for vector in each], manifest))
    return Embedded(in_order(groups, found), in_order(groups, windows) if windows else [], count_tokens(rows)[0])


def _check_pairs(rows: int, others: int) -> None:
    if rows * others > MOST_PAIRS:
        raise InvalidInput(f"compare: expected at most {MOST_PAIRS} pairs of rows, got {rows} x {others}: send fewer")


def _read_vector(other: Any, position: int) -> np.ndarray | None:
    """The vector that the caller sent in place of a row; None if it is a row. Raises InvalidInput."""
    if not isinstance(other, dict) or other.keys() != {"embedding"}:
        return None
    where, value = f"compare[{position}].embedding", other["embedding"]
    if isinstance(value, str):
        content = decode_base64(value, where)
        if len(content) % 4:
            raise InvalidInput(f"{where}: expected float32 numbers of 4 bytes, got {len(content)} bytes")
        vector = np.frombuffer(content, "<f4")
    elif isinstance(value, list) and all(type(number) in (int, float) for number in value):
        with np.errstate(over="ignore"):  # too large numbers become infinite and are refused below
            vector = np.array(value, np.float64).astype(np.float32)
    else:
        raise InvalidInput(f"{where}: expected an array of numbers or a base64 text, got {value!r:.40}")
    if not np.isfinite(vector).all():
        raise InvalidInput(f"{where}: expected finite numbers")
    return vector


def _make_vectors(output: np.ndarray, facts: Embedding, model: str) -> np.ndarray:
    """float32 [rows, size]; of length 1 if the manifest asks for it. Raises ModelFailure."""
    vectors = check_finite(model, facts.output, output).astype(np.float32)
    if not facts.normalise:
        return vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not lengths.all():
        raise ModelFailure(f"model {model!r} gave a vector of length 0, which has no direction")
    directions: np.ndarray = vectors / lengths
    return directions


def _check_sizes(compared: Sequence[np.ndarray], size: int, model: str) -> None:
    for i, vector in enumerate(compared):
        if len(vector) != size:
            raise InvalidInput(
                f"compare[{i}].embedding: expected {size} numbers, as model {model!r} gives, got {len(vector)}"
            )


def compare_vectors(vector: np.ndarray, others: np.ndarray, facts: Embedding) -> np.ndarray:
    """The cosine similarity, or the distance, of a vector to each of ``others``: float64 [others]."""
    one = vector.astype(np.float64)
    if facts.metric == "euclidean":
        distances: np.ndarray = np.linalg.norm(others - one, axis=1)
        return distances
    lengths = np.linalg.norm(one) * np.linalg.norm(others, axis=1)
    cosines: np.ndarray = np.divide(others @ one, lengths, out=np.zeros(len(others)), where=lengths > 0).clip(-1, 1)
    return cosines


def describe_comparison(value: float, facts: Embedding) -> dict[str, Any]:
    is_distance = facts.metric == "euclidean"
    answer: dict[str, Any] = {"distance" if is_distance else "similarity": value}
    if facts.threshold is not None:
        answer["same"] = value <= facts.threshold if is_distance else value >= facts.threshold
    return answer


def encode_vectors(vectors: Sequence[np.ndarray], encoding: Literal["float", "base64"]) -> list[Any]:
    """Vectors as lists of numbers, or as base64 texts."""
    if encoding == "float":
        return [vector.tolist() for vector in vectors]
    return [base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]
