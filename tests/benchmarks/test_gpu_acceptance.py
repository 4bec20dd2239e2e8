"""The GPU acceptance: each fact on the CPU in the place of a GPU, and that each can fail."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import Point, Sweep
from loadtests.bench.models.resnet import build_resnet
from model_store import DEFAULT_ROOT
from service.engine.onnx.providers import NEVER_ON_GPU
from tests.chaos.checks import Check, equals
from tests.gpu import __main__ as program
from tests.gpu import acceptance
from tests.gpu.acceptance import Machine, Network, check_bits, check_loop, check_memory, check_references, judge_share

CPU = Machine("cpu", "cpu", lambda: 0)


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(build_resnet(stages=((16, 2),), side=32, classes=10), 32)


@pytest.fixture
def one_model(tmp_path: Path) -> Path:
    name = min(path.name for path in DEFAULT_ROOT.iterdir() if (path / "1").is_dir())
    shutil.copytree(DEFAULT_ROOT / name, tmp_path / name)
    return tmp_path


def holds(checks: list[Check]) -> list[bool]:
    return [check.holds for check in checks]


def test_machine_without_a_gpu_is_not_accepted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that nothing has run and why, and its exit code is neither success nor failure of a fact."""
    monkeypatch.setattr(program, "find_lacking_gpu", lambda available: "there is no NVIDIA GPU")
    assert program.main() == program.NO_GPU == 3
    assert capsys.readouterr().out == "the GPU acceptance has NOT run: there is no NVIDIA GPU\n"


@pytest.mark.parametrize(
    ("facts", "code", "said"),
    [
        ({"a": lambda: [equals("x", 1, 1)]}, 0, "has passed"),
        ({"a": lambda: [equals("x", 1, 1)], "b": lambda: [equals("y", 1, 2)]}, 1, "has FAILED"),
        ({"a": lambda: 1 // 0, "b": lambda: [equals("y", 1, 1)]}, 1, "ZeroDivisionError"),
    ],
    ids=["all hold", "one does not", "one raises"],
)
def test_one_table_and_one_code(
    facts: Mapping[str, Callable[[], list[Check]]], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every fact is a row, also after one that does not hold or cannot be checked."""
    assert program.run(facts) == code
    shown = capsys.readouterr().out
    assert said in shown
    assert all(f"\n{name} " in shown for name in facts)


def test_facts_that_need_no_gpu_hold_on_the_cpu(network: Network, one_model: Path) -> None:
    """The checks themselves work: where the CPU is what is asked for, they pass."""
    assert holds(check_references(CPU, one_model)) == [True, True]
    assert holds(check_bits(CPU, network)) == [True]
    assert holds(check_loop(CPU)) == [True, True]


def test_store_without_models_proves_nothing(tmp_path: Path) -> None:
    """It is an error, not a fact that holds."""
    with pytest.raises(FileNotFoundError, match="expected models"):
        check_references(CPU, tmp_path)


def test_fall_back_and_host_memory_are_found(one_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions that came up on another provider, and state that left the device, are reported by name."""
    monkeypatch.setattr(Machine, "provider", property(lambda self: "CUDAExecutionProvider"))
    [providers, _] = check_references(CPU, one_model)
    assert (providers.holds, "/main on CPUExecutionProvider" in providers.found) == (False, True)
    [place, total] = check_loop(replace(CPU, device="cuda"))
    assert (place.holds, place.found, total.holds) == (False, "{'cpu'}", True)


def test_bits_that_depend_on_other_rows_are_found(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session whose answers hang together fails in every bucket of more than one row."""
    mixing = SimpleNamespace(run=lambda inputs: [inputs["image"].sum(axis=0, keepdims=True).repeat(8, axis=0)])
    monkeypatch.setattr(acceptance, "Session", lambda *_, **__: mixing)
    [bits] = check_bits(CPU, network)
    assert (bits.holds, bits.found) == (False, "[2, 4, 8]")


@pytest.mark.long
@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([9, 1, 9, 9, 9, 1], [True, True]),
        ([9, 1, 9, 9, 9, 5], [True, False]),
        ([1, 1, 1, 1, 1, 1], [False, True]),
    ],
    ids=["given back", "kept", "never on the device"],
)
def test_memory_is_judged_by_the_size_of_the_network(
    network: Network, readings: list[int], expected: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the weights must have been there, and less than a tenth may be left."""
    size = len(network.content)
    left: Any = iter(readings)
    monkeypatch.setattr(acceptance, "Session", lambda *_, **__: SimpleNamespace(run=np.copy))
    assert holds(check_memory(replace(CPU, used_bytes=lambda: next(left) * size), network)) == expected


@pytest.mark.parametrize(("rows_per_s", "expected"), [(900.0, True), (899.0, False)])
def test_share_is_of_bound_buffers_at_their_best(rows_per_s: float, expected: bool) -> None:
    """Bare calls without binding, which are slower, do not count; nor do smaller batches."""
    points = (
        Point(1, {"bare": 0.01, "bound": 0.01}),
        Point(10, {"bare": 0.1, "bound": 0.01}),
        Point(40, {"bare": 0.1, "bound": 0.08}),
    )
    assert judge_share(Sweep("m", "CUDA", points, {"bare": 1e9, "bound": rows_per_s})).holds is expected


def test_pages_say_that_it_has_not_run() -> None:
    """As long as the server says so, the page about GPUs does."""
    page = (Path(__file__).parents[2] / "docs/gpu.md").read_text()
    assert "make test-gpu" in NEVER_ON_GPU
    assert "The GPU acceptance (`make test-gpu`) has not run yet" in page
