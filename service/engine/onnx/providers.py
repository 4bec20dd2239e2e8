"""Execution providers: which ones to ask ONNX Runtime for, with which options, and whether it really uses them.

All of this is decided, and tested, without a GPU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_store.graph import Tensor
from service.errors import NotReady

CPU = "CPUExecutionProvider"
NAMES: Mapping[str, str] = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider", "cpu": CPU}
GPU_LANES = 2
"""How many batches are in flight on a GPU: one is copied while the other is computed."""

NEVER_ON_GPU = (
    "the GPU acceptance (make test-gpu) has not run yet: no part of Sluice has been proved on a GPU, see docs/gpu.md"
)
"""A server that uses a GPU logs this, until `make test-gpu` has passed somewhere."""

ProviderPlan = list[tuple[str, dict[str, str]]]


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """How a GPU is used.

    ``tf32`` multiplies with 10 bits of mantissa instead of 23, which is faster on Ampere and later. It is off, because
    golden samples come from full float32 and its error is about 1e-3. A model that passes its samples with it may use
    it. ``engine_cache`` is a folder for what TensorRT builds; None: it builds anew at each start.
    """

    device_id: int = 0
    mem_bytes: int = 0
    """The most device memory that a session may take; 0: no limit."""
    cuda_graphs: bool = False
    tf32: bool = False
    engine_cache: Path | None = None


def choose_provider(policy: str, available: Sequence[str]) -> str:
    """The provider that ``policy`` (``auto``, or a required one) means in this build of ONNX Runtime.

    ``auto`` is CUDA if ONNX Runtime has it. TensorRT takes minutes to build an engine for a graph, so it is used only
    if it is required. Raises NotReady if the required provider is not in this build.
    """
    wanted = ("cuda" if NAMES["cuda"] in available else "cpu") if policy == "auto" else policy
    if NAMES[wanted] not in available:
        have = ", ".join(k for k, v in NAMES.items() if v in available)
        raise NotReady(
            f"provider {wanted!r} is required, but this ONNX Runtime has only {have}: install onnxruntime-gpu "
            "instead of onnxruntime, or set SLUICE_PROVIDER=auto"
        )
    return wanted


def plan_providers(
    policy: str, available: Sequence[str], gpu: GpuOptions = GpuOptions(), profile: Mapping[str, str] | None = None
) -> ProviderPlan:
    """The providers to ask for, the first choice first. The CPU runs what the others cannot. Raises NotReady.

    ``profile`` is what ``profile_options`` returned for the graph.
    """
    wanted = choose_provider(policy, available)
    names = {"tensorrt": ("tensorrt", "cuda"), "cuda": ("cuda",), "cpu": ()}[wanted]
    options = {
        "tensorrt": _tensorrt_options(gpu) | dict(profile or {}),
        # Graphs are captured only where CUDA runs the whole model, so not beside TensorRT.
        "cuda": _cuda_options(gpu, gpu.cuda_graphs and wanted == "cuda"),
    }
    return [*((NAMES[n], options[n]) for n in names if NAMES[n] in available), (CPU, {})]


def _cuda_options(gpu: GpuOptions, cuda_graph: bool) -> dict[str, str]:
    options = {
        "device_id": str(gpu.device_id),
        # DEFAULT and EXHAUSTIVE search for algorithms at every new shape, each time for hundreds of milliseconds.
        "cudnn_conv_algo_search": "HEURISTIC",
        # The default doubles the memory each time, so a session may keep up to twice of what it needs.
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": str(int(gpu.tf32)),
        "enable_cuda_graph": str(int(cuda_graph)),
    }
    if gpu.mem_bytes:
        options["gpu_mem_limit"] = str(gpu.mem_bytes)
    return options


def _tensorrt_options(gpu: GpuOptions) -> dict[str, str]:
    options = {"device_id": str(gpu.device_id)}
    if gpu.engine_cache is not None:
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(gpu.engine_cache),
            # The times of kernels, shared by all models: the next engine is built in a fraction of the time.
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(gpu.engine_cache.parent),
        }
    return options


def profile_options(inputs: Sequence[Tensor], buckets: Sequence[int]) -> dict[str, str]:
    """The range of batch sizes for which TensorRT builds its engine, which is fastest at the largest bucket.

    Without it TensorRT builds for the first shape, and again for minutes at each shape outside what it has seen. Empty
    if an axis besides the batch is open: its range is not known, and TensorRT wants the ranges of all dynamic inputs or
    of none.
    """
    batched = [t for t in inputs if t.batch_axis == 0]
    fixed = all(isinstance(size, int) for t in inputs for size in t.row_shape)
    if not batched or not fixed or any("," in t.name for t in batched):
        return {}
    return {
        f"trt_profile_{name}_shapes": ",".join(f"{t.name}:{'x'.join(map(str, (rows, *t.row_shape)))}" for t in batched)
        for name, rows in (("min", buckets[0]), ("opt", buckets[-1]), ("max", buckets[-1]))
    }


def count_lanes(policy: str, available: Sequence[str], cores: int) -> int:
    """The default number of lanes: two on a GPU, one for each core on the CPU."""
    return cores if runs_on_cpu(policy, available) else GPU_LANES


def count_devices(visible: str | None, installed: int) -> int:
    """How many GPUs CUDA shows to this process: all that are installed, or those in ``visible``.

    ``visible`` is `CUDA_VISIBLE_DEVICES`. As in CUDA, names after one that does not exist do not count.
    """
    if visible is None:
        return installed
    named = [name.strip() for name in visible.split(",")]
    exist = [(name.isdigit() and int(name) < installed) or name.startswith(("GPU-", "MIG-")) for name in named]
    return exist.index(False) if False in exist else len(exist)


def choose_device(wanted: int | None, index: int | None, devices: int) -> int:
    """The GPU of a worker, as CUDA counts: the one that the settings want, or else the workers take turns.

    ``index`` counts the workers from 0; None: it is not known, and all use the first GPU.
    """
    return wanted if wanted is not None else (index or 0) % max(1, devices)


def runs_on_cpu(policy: str, available: Sequence[str]) -> bool:
    """Whether sessions will run on the CPU. True also if the policy cannot be met, so that none will run."""
    try:
        return choose_provider(policy, available) == "cpu"
    except NotReady:
        return True


def check_provider(policy: str, active: Sequence[str]) -> str:
    """The provider that a new session really uses. Raises NotReady if it is not the required one."""
    if policy != "auto" and active[0] != NAMES[policy]:
        raise NotReady(
            f"provider {policy!r} is required, but the session came up on {active[0]}: the libraries of CUDA, cuDNN or "
            "TensorRT are missing or of the wrong version (the log of ONNX Runtime names the file)"
        )
    return active[0]
