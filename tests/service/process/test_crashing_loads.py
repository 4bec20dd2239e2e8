"""A file that ends the process that loads it: the server goes on without it. Real processes."""

import os
import signal
from pathlib import Path

import httpx
import pytest

from model_store.store import PLAIN_FILE
from tests.support.models import graphs
from tests.support.processes import Served


def why_not(server: Served) -> str:
    """Why ``crashing`` does not serve; empty if it does."""
    [found] = [each for each in server.post("/v2/repository/index", {}).json() if each["name"] == "crashing"]
    assert found["state"] == ("UNAVAILABLE" if found.get("reason") else "READY")
    return str(found.get("reason", ""))


@pytest.mark.slow
def test_file_that_ends_its_process_is_unavailable_and_the_others_serve(tmp_path: Path) -> None:
    """The server goes on from its first start, after a worker has died, and when the file is loaded again."""
    graphs.write_plain(tmp_path, "double", graphs.double())
    graphs.write_plain(tmp_path, "crashing", graphs.ends_the_process())
    file, load = tmp_path / "crashing" / "1" / PLAIN_FILE, "/v2/repository/models/crashing/load"
    with Served("--store", str(tmp_path), workers=1, environment={"SLUICE_CONTROL": "true"}) as server:
        assert server.infer("double") == 200
        assert "ended by SIGSEGV: mend the file" in why_not(server)
        assert server.infer("crashing") == 503
        told = [line for line in server.log if "while it loaded" in line]
        assert any("code -11" in line and "crashing-1" in line for line in told)
        assert "double" not in told[-1]

        ends = len(server.log)
        os.kill(server.worker_pids()[0], signal.SIGKILL)
        server.read_until("models serve", 1)
        assert server.infer("double") == 200
        assert not any("while it loaded" in line for line in server.log[ends:])

        file.write_bytes(graphs.double())
        loaded = server.post(load, {})
        assert loaded.status_code == 200, loaded.text
        assert why_not(server) == ""
        assert server.infer("crashing") == 200

        file.write_bytes(graphs.ends_the_process())
        with pytest.raises(httpx.TransportError):
            server.post(load, {})
        server.read_until("models serve", 1)
        assert server.infer("double") == 200
        server.stop()
