"""The private network: only the loopback interface, for this thread and what it starts, and only within the block."""

import socket
import subprocess
import sys

import pytest

from loadtests.bench import network
from loadtests.bench.network import NoPrivateNetwork, private_network
from loadtests.bench.server import free_port

LIST_INTERFACES = [sys.executable, "-c", "import socket; print([name for _, name in socket.if_nameindex()])"]


def test_only_loopback_within_the_block() -> None:
    """Within the block there is a working loopback and nothing else, in child processes too; then all is as before."""
    before = socket.if_nameindex()
    try:
        with private_network():
            assert [name for _, name in socket.if_nameindex()] == ["lo"]
            assert subprocess.run(LIST_INTERFACES, capture_output=True, text=True).stdout.strip() == "['lo']"
            with socket.create_server(("127.0.0.1", free_port())) as server:
                socket.create_connection(server.getsockname(), timeout=5).close()
    except NoPrivateNetwork as refusal:
        pytest.skip(f"not possible here: {refusal}")
    assert socket.if_nameindex() == before


def test_refusal_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system says no, its reason is reported and the block does not run."""
    monkeypatch.setattr(network, "CLONE_NEWNET", 0x1)
    with pytest.raises(NoPrivateNetwork, match=r"unshare\(\): "), private_network():
        pytest.fail("it ran")
