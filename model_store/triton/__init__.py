"""Reads and checks Triton's ``config.pbtxt``, and describes it in our own terms.

Not imported with ``model_store``, because it needs protobuf, which only plain repositories need.
"""

import re
from dataclasses import replace
from itertools import islice

from model_store.errors import BadConfig
from model_store.triton.checks import check
from model_store.triton.config import (
    DynamicBatching,
    InitialState,
    QueuePolicy,
    SequenceConfig,
    SequenceControl,
    SequenceState,
    TensorConfig,
    TritonConfig,
    VersionPolicy,
    Warmup,
    WarmupInput,
)
from model_store.triton.parse import parse
from model_store.triton.refusal import refusal, refuse_runner
from model_store.triton.translation import translate, translate_head

CONFIG_FILE = "config.pbtxt"
_MAX_BATCH_SIZE = re.compile(r"^[^#\n]*\bmax_batch_size\s*:", re.MULTILINE)

__all__ = [
    "CONFIG_FILE",
    "DynamicBatching",
    "InitialState",
    "QueuePolicy",
    "SequenceConfig",
    "SequenceControl",
    "SequenceState",
    "TensorConfig",
    "TritonConfig",
    "VersionPolicy",
    "Warmup",
    "WarmupInput",
    "read_config",
    "refusal",
]


def read_config(text: str | bytes, where: str, folder: str | None = None) -> TritonConfig:
    """Read a configuration, in UTF-8 if it is bytes.

    ``where`` is the file's name for messages, ``folder`` the name of the model's folder. If something else than ONNX
    Runtime runs the model, only the names are read and ``refusal`` gives the reason, because the backend may fill in
    missing fields. Raises BadConfig for a text that cannot be read (with its line), or that contradicts itself or the
    folder.
    """
    message, unknown = parse(text, where)
    head = replace(translate_head(message, folder, unknown), says_max_batch_size=_says_max_batch_size(text))
    if refuse_runner(head) is not None:
        return head
    complaints = list(islice(check(message, folder), 3))
    if complaints:
        raise BadConfig(f"{where}: {'; '.join(complaints)}")
    return translate(head, message)


def _says_max_batch_size(text: str | bytes) -> bool:
    """A parsed message does not distinguish a 0 that was written from a missing field."""
    written = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return _MAX_BATCH_SIZE.search(written) is not None
