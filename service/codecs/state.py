"""What a model remembers of a series, as a text that a caller keeps and sends back, to any replica with the same key.

The text is base64url of: the HMAC-SHA256 of the rest, a head in JSON that says which model version it belongs to, a
newline, the tensors one after the other. It is signed, not encrypted: the caller may read what is in it, and a changed
one is refused before anything of it is used.
"""

import base64
import binascii
import hashlib
import hmac
import json
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from service.codecs.model_context import ModelContext
from service.engine.tensors import Arrays
from service.errors import InvalidInput

MAX_CHARACTERS = 1 << 22
_PURPOSE = b"sluice state 1\n"
"""Signed with the rest, so that nothing else that the same key may sign is taken for a state."""


class Origin(NamedTuple):
    """Which graphs a state belongs to: the digest tells apart two versions that were published under one number."""

    model: str
    version: str
    digest: str


class StateTensor(NamedTuple):
    """A tensor of a state, without a batch axis."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def origin_of(context: ModelContext) -> Origin:
    """The digest covers every file of the version."""
    files = sorted((name, file.sha256) for name, file in context.manifest.files.items())
    return Origin(context.name, context.version, hashlib.sha256(json.dumps(files).encode()).hexdigest())


def seal(key: bytes, origin: Origin, tensors: Arrays) -> str:
    """``tensors`` by name, in the order in which ``open_state`` is told of them. Raises InvalidInput without a key."""
    _require_key(key, "return_state")
    body = json.dumps(origin).encode() + b"\n" + b"".join(array.tobytes() for array in tensors.values())
    return base64.urlsafe_b64encode(_sign(key, body) + body).rstrip(b"=").decode()


def open_state(key: bytes, origin: Origin, text: object, expected: Mapping[str, StateTensor], where: str) -> Arrays:
    """The tensors by name, read-only. ``where`` names the field in messages.

    Raises InvalidInput if the text is not what ``seal`` gave for the same key, origin and tensors.
    """
    _require_key(key, where)
    body = _verify(key, text, where)
    head, _, content = body.partition(b"\n")
    came_from = Origin(*json.loads(head))
    if came_from != origin:
        other = " with other files" if came_from[:2] == origin[:2] else ""
        raise InvalidInput(
            f"{where}: expected a state of model {origin.model!r} version {origin.version}, got one of model "
            f"{came_from.model!r} version {came_from.version}{other}; begin without a state"
        )
    size_bytes = sum(tensor.size_bytes for tensor in expected.values())
    if len(content) != size_bytes:
        raise InvalidInput(
            f"{where}: expected {size_bytes} bytes of tensors, got {len(content)}; begin without a state"
        )
    tensors, offset = {}, 0
    for name, tensor in expected.items():
        count = math.prod(tensor.shape)
        tensors[name] = np.frombuffer(content, tensor.dtype, count, offset).reshape(tensor.shape)
        offset += tensor.size_bytes
    return tensors


def _verify(key: bytes, text: object, where: str) -> bytes:
    """The signed bytes. Raises InvalidInput."""
    faulty = InvalidInput(f"{where}: expected the text of an earlier answer, unchanged, got another")
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        raise faulty
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise faulty from None
    # The last character has bits that decoding drops; one text only may stand for a state.
    exact = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode() == text
    signature, body = sealed[: hashlib.sha256().digest_size], sealed[hashlib.sha256().digest_size :]
    if not hmac.compare_digest(signature, _sign(key, body)) or not exact:
        raise faulty
    return body


def _sign(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + body, "sha256")


def _require_key(key: bytes, where: str) -> None:
    # Anybody can sign with an empty key.
    if not key:
        raise InvalidInput(f"{where}: this service has no key to sign states with; send whole series instead")
