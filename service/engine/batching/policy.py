"""Every threshold of the engine, with what it does and what it gains. docs/policy.md has the measurements."""

from typing import Final

INLINE_S: Final = 1e-3
"""Batches predicted to be shorter run on the event loop of a CPU server, because waking a lane's thread costs time."""
WORTH_SHARING: Final = 0.8
"""Idle lanes share rows if a share takes at most this part of the time of the whole batch."""
BATCH_OVERHEAD_S: Final = 1e-3
"""What a batch costs besides its run, in a server under load. Larger batches spread it over more rows."""
EFFICIENT_WITHIN: Final = 0.05
"""Batches are no larger than the smallest size whose cost of a row is within this part of the best."""
RUN_MARGIN: Final = 1.2
"""A request is accepted only if it ends in time even if its own run takes this many times the prediction."""
WAIT_MARGIN: Final = 2.0
"""The same for the runs before it, which vary more."""
NEW_RUN_WEIGHT: Final = 0.2
"""The weight of a new run in the running mean of the cost: about the last ten runs count."""
MOST_TIMES: Final = 3.0
"""A run counts as at most this many times its prediction: one pause of the machine must not stop a model."""
RETRY_RUNS: Final = 10
"""A model that seems too slow for every request is tried again after a rest as long as this many runs."""
WORTH_ALL_CORES: Final = 1.2
"""A graph runs on all cores only if it is this many times as fast there: a smaller gain is lost under load."""
MOST_BYTES_TWICE: Final = 64 << 20
"""Weights up to this size are held twice, so that a batch that runs alone can use all cores."""
STUCK_S: Final = 5.0
"""A run that was told to end is given up with its lane after this time. It is a limit, not tuned: the longest single
operators that were seen, convolutions of 50 megapixels, take 2 s."""
