"""The thresholds of dispatchers and devices, and when batches do not simply follow each other. No clock here."""

from typing import Final

from service.engine.batching.cost import CostModel

INLINE_S: Final = 1e-3
"""Batches predicted under this run on the event loop of a CPU server. A hop to a thread and back takes 60 µs at rest,
but under load the lane competes with the loop for the interpreter and the cores: on two of them a memory-bound model
with 16 clients answered 1.3 times as much with this limit as with 200 µs, a tiny one with 64 clients 1.4 times. It
cannot hold a server to one core: when the loop does not keep up, batches grow, and large ones go to the lanes."""
INLINE_BESIDE_S: Final = 200e-6
"""The same while a lane runs: what the loop computes itself then keeps it from feeding the lanes (a memory-bound model
with 64 clients: 1.1 times as much as with the limit above)."""
GPU_INLINE_S: Final = 200e-6
"""And where the host only waits for a device: it could read requests meanwhile."""
MOST_BYTES_TWICE: Final = 64 << 20
"""Of weights that are held once more for runs on all cores: a session prepares them for its number of threads, and they
cannot be shared (measured: 64 MiB take 112 more; shared but not prepared, runs take 1.8 times as long). So no model
takes more than an empty worker does, 130 MiB, for it."""
STUCK_S: Final = 5.0
"""A run that nobody waits for any more is told to end, which it does at its next node. If it goes on for so long it is
taken for one that never ends. Single nodes that are wanted are shorter: a convolution of 50 megapixels takes 2 s."""

TURN_S: Final = 1e-3
"""How long batches may run on the event loop in one go before sockets are looked at again."""
WORTH_SHARING: Final = 0.8
"""Rows go to several idle lanes where a share takes at most so much of the time of all of them."""
RUN_MARGIN: Final = 1.2
WAIT_MARGIN: Final = 2.0
"""An answer is promised only if it is expected in so much less than its time. What it waits for varies more than its
own run, and the queue that this allows is longer than what keeps all lanes busy, so nothing is lost. At five times the
capacity of two cores and 250 ms, one accepted request in seven was late or expired with 1.2 for both, with 2.0 one in
400."""
BATCH_OVERHEAD_S: Final = 1e-3
"""What a batch costs in a lane besides its run: two hops, and the turns of the event loop around them, beside others.
With 300 µs, as at rest, a compute-bound model of 2.5 ms a row ran in batches of 2 rows at some starts and answered a
sixth less than with 4 to 16."""
HELD_ANSWERS: Final = 17
"""So many answers from a lane are held back for each other. Fewer are all read again before the next batch leaves if
they go out one by one, but the last of those that go out together come too late for it: a memory-bound MLP with 16
clients answered a fifth less. What runs on the event loop gains with any number."""


def share_rows(limit: int, waiting: int, lanes: int, inline_s: float, cost: CostModel) -> int:
    """The rows of the next batch where several ``lanes`` are idle: its share, where that is well faster than ``limit``.

    A share that the event loop would run itself gains nothing: the lanes would stay idle.
    """
    share = min(limit, -(-waiting // lanes))
    whole_s = cost.predict(min(limit, waiting))
    return share if inline_s < cost.predict(share) < WORTH_SHARING * whole_s else limit
