"""Scores a table on two nodes of Ray on one machine; what happens is written down as JSON.

`test_score_ray.py` runs it by a Python that has Ray, in a network namespace of its own: all listen on 127.0.0.1.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.deploy.clusters.two_nodes import WAIT_S, start, wait_until

ROOT = Path(__file__).resolve().parents[3]


def main(store: Path, table: Path, folder: Path) -> None:
    """Write what was seen into ``folder``, beside the outputs."""

    def command(name: str, *options: str) -> list[str]:
        words = ["score", "double", str(table), str(folder / name), "--store", str(store), "--keep", "id"]
        return [sys.executable, "-m", "sluice", *words, "--part-rows", "100", *options]

    def run(name: str, *options: str) -> dict[str, Any]:
        ended = subprocess.run(command(name, *options), cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S)
        return {"code": ended.returncode, "said": ended.stderr, "nodes": count_nodes(ended.stderr)}

    told = {"nobody": run("nobody", "--ray", "127.0.0.1:1"), "alone": run("alone")}
    cluster, node = start()
    ray = ("--ray", cluster.address)
    told["both"] = run("both", *ray)
    told["file"] = run("file.parquet", *ray)
    with subprocess.Popen(command("killed", *ray), cwd=ROOT, stderr=subprocess.DEVNULL) as driver:
        wait_until(lambda: has_part(folder / "killed"), "a part")
        driver.send_signal(signal.SIGKILL)
    told["again"] = run("killed", *ray)
    with subprocess.Popen(command("lost", *ray), cwd=ROOT, stderr=subprocess.PIPE, text=True) as driver:
        wait_until(lambda: has_part(folder / "lost"), "a part")
        cluster.remove_node(node, allow_graceful=False)
        _, said = driver.communicate(timeout=WAIT_S)
    told["lost"] = {"code": driver.returncode, "said": said, "nodes": count_nodes(said)}
    (folder / "told.json").write_text(json.dumps(told))


def count_nodes(said: str) -> int:
    """How many nodes have made parts."""
    found = re.search(r"parts by node: (.*)", said)
    return len(found[1].split(", ")) if found else 0


def has_part(folder: Path) -> bool:
    return any(folder.glob("part-*")) if folder.is_dir() else False


if __name__ == "__main__":
    os.environ["SLUICE_MAX_ROWS"] = "8"
    main(*map(Path, sys.argv[1:]))
