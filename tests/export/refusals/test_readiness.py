"""The message of a refusal says what to change in the module."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from export import ExportError, ExportSpec, NotPublished, publish
from model_store import Store

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402  # needs torch
from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402

X = torch.linspace(-2.0, 2.0, 24).reshape(4, 6)


class Body(torch.nn.Module):
    """A module of one function, and of what it needs."""

    def __init__(self, body: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.body = body
        for name, part in parts.items():
            if isinstance(part, torch.Tensor):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Any) -> Any:
        return self.body(self, x)


class Packed(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 4, batch_first=True)

    def forward(self, x: Any, lengths: Any) -> Any:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.lstm(packed)[1][0][-1]


class AlwaysDrops(torch.nn.Dropout):
    def train(self, mode: bool = True) -> "AlwaysDrops":
        return super().train(True)


class InNumpy(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Any) -> Any:
        return torch.from_numpy(np.sort(x.detach().numpy(), axis=1))


def count(module: Any, x: Any) -> Any:
    module.calls += 1
    return x + module.calls


def remember(module: Any, x: Any) -> Any:
    module.before = module.before * 0.9 + float(x.abs().mean())
    return x + module.before


def quantised() -> Any:
    with warnings.catch_warnings(action="ignore"):  # torch will do without them one day
        return torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.Linear(6, 3)), {torch.nn.Linear})


CASES: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "dropout": (
        lambda: Body(lambda _, x: functional.dropout(x, 0.5)),
        {},
        r"draws random numbers \(Dropout\).*training",
    ),
    "dropout kept on": (AlwaysDrops, {}, r"draws random numbers \(Dropout\)"),
    "noise": (lambda: Body(lambda _, x: x + torch.rand_like(x)), {}, r"\(aten.rand_like\).*make the noise an input"),
    "noise of NumPy": (lambda: Body(lambda _, x: x * np.random.rand()), {}, "random numbers .of Python or NumPy"),
    "counter": (lambda: Body(count, calls=torch.zeros(1)), {}, "keeps a state.*buffer '.*calls' changes"),
    "attribute": (lambda: Body(remember, before=0.0), {}, "keeps a state.*an attribute of the module"),
    "bfloat16": (lambda: torch.nn.Linear(6, 3).bfloat16(), {"inputs": {"x": X.bfloat16()}}, "cast to float32"),
    "bfloat16 inside": (
        lambda: Body(lambda _, x: functional.conv1d(x[:, None].bfloat16(), torch.ones(2, 1, 3).bfloat16()).float()),
        {},
        "cast to float32",
    ),
    "complex input": (
        lambda: Body(lambda _, x: x.abs()),
        {"inputs": {"x": torch.view_as_complex(X.reshape(4, 3, 2))}},
        "complex numbers.*torch.view_as_real",
    ),
    "complex output": (
        lambda: Body(lambda _, x: torch.fft.rfft(x)),
        {},
        "output 'y' is of complex numbers.*view_as_real",
    ),
    "complex operator": (
        lambda: Body(lambda _, x: torch.exp(1j * x).real),
        {},
        r"cos and sin instead of exp\(1j \* x\)",
    ),
    "sparse": (
        lambda: Body(lambda module, x: torch.sparse.mm(module.w, x.T).T, w=torch.eye(6).to_sparse()),
        {},
        r"buffer '.*w' is sparse.*\.to_dense\(\)",
    ),
    "lazy": (lambda: torch.nn.LazyLinear(3), {}, "has no values yet.*load trained weights"),
    "quantised": (quantised, {}, "quantised modules cannot be exported.*--precision int8"),
    "numpy": (lambda: Body(lambda _, x: InNumpy.apply(x)), {}, r"aten\.sort.*an operator has no ONNX form"),
    "packed": (
        Packed,
        {
            "inputs": {"x": torch.randn(4, 7, 3), "lengths": torch.tensor([7, 3, 5, 1])},
            "dynamic": {"x": {0: "batch", 1: "time"}, "lengths": {0: "batch"}},
            "padded": {"x": "lengths"},
        },
        "mask the padding instead",
    ),
    "broken": (lambda: Body(lambda _, x: x[:, 9]), {}, "the PyTorch module itself fails"),
}
FAST = ("dropout", "counter", "attribute", "noise of NumPy", "bfloat16", "complex input", "sparse", "lazy")


def refuse(name: str, store: Store) -> None:
    make, facts, complaint = CASES[name]
    fields: dict[str, Any] = {"inputs": {"x": X}, "outputs": ("y",), "batches": (1, 2), "seeds": (0,), **facts}
    with torch.random.fork_rng(devices=[]), pytest.raises(NotPublished, match=f"(?s){complaint}"):
        publish(ExportSpec(name="refused", task="tensors", module=make(), **fields), store)
    assert not store.root.exists()


@pytest.mark.parametrize("name", FAST)
def test_refusal_says_what_to_change(name: str, store: Store, one_thread: None) -> None:
    """The message has the cause and what to change, and nothing is published."""
    refuse(name, store)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in FAST])
def test_refusal_says_what_to_change_too(name: str, store: Store, one_thread: None) -> None:
    """The same holds where an exporter has to run first."""
    refuse(name, store)


def test_module_is_left_as_it_was(store: Store, one_thread: None) -> None:
    """Buffers that a run changes are restored, and no random generator moves."""

    def replace(module: Any, x: Any) -> Any:
        module.shape = module.shape + x.shape[0]
        return count(module, x)

    module = Body(replace, calls=torch.zeros(1), shape=torch.zeros(2))
    torch_before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    with pytest.raises(ExportError):
        publish(ExportSpec(name="m", task="tensors", module=module, inputs={"x": X}, outputs=("y",)), store)
    assert (module.calls.tolist(), module.shape.tolist()) == ([0], [0, 0])
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
