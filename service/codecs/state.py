"""The state of a series, as a text that the caller keeps and sends back, to any replica with the same key.

The text is base64url of: the HMAC-SHA256 of the rest; JSON that names the model version; a newline; the bytes of the
tensors. It is signed and not encrypted: the caller can read it, but a changed text is refused.
"""

import base64
import hashlib
import hmac
import json
from typing import NamedTuple

import numpy as np

from service.codecs.model_context import ModelContext
from service.engine.tensors import Arrays
from service.errors import InvalidInput

MAX_CHARACTERS = 1 << 22
_PURPOSE = b"sluice state 1\n"
"""Signed with the rest, so that another kind of text that was signed with the same key is not taken for a state."""
_DIGEST_BYTES = hashlib.sha256().digest_size


class Origin(NamedTuple):
    """The model version of a state. ``digest`` tells versions apart that were published under the same number."""

    model: str
    version: str
    digest: str


def origin_of(context: ModelContext) -> Origin:
    """The origin of states of this model. Its digest covers all files of the version."""
    files = sorted((name, file.sha256) for name, file in context.manifest.files.items())
    return Origin(context.name, context.version, hashlib.sha256(json.dumps(files).encode()).hexdigest())


def seal(key: bytes, origin: Origin, tensors: Arrays) -> str:
    """The text of a state. ``tensors`` are in the order ``open_state`` expects. Raises InvalidInput without a key."""
    _require_key(key, "return_state")
    body = json.dumps(origin).encode() + b"\n" + b"".join(array.tobytes() for array in tensors.values())
    return _encode(_sign(key, body) + body)


def open_state(key: bytes, origin: Origin, text: object, expected: Arrays, where: str) -> Arrays:
    """The tensors of a state by name, read-only, with the dtypes and shapes of ``expected``.

    Raises InvalidInput, which names the field ``where``, unless ``seal`` has made the text with this key and origin.
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
    size_bytes = sum(tensor.nbytes for tensor in expected.values())
    if len(content) != size_bytes:
        got = len(content)
        raise InvalidInput(f"{where}: expected {size_bytes} bytes of tensors, got {got}; begin without a state")
    tensors, offset = {}, 0
    for name, tensor in expected.items():
        tensors[name] = np.ndarray(tensor.shape, tensor.dtype, content, offset)
        offset += tensor.nbytes
    return tensors


def read_origin(key: bytes, text: object) -> Origin | None:
    """The model version of a state; None if it was not signed with the key."""
    try:
        head = _verify(key, text, "state").partition(b"\n")[0] if key else b""
    except InvalidInput:
        return None
    return Origin(*json.loads(head)) if head else None


def _verify(key: bytes, text: object, where: str) -> bytes:
    """The signed bytes. Raises InvalidInput."""
    faulty = InvalidInput(f"{where}: expected the text of an earlier answer, unchanged, got another")
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        raise faulty
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise faulty from None
    signature, body = sealed[:_DIGEST_BYTES], sealed[_DIGEST_BYTES:]
    # Decoding ignores some bits of the last character, but each state must have only one text.
    if not hmac.compare_digest(signature, _sign(key, body)) or _encode(sealed) != text:
        raise faulty
    return body


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _sign(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + body, "sha256")


def _require_key(key: bytes, where: str) -> None:
    if not key:  # anybody can sign with an empty key
        raise InvalidInput(f"{where}: this service has no key to sign states with; send whole series instead")
