"""Batch sizes on a GPU: a few buckets, so that there are few shapes.

Each new shape costs a GPU tens to hundreds of milliseconds: algorithms are chosen, memory is found, a CUDA graph is
captured. So a batch is padded to the next bucket, at most twice its rows, and every bucket runs before the model is
ready. A CPU has no such cost and runs batches as they are.
"""

import bisect
from collections.abc import Sequence

Buckets = tuple[int, ...]


def make_buckets(max_rows: int, least_rows: int = 1) -> Buckets:
    """Powers of two from ``least_rows`` to ``max_rows``, and ``max_rows`` itself: 24 gives 1, 2, 4, 8, 16, 24."""
    powers = (1 << power for power in range((max_rows - 1).bit_length()))
    return (*(rows for rows in powers if rows >= least_rows), max_rows)


def bucket_of(rows: int, buckets: Sequence[int]) -> int:
    """The smallest bucket that holds ``rows``; ``rows`` itself if none does. ``buckets`` must ascend."""
    at = bisect.bisect_left(buckets, rows)
    return buckets[at] if at < len(buckets) else rows
