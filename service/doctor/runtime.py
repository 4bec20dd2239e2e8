"""Checks of what runs models: the provider of a real session, and whether the request path is compiled."""

from collections.abc import Callable, Iterator

from onnx import TensorProto, helper

from model_store.errors import StoreError
from service.compiled import find_stale, is_compiled
from service.doctor.finding import Finding
from service.engine.onnx.providers import CPU, NAMES, GpuOptions
from service.engine.onnx.session import Session, available_providers
from service.errors import ServiceError
from service.metrics.devices import read_driver, read_gpus
from service.settings import Settings


def make_graph() -> bytes:
    """A graph that multiplies a 2 x 2 matrix by itself."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "tiny", tensors[:1], tensors[1:])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])
    content: bytes = model.SerializeToString()
    return content


def run_session(policy: str) -> str:
    """The provider on which a session with this policy really runs. Raises what a server would raise."""
    import numpy as np

    session = Session(make_graph(), policy=policy, gpu=GpuOptions(), max_rows=1)
    session.run({"x": np.ones((2, 2), np.float32)})
    return session.provider


def check_provider(
    settings: Settings,
    run: Callable[[str], str] = run_session,
    list_available: Callable[[str], list[str]] = available_providers,
    count_gpus: Callable[[], int] = lambda: len(read_gpus()),
) -> Iterator[Finding]:
    """Run a tiny session with the provider of the settings."""
    import onnxruntime

    release = f"ONNX Runtime {onnxruntime.__version__}"
    try:
        active = run(settings.provider)
    except (ServiceError, StoreError, RuntimeError) as error:
        advice = "see the reason; SLUICE_PROVIDER=auto takes the CPU where nothing else works"
        yield Finding("provider", "wrong", f"{release} cannot run on {settings.provider!r}: {error}", advice)
        return
    available = list_available(settings.provider)
    gpus, has_cuda = count_gpus(), NAMES["cuda"] in available
    text = f"{release} runs a session on {active}"
    if active == CPU and gpus and settings.provider != "cpu":
        why = "its libraries of CUDA or cuDNN do not load" if has_cuda else "this build has no CUDA"
        advice = (
            "install CUDA 12 and cuDNN 9; the log of ONNX Runtime names the file that it misses"
            if has_cuda
            else "pip uninstall -y onnxruntime, then pip install 'sluice-serving[gpu]'"
        )
        yield Finding("provider", "slow", f"{text}, although there is a GPU: {why}", advice)
    else:
        also = f"; {gpus} GPU, driver {read_driver()}" if gpus else ""
        yield Finding("provider", "ok", text + also)


def check_request_path(settings: Settings) -> Iterator[Finding]:
    """Whether the modules of the request path are compiled, from their present sources."""
    stale = next(find_stale(), None)
    if stale is not None:
        yield Finding(
            "request path",
            "wrong",
            f"{stale} has changed since it was compiled, so a server does not start",
            "make compiled, or make plain",
        )
    elif is_compiled():
        yield Finding("request path", "ok", "compiled")
    else:
        yield Finding(
            "request path",
            "slow",
            "interpreted: a server answers fewer short requests a second than with compiled code",
            "make compiled, or build a wheel with HATCH_BUILD_HOOKS_ENABLE=1; it needs a C compiler",
        )
    if not settings.fast_path:
        text = "SLUICE_FAST_PATH=false: all requests pass through ASGI"
        yield Finding("request path", "slow", text, "unset SLUICE_FAST_PATH")
