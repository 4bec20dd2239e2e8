"""A server that anybody may change.

Published for Triton: CVE-2025-23316 (model control), CVE-2026-24207 (a way past the check); for TorchServe:
CVE-2023-43654, CVE-2024-35199 and the advisory on its ports (management open to every address); for Ray:
CVE-2023-48022 (jobs without a key), CVE-2023-6019 (a command in a parameter of its profiler).
"""

import sys

import psutil
import pytest

from tests.service.vulnerabilities.conftest import Target
from tests.support.processes import Served
from tests.support.wires import Wire, request_bytes

CHANGES = (
    *("/v2/repository/models/double/load", "/v2/repository/models/double/unload"),
    *("/v2/logging", "/v2/trace/setting", "/v2/models/double/trace/setting"),
)
OF_OTHERS = (
    *(("POST", "/models"), ("PUT", "/models/double"), ("DELETE", "/models/double"), ("DELETE", "/models/double/1")),
    *(("POST", "/workflows"), ("DELETE", "/workflows/a"), ("PUT", "/models/double/1/set-default")),
    *(("POST", "/api/jobs/"), ("POST", "/api/job_agent/jobs/"), ("PUT", "/api/serve/applications/")),
    *(("DELETE", "/api/serve/applications/"), ("DELETE", "/api/jobs/a"), ("POST", "/api/jobs/a/stop")),
    *(("GET", "/worker/cpu_profile"), ("GET", "/worker/traceback"), ("GET", "/api/cluster_status")),
    *(("DELETE", "/v2/models/double"), ("PUT", "/v2/models/double"), ("PATCH", "/v2/logging"), ("POST", "/metrics")),
)
SPELLINGS = ("{}/", "{}//", "/{}", "{}?a=b", "{};a", "{}#a", "{}%00", "{}/.", "/v2/..{}", "{}%2f", "{}\x09")


@pytest.mark.parametrize("path", CHANGES)
def test_a_server_changes_nothing_unless_its_owner_said_so(target: Target, path: str) -> None:
    """Routes that change the server are refused, also on this machine and for programs."""
    reply = target.client.post(path, json={})
    target.check(reply)
    assert reply.status_code == 403


@pytest.mark.parametrize("path", CHANGES)
def test_another_spelling_of_a_route_is_no_way_past_the_check(target: Target, path: str) -> None:
    """Slashes, escapes, other methods and headers that proxies honour reach no change."""
    spellings = [spelling.format(path) for spelling in SPELLINGS]
    spellings += [path.replace("repository", "%72epository"), path.replace("v2", "V2"), path.replace("log", "%6cog")]
    headers = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Path", "X-HTTP-Method-Override", "X-Forwarded-For")
    for spelling in (*spellings, path):
        for method in ("POST", "PUT", "PATCH", "DELETE", "post", "CONNECT"):
            with Wire(target.server) as wire:
                extra = [f"{name}: {path}" for name in headers] + ["Content-Type: application/json"]
                wire.send(request_bytes(b"{}", spelling, *extra, method=method))
                status, _ = wire.read_head()
                assert 400 <= status < 500, (method, spelling, status)
    target.check_alive()


@pytest.mark.parametrize(("method", "path"), OF_OTHERS)
def test_routes_by_which_others_are_changed_are_not_there(changeable: Target, method: str, path: str) -> None:
    """Management of TorchServe, and jobs, applications and profiles of Ray have no route here."""
    command = f"svg; {sys.executable} -c 'open({str(changeable.mark)!r}, \"w\")'"
    body = {"entrypoint": command, "runtime_env": {"pip": ["a"]}, "applications": []}
    reply = changeable.client.request(method, path, json=body, params={"format": command, "pid": "1", "native": "1"})
    changeable.check(reply)
    assert reply.status_code in (404, 405)


@pytest.mark.slow
def test_a_server_listens_on_this_machine_only(target: Target) -> None:
    """By default there is one port, on 127.0.0.1: none for management, metrics, jobs or another process."""
    arguments = ("--store", str(target.folder / "store"), "--max-rows", "4")
    with Served(*arguments, workers=2) as served:
        parent = psutil.Process(served.process.pid)
        listening = {
            (each.laddr.ip, each.laddr.port)
            for process in (parent, *parent.children(recursive=True))
            for each in process.net_connections("inet")
            if each.status == psutil.CONN_LISTEN or not each.raddr
        }
        assert listening == {("127.0.0.1", served.port)}
