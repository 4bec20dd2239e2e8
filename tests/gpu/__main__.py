"""``python -m tests.gpu``: the GPU acceptance, as one table.

Exit code 0: every fact holds on this GPU. 1: one does not. 3: there is no GPU, and nothing has been accepted.
"""

import platform
import sys
import traceback
from collections.abc import Callable, Mapping

import onnxruntime as ort

from service.engine.onnx.session import available_providers
from service.metrics.devices import find_lacking_gpu, read_driver, read_gpus
from tests.chaos.checks import Check, write_table
from tests.gpu.acceptance import GPU, make_facts

FAILED, NO_GPU = 1, 3


def main() -> int:
    lacking = find_lacking_gpu(available_providers("cuda"))
    if lacking:
        print(f"the GPU acceptance has NOT run: {lacking}")
        return NO_GPU
    for gpu in read_gpus():
        print(f"{gpu.name}, driver {read_driver()}, ONNX Runtime {ort.__version__}, Python {platform.python_version()}")
    return run(make_facts(GPU))


def run(facts: Mapping[str, Callable[[], list[Check]]]) -> int:
    """Check the facts, print the table, and say what follows."""
    rows: list[tuple[str, Check]] = []
    for name, check in facts.items():
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            rows += [(name, each) for each in check()]
        except Exception as failure:  # noqa: BLE001  # the other facts are checked all the same
            traceback.print_exc()
            text = f"{type(failure).__name__}: {failure}"[:100]
            rows.append((name, Check("it ran to its end", "yes", text, holds=False)))
    print(write_table(rows))
    if not all(check.holds for _, check in rows):
        print("the GPU acceptance has FAILED")
        return FAILED
    print(
        "the GPU acceptance has passed. Put this table into docs/gpu.md, and remove what says that it has not run: "
        "there, in the README, and NEVER_ON_GPU in service/engine/onnx/providers.py"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
