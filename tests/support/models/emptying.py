"""Finds the kernels of ONNX Runtime that end the process on a tensor without elements.

``python -m tests.support.models.emptying [OPERATOR ...]`` runs the cases of ONNX's own operator tests with open shapes.
Each axis of each input is emptied, and all axes of one size together. Each case has a child process. It prints the
cases that end the process or take longer than ``LIMIT_S``, without operators that are known to do so, and a count.
With operators as arguments it tries only these, known or not.
"""

import os
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx.backend.test.case.node import collect_testcases

from model_store.rows.graph.operators import FRAGILE

LIMIT_S = 20
_FATAL_ONLY = 4
Arrays = Mapping[str, np.ndarray]


def empty(arrays: Arrays) -> Iterator[Arrays]:
    """The same inputs with one axis empty, or all axes of one size."""
    for size in sorted({size for array in arrays.values() for size in array.shape if size}):
        yield {
            name: np.zeros([0 if s == size else s for s in array.shape], array.dtype) if size in array.shape else array
            for name, array in arrays.items()
        }
    for name, array in arrays.items():
        for axis in range(array.ndim):
            shape = [0 if i == axis else size for i, size in enumerate(array.shape)]
            yield {**arrays, name: np.zeros(shape, array.dtype)}


def open_shapes(model: onnx.ModelProto) -> bytes:
    """The model with a free size for every axis of its inputs and outputs."""
    for value in (*model.graph.input, *model.graph.output):
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            dimension.dim_param = f"{value.name}_{axis}"
    return bytes(model.SerializeToString())


def run_all(content: bytes, feeds: Sequence[Arrays]) -> None:
    """In the child: an error that is raised is fine."""
    signal.alarm(LIMIT_S)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001  # not implemented, or of a later version
        return
    for feed in feeds:
        try:
            session.run(None, dict(feed))
        except Exception:  # noqa: BLE001, S112  # what is raised is the answer of one request
            continue


def survives(content: bytes, feeds: Sequence[Arrays]) -> bool:
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        run_all(content, feeds)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def inputs_of(case: Any) -> Arrays | None:
    """The inputs by name; None where one is no tensor of numbers or texts."""
    given = case.data_sets[0][0]
    if not all(isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiubOU" for value in given):
        return None
    arrays = [np.asarray(value, object if value.dtype.kind in "OU" else None) for value in given]
    return dict(zip((value.name for value in case.model.graph.input), arrays, strict=False))


def main() -> int:
    warnings.simplefilter("ignore")
    wanted = set(sys.argv[1:])
    tried = fatal = 0
    for case in collect_testcases(None):
        if case.kind != "node" or case.model is None:
            continue
        operators = {node.op_type for node in case.model.graph.node}
        arrays = inputs_of(case)
        if arrays is None or (not operators & wanted if wanted else operators & FRAGILE):
            continue
        tried += 1
        if not survives(open_shapes(case.model), list(empty(arrays))):
            fatal += 1
            print(case.name, ", ".join(sorted(operators)))
    print(f"{tried} cases tried, {fatal} ended the process")
    return 1 if fatal else 0


if __name__ == "__main__":
    sys.exit(main())
