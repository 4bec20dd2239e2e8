"""Execution providers: what is asked for, and that nothing else is taken silently."""

import pytest

from service.engine.providers import CPU, NAMES, check_provider, plan_providers
from service.errors import NotReady

CUDA, TENSORRT = NAMES["cuda"], NAMES["tensorrt"]
EVERYTHING = [TENSORRT, CUDA, CPU]


@pytest.mark.parametrize(
    ("policy", "available", "have"),
    [("cuda", [CPU], "cpu"), ("tensorrt", [CPU], "cpu"), ("tensorrt", [CUDA, CPU], "cuda, cpu")],
)
def test_required_provider_that_is_missing_is_refused_with_what_to_install(
    policy: str, available: list[str], have: str
) -> None:
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
def test_plan_has_the_wanted_provider_first_and_the_cpu_last(
    policy: str, available: list[str], planned: list[str]
) -> None:
    """``auto`` takes CUDA where it is; TensorRT runs only where it is asked for; the CPU takes what others cannot."""
    assert [name for name, _ in plan_providers(policy, available)] == planned


@pytest.mark.parametrize(
    ("policy", "active"), [("auto", [CPU]), ("auto", [CUDA, CPU]), ("cpu", [CPU]), ("cuda", [CUDA, CPU])]
)
def test_provider_that_runs_is_told(policy: str, active: list[str]) -> None:
    """What really runs is reported, whichever it is under ``auto``."""
    assert check_provider(policy, active) == active[0]


def test_options_of_one_plan_are_its_own() -> None:
    """A plan may be changed without changing the next one."""
    plan_providers("cuda", EVERYTHING)[0][1]["cudnn_conv_algo_search"] = "EXHAUSTIVE"
    assert plan_providers("cuda", EVERYTHING)[0][1]["cudnn_conv_algo_search"] == "HEURISTIC"
