"""A hundred requests at once, which share batches. python examples/client/many_requests.py [URL]"""

import asyncio
import statistics
import sys
import time
from collections import Counter

import numpy as np

from sluice_client import AsyncClient


async def ask_many(url: str, count: int = 100) -> None:
    images = np.random.default_rng(0).uniform(0, 16, (count, 1, 8, 8)).astype(np.float32)
    async with AsyncClient(url, max_connections=16) as sluice:
        began = time.perf_counter()
        answers = await asyncio.gather(
            *(sluice.infer("digits-classifier", {"image": image[None]}, outputs=["probabilities"]) for image in images)
        )
        took = time.perf_counter() - began
    labels = Counter(int(answer.outputs["probabilities"].argmax()) for answer in answers)
    waited = [1000 * answer.meta.seconds for answer in answers]
    print(f"{count} requests in {took:.2f} s: {count / took:.0f} a second")
    print(f"Each waited {statistics.median(waited):.0f} ms (median), at most {max(waited):.0f} ms")
    print(f"Tries: {sum(answer.meta.tries for answer in answers)}; a busy server is asked again when it says so")
    print("The most frequent answers:", ", ".join(f"{label} ({n})" for label, n in labels.most_common(3)))


def main(url: str = "http://127.0.0.1:3000") -> None:
    asyncio.run(ask_many(url))


if __name__ == "__main__":
    main(*sys.argv[1:])
