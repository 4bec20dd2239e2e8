"""Sessions of ONNX Runtime."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from model_store.datatypes import DATATYPES
from model_store.errors import BadGraph, first_line
from service import worker as worker_module
from service.engine.onnx import session as session_module
from service.engine.onnx.providers import CPU, NAMES, NEVER_ON_GPU, GpuOptions
from service.engine.onnx.session import Session, available_providers, host_allocator
from service.engine.tensors import Signature
from service.errors import InvalidInput, NotReady
from service.metrics.devices import Gpu
from service.models import loading
from service.settings import Settings
from tests.support.models import graphs
from tests.support.models.triton_models import model_of
from tests.support.servers import ClosingWorker
from tests.support.signatures import graph_of


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b"", "it is empty: copy it again"),
        (b"not onnx", "it is not an ONNX file, or not complete: copy it again"),
        (graphs.double()[:-20], "it is not an ONNX file, or not complete: copy it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "run `git lfs pull`"),
        (b"<!DOCTYPE html><html></html>", "it is a page of HTML"),
        (b"PK\x03\x04" + bytes(60), "a file of PyTorch: `sluice export`"),
        (b"\x1c\0\0\0TFL3" + bytes(60), "a model of TensorFlow Lite: convert it to ONNX"),
    ],
    ids=["empty", "text", "cut", "pointer", "page", "torch", "tflite"],
)
def test_graph_that_cannot_be_read_is_not_ready(content: bytes, advice: str) -> None:
    """Bytes that are no ONNX graph end in one line that says what they are and what to do, whatever ONNX Runtime
    raises."""
    with pytest.raises(BadGraph, match=rf"^ONNX Runtime cannot load the graph: .+: .*{advice}") as caught:
        Session(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "error"),
    [({"x": np.zeros((1, 1), np.int64) + 9}, "indices element out of data bounds"), ({}, "missing from input feed")],
)
def test_failure_of_a_run_is_raised(inputs: dict[str, np.ndarray], error: str) -> None:
    """The error of a run reaches the caller, who decides whose fault it was; the session goes on working."""
    session = Session(graphs.look_up())
    with pytest.raises(Exception, match=error):
        session.run(inputs)
    assert session.run({"x": np.array([[2]], np.int64)})[0].tolist() == [[12.0]]


def test_type_that_no_request_can_carry_is_refused() -> None:
    """A tensor of a type outside the protocol is named with its type."""
    content = graphs.echo(TensorProto.FLOAT8E4M3FN)
    with pytest.raises(BadGraph, match=r"tensor 'x' has the type tensor\(float8e4m3fn\), which requests cannot carry"):
        Session(content).describe("model.onnx")


def test_outputs_come_in_their_order() -> None:
    """Outputs are in the order of the names; provider and time to load are told; the CPU has ordinary memory."""
    session = Session(graphs.add(), policy="cpu")
    one = np.ones((2, 2), np.float32)
    total, negative = session.run({"b": 3 * one, "a": one})
    assert (session.provider, session.on_cpu, session.output_names) == (CPU, True, ["total", "negative"])
    assert host_allocator("cpu") is np.empty
    np.testing.assert_array_equal(total, 4 * one)
    np.testing.assert_array_equal(negative, -4 * one)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (graphs.double, ("batch", 3)),
        (lambda: graphs.double("width"), ("batch", "width")),
        (graphs.add, ("batch", 2)),
        (graphs.one_at_a_time, (2, 2)),
    ],
)
def test_signature_is_read_from_the_graph(make: Callable[[], bytes], shape: tuple[int | str, ...]) -> None:
    """Names, sizes and datatypes are the graph's. The batch axis is left to the row analysis."""
    graph = Session(make()).describe("model.onnx")
    assert (graph.file, Signature(graph).batches) == ("model.onnx", False)
    assert {t.shape for t in (*graph.inputs, *graph.outputs)} == {shape}


@pytest.mark.parametrize(("x", "y"), [("n", "n"), (None, None), ("n", "m"), ("?", None)])
def test_names_of_axes_do_not_prevent_batches(x: str | None, y: str | None) -> None:
    """Rows that are proved independent are a batch, whatever the axes of inputs and outputs are called."""
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = graph_of(model_of([node], [("x", "FP32", [x, 2])], [("y", "FP32", [y, 2])]))
    assert Signature(graph).batches
    assert all(isinstance(t.shape[0], str) and t.shape[0] not in ("", "?") for t in graph.inputs)


ONNX_TYPES = {"BYTES": "STRING", "BF16": "BFLOAT16", "FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE"}


@pytest.mark.parametrize("bound", [False, True], ids=["plain", "bound buffers"])
@pytest.mark.parametrize("name", DATATYPES)
def test_every_datatype_goes_in_and_out(name: str, bound: bool) -> None:
    """A graph of each datatype is described by the protocol's name and gives back what it got."""
    session = Session(graphs.echo(TensorProto.DataType.Value(ONNX_TYPES.get(name, name))), bound=bound)
    assert (session._bindings is not None) == (name == "BF16" or (bound and name != "BYTES"))
    graph = session.describe("model.onnx")
    assert (graph.inputs[0].datatype, graph.outputs[0].datatype) == (name, name)
    array = np.array([["", "é"]], object) if name == "BYTES" else np.array([[0, 1]]).astype(DATATYPES[name].dtype)
    [again] = session.run({"x": array})
    assert (again.dtype, again.tolist()) == (array.dtype, array.tolist())


@pytest.mark.parametrize(("text", "line"), [("one\ntwo", "one"), ("\n  one ", "one"), ("", "RuntimeError")])
def test_first_line_of_an_error_is_never_empty(text: str, line: str) -> None:
    """A reason is one line; an error without a text gives its type."""
    assert first_line(RuntimeError(text)) == line


class Pretence:
    """Pretends for the choice of providers that there is a GPU: keeps each plan, and opens sessions on the CPU.

    ``active`` is what the sessions report as their providers. With ``refuses_graphs`` the model cannot be captured.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, active: list[str], refuses_graphs: bool = False) -> None:
        self.plans: list[Any] = []
        self._active, self._refuses_graphs, self._open = active, refuses_graphs, session_module.open_session
        monkeypatch.setattr(session_module, "open_session", self.open)
        monkeypatch.setattr(session_module, "available_providers", lambda policy: list(NAMES.values()))

    def open(self, content: bytes, options: Any, plan: Any) -> Any:
        if plan == [CPU]:
            return self._open(content, options, plan)
        self.plans.append(plan)
        if self._refuses_graphs and dict(plan)[NAMES["cuda"]]["enable_cuda_graph"] == "1":
            raise NotReady("This session cannot use the graph capture feature as requested by the user")
        session = self._open(content, options, [CPU])
        session.get_providers = lambda: self._active
        return session


ON_CUDA = [NAMES["cuda"], CPU]


def test_session_on_cuda_runs_through_bound_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU a batch goes through buffers that stay; graphs are captured only where they were asked for."""
    Pretence(monkeypatch, ON_CUDA)
    session = Session(graphs.double(), policy="cuda")
    assert (session.provider, session.on_cpu, session.has_cuda_graphs) == (NAMES["cuda"], False, False)
    assert (session.device, session.place) == ("cuda:0", "CUDAExecutionProvider (cuda:0)")
    assert session._bindings is not None
    assert Session(graphs.double(), policy="cuda", gpu=GpuOptions(cuda_graphs=True)).has_cuda_graphs


@pytest.mark.parametrize(
    ("content", "refuses_graphs", "reason"),
    [
        (graphs.double(), True, "This session cannot use the graph capture feature"),
        (graphs.triple_bf16(), False, "a graph with tensors of BF16"),
    ],
    ids=["a part on the CPU", "BF16, which has no buffers at fixed addresses"],
)
def test_graph_that_cannot_be_captured_serves_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, content: bytes, refuses_graphs: bool, reason: str
) -> None:
    """The model serves on CUDA without CUDA graphs, and the log says why."""
    pretence = Pretence(monkeypatch, ON_CUDA, refuses_graphs)
    with caplog.at_level(logging.WARNING):
        session = Session(content, policy="cuda", gpu=GpuOptions(cuda_graphs=True))
    assert [dict(plan)[NAMES["cuda"]]["enable_cuda_graph"] for plan in pretence.plans] == ["1", "0"]
    assert (session.provider, session.on_cpu, session.has_cuda_graphs) == (NAMES["cuda"], False, False)
    assert f"no CUDA graphs: {reason}" in caplog.text


@pytest.mark.parametrize("graphs_wanted", [False, True])
def test_required_cuda_that_fell_back_is_refused(monkeypatch: pytest.MonkeyPatch, graphs_wanted: bool) -> None:
    """A session that should be on CUDA and came up on the CPU does not serve."""
    Pretence(monkeypatch, [CPU])
    with pytest.raises(NotReady, match="provider 'cuda' is required, but the session came up on CPUExecutionProvider"):
        Session(graphs.double(), policy="cuda", gpu=GpuOptions(cuda_graphs=graphs_wanted))


def test_auto_that_fell_back_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Where CUDA is installed but does not work ``auto`` serves on the CPU, with a warning and without buffers."""
    Pretence(monkeypatch, [CPU])
    with caplog.at_level(logging.WARNING):
        session = Session(graphs.double(), policy="auto", gpu=GpuOptions(cuda_graphs=True))
    assert (session.on_cpu, session.has_cuda_graphs, session._bindings) == (True, False, None)
    assert "has cuda, but the session came up on the CPU" in caplog.text
    assert session.run({"x": np.ones((1, 3), np.float32)})[0].tolist() == [[2.0] * 3]


def test_tensorrt_gets_the_buckets_and_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The engine covers every batch up to the largest. Another file or another ONNX Runtime never finds it."""
    pretence = Pretence(monkeypatch, [NAMES["tensorrt"], *ON_CUDA])
    for content in (graphs.double(), graphs.double(), graphs.double(4)):
        Session(content, policy="tensorrt", max_rows=24, gpu=GpuOptions(engine_cache=tmp_path))
    first, again, other = (dict(plan)[NAMES["tensorrt"]] for plan in pretence.plans)
    assert (first["trt_profile_min_shapes"], first["trt_profile_max_shapes"]) == ("x:1x3", "x:24x3")
    folders = [Path(options["trt_engine_cache_path"]) for options in (first, again, other)]
    assert folders[0] == folders[1] != folders[2]
    assert all(f.is_dir() and f.parent == tmp_path and f.name.endswith(ort.__version__) for f in folders)
    assert first["trt_timing_cache_path"] == other["trt_timing_cache_path"] == str(tmp_path)


def test_libraries_of_cuda_are_sought_unless_only_the_cpu_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime finds the libraries in the nvidia wheels before the first session, once."""
    calls = []
    monkeypatch.setattr(ort, "preload_dlls", lambda: calls.append("preload"))
    session_module._load_cuda_libraries.cache_clear()
    available_providers("cpu")
    assert calls == []
    for policy in ("auto", "cuda", "auto"):
        assert available_providers(policy) == ort.get_available_providers()
    assert calls == ["preload"]
    session_module._load_cuda_libraries.cache_clear()


def test_size_that_no_machine_has_is_the_callers_fault() -> None:
    """A request that asks for terabytes has sent a wrong number; one that asks for less may lack memory here."""
    node = helper.make_node("ConstantOfShape", ["x"], ["y"])
    content = graphs.build([node], [("x", TensorProto.INT64, [1])], [("y", TensorProto.FLOAT, ["n"])])
    with pytest.raises(InvalidInput, match="they ask for a tensor of 4000000000000 bytes"):
        Session(content).run({"x": np.array([10**12])})


@pytest.mark.parametrize(
    ("gpus", "given", "device"), [(0, None, 0), (1, None, 0), (2, None, 1), (8, None, 3), (8, 6, 6)]
)
def test_worker_opens_its_sessions_on_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    gpus: int,
    given: int | None,
    device: int,
) -> None:
    """The fourth worker uses the GPU of its place or of the settings, and says once that nothing is proved on GPUs."""
    pretence = Pretence(monkeypatch, ON_CUDA)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(worker_module, "available_providers", lambda policy: list(NAMES.values()))
    monkeypatch.setattr(worker_module, "read_gpus", lambda: [Gpu(i, "a GPU", 0, 1) for i in range(gpus)])
    settings = Settings(store=tmp_path, provider="cuda", gpu_device=given)

    async def make() -> Settings:
        worker = ClosingWorker(settings, 3)
        await worker.start()
        await worker.stop()
        return worker.registry.settings

    with caplog.at_level(logging.WARNING):
        placed = asyncio.run(make())
    assert [record.getMessage() for record in caplog.records].count(NEVER_ON_GPU) == 1
    session = loading._opener(graphs.double(), {}, placed, 8)(1)
    assert session.device == f"cuda:{device}"
    assert dict(pretence.plans[-1])[NAMES["cuda"]]["device_id"] == str(device)
