"""OpenAI's request for the vectors of texts, and its answer."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from service.errors import InvalidInput
from service.protocol.json import type_name
from service.protocol.large_json import parse_object
from service.protocol.request_model import RequestModel


class EmbeddingsRequest(RequestModel):
    """Arrays of token ids, which OpenAI takes too, are refused: they would be those of another tokenizer."""

    input: Annotated[
        Any,
        Field(
            json_schema_extra={
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
                "examples": ["A text", ["A text", "Another text"]],
            }
        ),
    ]
    """a text, or an array of texts"""
    model: str | None = None
    """needed where several models make vectors, unless one is the default"""
    encoding_format: Literal["float", "base64"] = "float"
    """`base64`: each vector as the bytes of its numbers, float32, little-endian"""
    dimensions: Annotated[int, Field(ge=1)] | None = None
    """a shorter length of the vectors, if the model has it"""
    user: str | None = None
    """not used"""


def read_embeddings(body: bytes | memoryview) -> tuple[EmbeddingsRequest, list[Any]]:
    """The request and its texts. Raises InvalidInput, which names the field, what was expected and what came."""
    asked = EmbeddingsRequest.read(parse_object(body))
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    if not isinstance(texts, list):
        raise InvalidInput(f"input: expected a text or an array of texts, got {type_name(texts)}")
    for i, text in enumerate(texts):
        if isinstance(text, int | list) and not isinstance(text, bool):
            raise InvalidInput(f"input[{i}]: expected a text, got token ids, which are those of another tokenizer")
        if not isinstance(text, str):
            raise InvalidInput(f"input[{i}]: expected a text, got {type_name(text)}")
    return asked, texts


def describe_embeddings(model: str, vectors: Sequence[Any], tokens: int) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
