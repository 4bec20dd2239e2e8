"""``python -m tests.chaos [SCENARIO ...]``: run the scenarios, print one table; exit code 1 if a fact does not hold.

"kills" and "reloads" have two workers, "signals" has a variant with two.
"""

import asyncio
import functools
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping

from tests.chaos import kills, largest, reloads, signals, slow_clients, soak, swaps
from tests.chaos.checks import Check, write_table

SCENARIOS: Mapping[str, Callable[[], Coroutine[None, None, list[Check]]]] = {
    "kills": kills.run,
    "swaps": swaps.run,
    "slow clients": slow_clients.run,
    "signals": signals.run,
    "signals, two workers": functools.partial(signals.run, 2),
    "reloads": reloads.run,
    "largest": largest.run,
    "soak": soak.run,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        print(f"unknown scenario {', '.join(unknown)}: there are {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    rows: list[tuple[str, Check]] = []
    for name in names or SCENARIOS:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            checks = asyncio.run(SCENARIOS[name]())
        except Exception as failure:  # noqa: BLE001  # the other scenarios are run all the same
            traceback.print_exc()
            checks = [Check("it ran to its end", "yes", f"{type(failure).__name__}: {failure}"[:100], holds=False)]
        rows += [(name, check) for check in checks]
    print(write_table(rows))
    return 0 if all(check.holds for _, check in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
