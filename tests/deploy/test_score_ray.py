"""`sluice score --ray` on two nodes: the output of a run without Ray, also when the run or a node is killed.

It needs a Python that has Ray (`RAY_PYTHON`, this one, or the environment that `make clients` makes), and the right to
make a network namespace: both nodes listen on its 127.0.0.1.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.clusters.ray_python import ROOT, enter_namespace, find_ray

ROWS, BAD = 3000, (5, 1555)
pytestmark = [pytest.mark.deploy, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of the runs, and ``told.json``."""
    pytest.importorskip("pyarrow", reason="needs the extra `score`")
    from tests.service.score.tables import write_double, write_numbers

    python, namespace = find_ray(), enter_namespace()
    folder = tmp_path_factory.mktemp("score")
    store, table = write_double(folder / "store"), write_numbers(folder / "in.parquet", ROWS, BAD)
    program = str(ROOT / "tests" / "deploy" / "clusters" / "score_cluster.py")
    variables = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [*namespace, python, program, str(store), str(table), str(folder)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> Any:
    return json.loads((folder / "told.json").read_text())


def read_parts(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("part-*"))}


def test_cluster_that_is_not_there_is_reported(told: Any) -> None:
    """The address is named; the command fails."""
    assert told["nobody"]["code"] == 1
    assert "--ray 127.0.0.1:1: expected HOST:PORT of a cluster that runs" in told["nobody"]["said"]


def test_two_nodes_make_the_same_parts(folder: Path, told: Any) -> None:
    """Both nodes have made some; each file is that of a run without Ray, and bad rows have their errors."""
    assert told["both"]["code"] == told["alone"]["code"] == 3
    assert told["both"]["nodes"] == 2
    assert f"{ROWS} rows, {len(BAD)} of them with an error" in told["both"]["said"]
    assert read_parts(folder / "both") == read_parts(folder / "alone")
    assert len(read_parts(folder / "both")) == ROWS // 100


def test_one_file_has_the_rows_in_order(folder: Path, told: Any) -> None:
    """It is made of all parts, whichever node has made them."""
    import pyarrow.parquet as pq

    assert told["file"]["code"] == 3
    assert pq.read_table(folder / "file.parquet").column("id").to_pylist() == list(range(ROWS))


def test_killed_run_goes_on(folder: Path, told: Any) -> None:
    """The command itself was killed, with some parts done."""
    assert told["again"]["code"] == 3
    assert read_parts(folder / "killed") == read_parts(folder / "alone")


def test_lost_node_is_made_up_for(folder: Path, told: Any) -> None:
    """A node was killed in the middle of the run: the other one makes its parts."""
    assert told["lost"]["code"] == 3, told["lost"]["said"]
    assert read_parts(folder / "lost") == read_parts(folder / "alone")
