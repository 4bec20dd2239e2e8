"""Execution providers: the wanted one is taken, and never another one silently."""

from pathlib import Path

import pytest

from model_store.graph import Tensor
from service.engine.onnx.providers import (
    CPU,
    NAMES,
    GpuOptions,
    check_provider,
    choose_device,
    choose_provider,
    count_devices,
    count_lanes,
    plan_providers,
    profile_options,
)
from service.errors import NotReady

CUDA, TENSORRT = NAMES["cuda"], NAMES["tensorrt"]
EVERYTHING = [TENSORRT, CUDA, CPU]


@pytest.mark.parametrize(
    ("policy", "available", "have"),
    [("cuda", [CPU], "cpu"), ("tensorrt", [CPU], "cpu"), ("tensorrt", [CUDA, CPU], "cuda, cpu")],
)
def test_missing_provider_is_refused_with_what_to_install(policy: str, available: list[str], have: str) -> None:
    """A required provider that this build lacks is no silent CPU run: the text says what there is and what to do."""
    with pytest.raises(NotReady) as caught:
        plan_providers(policy, available)
    assert str(caught.value) == (
        f"provider '{policy}' is required, but this ONNX Runtime has only {have}: "
        "install onnxruntime-gpu instead of onnxruntime, or set SLUICE_PROVIDER=auto"
    )


@pytest.mark.parametrize(("policy", "active"), [("cuda", [CPU]), ("tensorrt", [CUDA, CPU]), ("tensorrt", [CPU])])
def test_session_that_fell_back_is_refused(policy: str, active: list[str]) -> None:
    """A session that came up on another provider than the required one fails, and both are named."""
    with pytest.raises(NotReady, match=f"provider '{policy}' is required, but the session came up on {active[0]}"):
        check_provider(policy, active)


@pytest.mark.parametrize(
    ("policy", "available", "planned"),
    [
        ("auto", [CPU], [CPU]),
        ("auto", [CUDA, CPU], [CUDA, CPU]),
        ("auto", EVERYTHING, [CUDA, CPU]),
        ("cpu", EVERYTHING, [CPU]),
        ("cuda", EVERYTHING, [CUDA, CPU]),
        ("tensorrt", EVERYTHING, [TENSORRT, CUDA, CPU]),
        ("tensorrt", [TENSORRT, CPU], [TENSORRT, CPU]),
    ],
)
def test_plan_has_the_wanted_provider_and_the_cpu_last(policy: str, available: list[str], planned: list[str]) -> None:
    """``auto`` takes CUDA if it is there. TensorRT runs only if it is asked for. The CPU runs what others cannot."""
    assert [name for name, _ in plan_providers(policy, available)] == planned


@pytest.mark.parametrize(
    ("policy", "active"), [("auto", [CPU]), ("auto", [CUDA, CPU]), ("cpu", [CPU]), ("cuda", [CUDA, CPU])]
)
def test_provider_that_runs_is_told(policy: str, active: list[str]) -> None:
    """The provider that really runs is reported, also under ``auto``."""
    assert check_provider(policy, active) == active[0]


def test_options_of_one_plan_are_its_own() -> None:
    """A plan may be changed without changing the next one."""
    plan_providers("cuda", EVERYTHING)[0][1]["cudnn_conv_algo_search"] = "EXHAUSTIVE"
    assert plan_providers("cuda", EVERYTHING)[0][1]["cudnn_conv_algo_search"] == "HEURISTIC"


def options_of(policy: str, name: str, gpu: GpuOptions, **more: dict[str, str]) -> dict[str, str]:
    return dict(plan_providers(policy, EVERYTHING, gpu, **more))[NAMES[name]]


BY_DEFAULT = {
    "device_id": "0",
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
    "use_tf32": "0",
    "enable_cuda_graph": "0",
}
ALL = GpuOptions(device_id=1, mem_bytes=4 << 30, cuda_graphs=True, tf32=True)
ASKED_FOR = {"device_id": "1", "use_tf32": "1", "enable_cuda_graph": "1", "gpu_mem_limit": str(4 << 30)}


@pytest.mark.parametrize(
    ("policy", "name", "gpu", "options"),
    [
        ("cuda", "cuda", GpuOptions(), BY_DEFAULT),
        ("auto", "cuda", ALL, BY_DEFAULT | ASKED_FOR),
        ("tensorrt", "cuda", GpuOptions(cuda_graphs=True), BY_DEFAULT),
        ("tensorrt", "tensorrt", GpuOptions(), {"device_id": "0"}),
        ("cpu", "cpu", ALL, {}),
    ],
    ids=["by default", "settings", "CUDA beside TensorRT", "TensorRT without a cache", "CPU"],
)
def test_options_of_a_provider(policy: str, name: str, gpu: GpuOptions, options: dict[str, str]) -> None:
    """By default algorithms are looked up, memory grows as asked, float32 is whole, and CUDA alone captures graphs."""
    assert options_of(policy, name, gpu) == options


@pytest.mark.parametrize(
    ("devices", "expected"),
    [(0, [0, 0, 0, 0]), (1, [0, 0, 0, 0]), (2, [0, 1, 0, 1]), (8, [0, 1, 2, 3])],
)
def test_workers_take_turns_over_the_gpus(devices: int, expected: list[int]) -> None:
    """Worker i gets GPU i modulo their number, or the GPU of the settings; without a place it gets GPU 0."""
    assert [choose_device(None, index, devices) for index in range(4)] == expected
    assert [choose_device(5, index, devices) for index in range(4)] == [5, 5, 5, 5]
    assert choose_device(None, None, devices) == 0


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        (None, 8),
        ("", 0),
        ("0", 1),
        ("3, 5", 2),
        ("2,9,1", 1),
        ("-1", 0),
        ("1,-1,0", 1),
        ("GPU-8932f937,GPU-0a1b", 2),
        ("MIG-1d2f", 1),
    ],
)
def test_visible_gpus_count(visible: str | None, devices: int) -> None:
    """Of 8 GPUs those count that CUDA_VISIBLE_DEVICES names, up to the first that does not exist."""
    assert count_devices(visible, 8) == devices


def test_tensorrt_keeps_what_it_built() -> None:
    """Engines and kernel timings are cached where a folder is given; the timings are shared by all models."""
    cache = GpuOptions(engine_cache=Path("/cache/digest"))
    assert options_of("tensorrt", "tensorrt", cache, profile={"trt_profile_min_shapes": "x"}) == {
        "device_id": "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "/cache/digest",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": "/cache",
        "trt_profile_min_shapes": "x",
    }


def tensor(name: str, *shape: int | str, batch_axis: int | None = 0) -> Tensor:
    return Tensor(name=name, datatype="FP32", shape=shape, batch_axis=batch_axis)


def test_profile_spans_the_buckets() -> None:
    """TensorRT builds one engine for all buckets, fastest at the largest; inputs without a batch need no range."""
    inputs = [tensor("image", "batch", 3, 224, 224), tensor("mask", "batch", 7), tensor("k", 2, batch_axis=None)]
    assert profile_options(inputs, (1, 2, 4, 8)) == {
        "trt_profile_min_shapes": "image:1x3x224x224,mask:1x7",
        "trt_profile_opt_shapes": "image:8x3x224x224,mask:8x7",
        "trt_profile_max_shapes": "image:8x3x224x224,mask:8x7",
    }


@pytest.mark.parametrize(
    "inputs",
    [
        [tensor("x", "batch", "length")],
        [tensor("x", "batch", 3), tensor("y", "batch", "length")],
        [tensor("x", 2, 2, batch_axis=None)],
        [tensor("x,y", "batch", 3)],
        [],
    ],
)
def test_no_profile_where_a_range_is_not_known(inputs: list[Tensor]) -> None:
    """An open axis besides the batch has no known range; TensorRT wants a profile of all inputs or of none."""
    assert profile_options(inputs, (1, 8)) == {}


@pytest.mark.parametrize(
    ("policy", "available", "lanes"),
    [
        ("auto", EVERYTHING, 2),
        ("auto", [CPU], 16),
        ("cpu", EVERYTHING, 16),
        ("cuda", EVERYTHING, 2),
        ("cuda", [CPU], 16),
    ],
)
def test_a_gpu_has_two_lanes_and_the_cpu_one_a_core(policy: str, available: list[str], lanes: int) -> None:
    """Two batches in flight keep a GPU busy; a CPU needs one a core. A missing provider is reported by the load."""
    assert count_lanes(policy, available, cores=16) == lanes


def test_required_provider_stands_for_itself() -> None:
    """A required provider is that one; ``auto`` is never TensorRT."""
    chosen = {policy: choose_provider(policy, EVERYTHING) for policy in ("auto", "tensorrt", "cuda", "cpu")}
    assert chosen == {"auto": "cuda", "tensorrt": "tensorrt", "cuda": "cuda", "cpu": "cpu"}
