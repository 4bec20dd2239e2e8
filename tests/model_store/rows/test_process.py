"""The analysis of graphs that may end their process."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from model_store.rows import AnalystProcess, analyse, is_risky
from tests.support.models import graphs
from tests.support.rows.case import independent

_FRAME = 20


def sum_up(first: int, last: int = 1_000_000_000) -> bytes:
    """A running sum over what follows the first values of a row, by a Scan: without any, ONNX Runtime divides by 0."""
    body = (
        f"f = Slice(x, [{first}], [{last}], [1]) u = Unsqueeze(f, [2]) z = Gather<axis=1>(x, [0]) "
        "g, s = Scan<num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1], "
        "body = step (float[N,1] a, float[N,1] b) => (float[N,1] c, float[N,1] d) { c = Add(a, b) d = Identity(c) }>"
        "(z, u) y = ReduceMax<axes=[1], keepdims=0>(s)"
    )
    return independent("sums", "float[N,L] x => float[N,1] y", body, "").model.SerializeToString()


@pytest.fixture(scope="module")
def process() -> Iterator[AnalystProcess]:
    process = AnalystProcess()
    yield process
    process.close()


@pytest.mark.long
def test_graph_that_ends_its_process_is_analysed_at_other_lengths(process: AnalystProcess) -> None:
    """Lengths that end a child are left out, the shortest that runs is told, and the next question is answered."""
    content = sum_up(_FRAME)
    assert is_risky(content)
    found = process.analyse(content)
    assert (found.rows, found.axes) == ("proved", {"x": 0, "y": 0})
    assert found.least == {"L": _FRAME + 1}
    assert found.sizes is not None
    assert found.sizes["L"] > _FRAME
    content = independent("next", "float[N,4] x => float[N,4] y", "y = Relu(x)", "").model.SerializeToString()
    assert process.analyse(content) == analyse(content)


def test_graph_that_ends_its_process_at_every_length_is_unknown(
    process: AnalystProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some children the analysis gives up, and names the lengths."""
    monkeypatch.setattr("model_store.rows.process._MOST_ENDED", 2)
    found = process.analyse(sum_up(5, 5))
    assert found.rows == "unknown"
    assert found.reason.startswith("it crashes the process that runs it, for example at {")


_ANALYSE_FOR_EVER = """
from model_store.rows import AnalystProcess
from tests.support.models import graphs
process = AnalystProcess()
print(process._start().pid, flush=True)
process.analyse(graphs.endless())
"""


@pytest.mark.long
def test_analysis_that_never_ends_ends_with_the_process_that_wants_it() -> None:
    """The child ends however its parent ends."""
    assert is_risky(graphs.endless())
    parent = subprocess.Popen([sys.executable, "-c", _ANALYSE_FOR_EVER], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate(timeout=60)
    child.wait(60)


def test_lengths_that_are_known_to_run_are_tried_first(process: AnalystProcess) -> None:
    """With a hint no child ends, and shorter lengths are not tried."""
    found = process.analyse(sum_up(_FRAME), hints=[{"L": 48}])
    assert (found.rows, found.sizes, found.least) == ("proved", {"L": 48}, {})


@pytest.mark.parametrize(
    ("signature", "body", "risky"),
    [
        ("float[N,4] x => float[N,4] y", "y = Conv(x, w[4,4,1])", False),
        ("float[N,4,L] x => float[N,4,L] y", "y = Conv(x, w[4,4,1])", True),
        ("float[N,4,L] x => float[N,4,L] y", "y = Relu(x)", False),
        ("float[N,4,L] x => float[N,4,L] y", "y = com.microsoft.Gelu(x)", True),
    ],
    ids=["no free axis", "fragile operator", "none of them", "another domain"],
)
def test_graph_is_risky_with_a_fragile_operator_and_a_free_axis_beside_the_batch(
    signature: str, body: str, risky: bool
) -> None:
    """Only a free axis that is not the batch may be empty while the graph is tried."""
    assert is_risky(independent("graph", signature, body, "").model.SerializeToString()) is risky
