"""Execution providers: which ones to ask ONNX Runtime for, with which options, and whether it really took them."""

from collections.abc import Mapping, Sequence

from service.errors import NotReady

CPU = "CPUExecutionProvider"
NAMES: Mapping[str, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": CPU,
}
_CUDA_OPTIONS = {
    # DEFAULT and EXHAUSTIVE search for algorithms at every new shape, which costs hundreds of milliseconds each time.
    "cudnn_conv_algo_search": "HEURISTIC",
    # Doubling, the default, keeps up to twice the memory that is needed for as long as the session lives.
    "arena_extend_strategy": "kSameAsRequested",
}

ProviderPlan = list[tuple[str, dict[str, str]]]


def plan_providers(policy: str, available: Sequence[str]) -> ProviderPlan:
    """What to ask for, first choice first. ``policy`` is ``auto`` or a required provider; CPU runs what others cannot.

    ``auto`` takes CUDA where ONNX Runtime has it. TensorRT builds an engine for each graph, which takes minutes, so it
    is used only where it is asked for. Raises NotReady if the required provider is not in this build of ONNX Runtime.
    """
    wanted = ("cuda" if NAMES["cuda"] in available else "cpu") if policy == "auto" else policy
    if NAMES[wanted] not in available:
        have = ", ".join(k for k, v in NAMES.items() if v in available)
        raise NotReady(
            f"provider {wanted!r} is required, but this ONNX Runtime has only {have}: install onnxruntime-gpu "
            "instead of onnxruntime, or set SLUICE_PROVIDER=auto"
        )
    names = {"tensorrt": ("tensorrt", "cuda"), "cuda": ("cuda",), "cpu": ()}[wanted]
    chosen = [(NAMES[n], dict(_CUDA_OPTIONS) if n == "cuda" else {}) for n in names if NAMES[n] in available]
    return [*chosen, (CPU, {})]


def check_provider(policy: str, active: Sequence[str]) -> str:
    """The provider that a new session really uses. Raises NotReady where a required one fell back to another."""
    if policy != "auto" and active[0] != NAMES[policy]:
        raise NotReady(
            f"provider {policy!r} is required, but the session came up on {active[0]}: the libraries of CUDA, cuDNN or "
            "TensorRT are missing or of the wrong version (the log of ONNX Runtime names the file)"
        )
    return active[0]
