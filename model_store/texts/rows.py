"""Tokens of texts as rows of the inputs of a graph."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np

from model_store.graph import Tensor
from model_store.manifest import Manifest
from model_store.tasks import Tokens
from model_store.texts.tokenizer import Encoded

_AXIS = 1
"""The axis of the tokens in the inputs of a text."""


def find_length(facts: Tokens, tokens: int) -> int:
    """The length to which a row of ``tokens`` tokens is padded. It must not have more than the last of the lengths."""
    return facts.lengths[bisect_left(facts.lengths, tokens)]


def fill_rows(
    facts: Tokens, rows: Sequence[Encoded], length: int, dtypes: Mapping[str, np.dtype]
) -> dict[str, np.ndarray]:
    """The inputs [rows, length] of these texts, padded at the end. ``dtypes`` are those of the inputs by name."""
    shape = (len(rows), length)
    ids = np.full(shape, facts.pad, dtypes[facts.ids])
    inputs = {facts.ids: ids}
    if facts.mask is not None:
        inputs[facts.mask] = np.zeros(shape, dtypes[facts.mask])
    if facts.types is not None:
        inputs[facts.types] = np.zeros(shape, dtypes[facts.types])
    for i, row in enumerate(rows):
        count = len(row.ids)
        ids[i, :count] = row.ids
        if facts.mask is not None:
            inputs[facts.mask][i, :count] = 1
        if facts.types is not None:
            inputs[facts.types][i, :count] = row.types
    return inputs


def stretch_samples(
    name: str, manifest: Manifest, samples: Mapping[str, np.ndarray]
) -> Sequence[Mapping[str, np.ndarray]]:
    """Samples of a graph at the shortest, a middle and the longest padded length of its texts; none if it takes no
    texts.

    The kernels, and so the bits, depend on the length.
    """
    facts = manifest.tokens
    if facts is None or facts.graph != name or any(map(_is_fixed, manifest.graphs[name].inputs)):
        return ()
    lengths = facts.lengths
    wanted = dict.fromkeys((lengths[0], lengths[len(lengths) // 2], lengths[-1]))
    return [
        {key: np.take(array, range(length), axis=_AXIS, mode="wrap") for key, array in samples.items()}
        for length in wanted
    ]


def _is_fixed(tensor: Tensor) -> bool:
    """Whether a tensor is something else than the tokens of any number of texts of any length."""
    return tensor.batch_axis != 0 or len(tensor.shape) != _AXIS + 1 or isinstance(tensor.shape[_AXIS], int)
