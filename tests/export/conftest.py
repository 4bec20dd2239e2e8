"""Tiny real modules to export; torch is imported only by the tests that ask for one."""

import copy
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from export import ExportSpec
from model_store import Store


@pytest.fixture(scope="session", autouse=True)
def read_operators_once() -> Iterator[None]:
    """torch's exporter reads its operators for each export, which takes longer than to export a tiny module."""
    if "torch" not in sys.modules:
        yield
        return
    from torch._export import utils
    from torch.onnx._internal.exporter import _decomp
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    read = functools.cache(ONNXRegistry.from_torchlib)
    list_decompositions = _decomp.create_onnx_friendly_decomposition_table
    list_once = functools.cache(list_decompositions)

    def copy_operators(**options: Any) -> ONNXRegistry:
        registry = copy.copy(read(**options))
        registry.functions = {target: list(found) for target, found in registry.functions.items()}
        return registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(copy_operators))
        patch.setattr(_decomp, list_decompositions.__name__, lambda known: dict(list_once(frozenset(known))))
        patch.setattr(utils, "_materialize_cpp_cia_ops", functools.cache(utils._materialize_cpp_cia_ops))
        yield


_exported: dict[Any, Any] = {}


@pytest.fixture
def export_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal modules are exported once in a session: for tests of what comes after the export."""
    pytest.importorskip("torch")
    from export.onnx import candidate

    export = candidate.export_graph

    def find(original: Any, unfit: str | None = None) -> Any:
        spec, module = original.spec, original.module
        if not original.is_plain:
            return export(original, unfit)
        attributes = tuple((name, value) for name, value in vars(module).items() if not name.startswith("_"))
        weights = b"".join(tensor.numpy().tobytes() for tensor in module.state_dict().values())
        fields = ("name", "inputs", "outputs", "dynamic", "ranges", "bounds", "task", "classes", "padded")
        key = (repr(module), attributes, weights, unfit, *(repr(getattr(spec, field, None)) for field in fields))
        if key not in _exported:
            _exported[key] = export(original, unfit)
        return dataclasses.replace(_exported[key], model=copy.deepcopy(_exported[key].model))

    monkeypatch.setattr(candidate, "export_graph", find)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def publish_noting(store: Store) -> Callable[..., Any]:
    """Publishes into the store: the version, and the notes."""
    from export import publish

    def publish_spec(spec: Any, precision: Any = None) -> Any:
        notes: list[str] = []
        version = publish(
            spec, store, lambda step: notes.append(step) if step.startswith("note: ") else None, precision
        )
        return version, notes

    return publish_spec


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread, and the same random numbers in every run."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(before)


def _apply(linear: Any, x: Any) -> Any:
    return linear(x)


@pytest.fixture
def make_module(one_thread: None) -> Callable[..., Any]:
    """Turns a function of (linear layer 4 -> 3, *inputs) into a seeded module of one or two inputs."""
    torch = pytest.importorskip("torch")

    class OneInput(torch.nn.Module):
        def __init__(self, body: Callable[..., Any]) -> None:
            super().__init__()
            self.linear, self.body = torch.nn.Linear(4, 3), body

        def forward(self, x: Any) -> Any:
            return self.body(self.linear, x)

    class TwoInputs(OneInput):
        def forward(self, x: Any, y: Any) -> Any:
            return self.body(self.linear, x, y)

    def make(body: Callable[..., Any] = _apply, inputs: int = 1) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return (OneInput if inputs == 1 else TwoInputs)(body)

    return make


@pytest.fixture
def make_spec(make_module: Callable[..., Any]) -> Callable[..., ExportSpec]:
    """A valid spec of a linear layer [batch, 4] -> [batch, 3], tried at few batch sizes; each field can be replaced."""
    torch = pytest.importorskip("torch")

    def make(module: Any = None, **others: Any) -> ExportSpec:
        x = torch.linspace(-2.0, 2.0, 12).reshape(3, 4)
        fields = {"name": "tiny", "task": "tensors", "inputs": {"x": x}, "outputs": ("y",)}
        fields |= {"batches": (1, 2, 5), "seeds": (0,), **others}
        return ExportSpec(module=make_module() if module is None else module, **fields)

    return make


@pytest.fixture
def make_real_samples() -> Callable[[int], Any]:
    """``rows`` normally distributed rows of four numbers, the same every time."""
    torch = pytest.importorskip("torch")
    return lambda rows: torch.randn(rows, 4, generator=torch.Generator().manual_seed(7))
