"""ONNX's own test cases, one or more for each operator, served as a plain repository: what ONNX Runtime answers."""

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from tests.support.inferring import Plain, Refused, find_difference, infer, load, open_plain
from tests.support.models import graphs
from tests.support.processes import served
from tests.support.servers import FAST, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")  # the ones whose files need no download
_PARTS = 4
_OLDER = (25, 23, 21, 18, 13, 9)
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
_ALLOWED = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class Case:
    """A model, and the inputs of each of its data sets."""

    name: str
    model: onnx.ModelProto
    inputs: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Told:
    """A case's file, and what plain ONNX Runtime did with it: refused to load it, or to run it, or answered."""

    content: bytes
    model: Plain | None
    answers: tuple[Mapping[str, Any], ...] | None

    @property
    def fails(self) -> bool:
        return self.model is not None and not self.model.unknown_types and self.answers is None


def read_cases() -> Iterator[Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, while the cases are calculated
        found = [case for kind in _KINDS for case in load_model_tests(kind=kind)]
    for case in found:
        model = case.model or onnx.load(Path(case.model_dir) / "model.onnx")
        names = [value.name for value in model.graph.input]
        sets = [inputs for inputs, _ in case.data_sets] if case.data_sets else _read_sets(Path(case.model_dir), model)
        inputs = tuple(dict(zip(names, map(_to_array, given), strict=False)) for given in sets)
        yield Case(_ALLOWED.sub("-", f"{case.kind}.{case.name}"), model, inputs)


def _read_sets(folder: Path, model: onnx.ModelProto) -> list[list[Any]]:
    """Inputs that have no file are constants of the graph; a case of sequences is refused before they are needed."""
    tensors = [(at, value) for at, value in enumerate(model.graph.input) if value.type.HasField("tensor_type")]
    return [
        [_read_tensor(path) for at, _ in tensors if (path := data / f"input_{at}.pb").exists()]
        for data in sorted(folder.glob("test_data_set_*"))
    ]


def _read_tensor(path: Path) -> onnx.TensorProto:
    return onnx.TensorProto.FromString(path.read_bytes())


def _to_array(value: Any) -> Any:
    """Tensors of the protocol as arrays; others are refused before they are needed."""
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic | int | float) else value


def ask_runtime(case: Case) -> Told:
    """The case as it is or, where it has operators newer than those of ONNX Runtime, of an older opset."""
    newest = next((entry.version for entry in case.model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    for opset in (newest, *(older for older in _OLDER if older < newest)):
        content = _write(case.model, opset)
        try:
            model = open_plain(content)
        except Exception:  # noqa: BLE001, S112  # whatever it is that it cannot load
            continue
        if model.unknown_types:
            return Told(content, model, None)
        try:
            return Told(content, model, tuple(model.run(inputs) for inputs in case.inputs))
        except Exception:  # noqa: BLE001  # or run
            return Told(content, model, None)
    return Told(_write(case.model, newest), None, None)


def _write(model: onnx.ModelProto, opset: int) -> bytes:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for entry in changed.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = opset
    return changed.SerializeToString()


def draws_numbers(model: onnx.ModelProto) -> bool:
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    return any(node.op_type in _RANDOM or (node.op_type == "Dropout" and len(node.input) > 2) for node in nodes)


def judge(client: httpx.Client, case: Case, told: Told) -> str | None:
    """What is wrong with the server's answers; None: nothing."""
    try:
        load(client, case.name)
    except Refused as refusal:
        if told.model is None:
            return None
        missing = [kind for kind in told.model.unknown_types if _names(refusal.reason, kind)]
        return None if missing else f"refused: {refusal.reason}"
    if told.model is None:
        return "loaded, which ONNX Runtime refuses"
    if told.model.unknown_types:
        return f"loaded with {told.model.unknown_types}, which the protocol lacks"
    for inputs, expected in zip(case.inputs, told.answers or (), strict=False):
        try:
            found = find_difference(infer(client, case.name, inputs), expected)
        except Refused as refusal:
            found = f"refused a request: {refusal}"
        if found:
            return found
    return None


def _names(reason: str, kind: str) -> bool:
    """Whether the text names the type, such as ``seq(tensor(float))``, as ONNX Runtime writes it or the core of it."""
    return kind in reason or re.sub(r"tensor\((\w+)\)", r"\1", kind) in reason


@pytest.fixture(scope="module")
def cases() -> dict[str, tuple[Case, Told]]:
    """All but those that draw random numbers, and those that ONNX Runtime loads and cannot run."""
    found = {case.name: (case, ask_runtime(case)) for case in read_cases() if not draws_numbers(case.model)}
    return {name: (case, told) for name, (case, told) in found.items() if not told.fails}


@pytest.fixture(scope="module")
def root(cases: dict[str, tuple[Case, Told]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cases")
    for name, (_, told) in cases.items():
        graphs.write_plain(root, name, told.content)
    return root


@pytest.fixture
def client(root: Path) -> Iterator[httpx.Client]:
    settings = settings_for(root, lazy=True, control=True)
    with (
        served(settings, FAST) as server,
        httpx.Client(base_url=server.url, timeout=60, verify=False) as client,  # noqa: S501  # plain HTTP
    ):
        yield client


def test_runtime_answers_most_cases(cases: dict[str, tuple[Case, Told]]) -> None:
    """Most cases are compared: few have types that the protocol lacks, or cannot be loaded."""
    answered = sum(told.answers is not None for _, told in cases.values())
    assert answered > 1500
    assert answered > 0.8 * len(cases)


@pytest.mark.parametrize("part", range(_PARTS))
def test_case_is_answered_as_by_runtime(part: int, cases: dict[str, tuple[Case, Told]], client: httpx.Client) -> None:
    """Each operator's case is answered bit for bit, or refused at load by the type that the protocol cannot express."""
    wrong = {}
    for name in sorted(cases)[part::_PARTS]:
        found = judge(client, *cases[name])
        if found:
            wrong[name] = found
    assert not wrong, "\n".join(f"{name}: {found[:300]}" for name, found in wrong.items())
