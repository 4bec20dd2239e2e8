"""Paths that lead out of the folder.

Published for Triton: CVE-2023-31036, CVE-2024-0087, CVE-2024-0095, CVE-2026-24208, CVE-2026-24209; for Ray:
CVE-2023-6020, CVE-2023-6021 (any file, by its dashboard); for TorchServe: CVE-2023-48299, CVE-2024-35198.
"""

import json
from urllib.parse import quote

import pytest

from tests.service.vulnerabilities.conftest import SECRET, Target
from tests.support.wires import Wire, request_bytes

UP = ("..", "%2e%2e", "..%2f", "%2e%2e%2f", "..%5c", "%252e%252e", ".%2e", "..;", "....//")
FOLDERS = ("/web", "/static", "/web/js", "/v2/models", "/v2/models/double/versions", "/v2/repository/models", "")
ROUTES = ("", "/infer", "/load", "/config", "/stats", "/example", "/ready")


@pytest.mark.parametrize("up", UP)
def test_an_address_that_climbs_reads_no_file(changeable: Target, up: str) -> None:
    """Dots in an address, plain or escaped, reach no file outside of the pages, and no model outside of the store."""
    with Wire(changeable.server) as wire:
        for folder in FOLDERS:
            for method, route in [("GET", ""), *(("POST", route) for route in ROUTES)]:
                path = f"{folder}/{'/'.join([up] * 6)}/secret.txt{route}"
                wire.send(request_bytes(b"{}", path, "Content-Type: application/json", method=method))
                status, _, body = wire.read()
                assert 400 <= status < 500, (path, status)
                assert SECRET.encode() not in body
    changeable.check_alive()


@pytest.mark.parametrize("path", ["/api/v0/logs/file", "/logs/file", "/static/js/../../../../secret.txt", "/nodes"])
def test_a_parameter_that_names_a_file_reads_none(target: Target, path: str) -> None:
    """The routes by which Ray's dashboard gave any file are not there."""
    secret = str(target.folder / "secret.txt")
    for name in ("filename", "file", "path", "url"):
        target.check(target.client.get(path, params={name: secret, "node_id": "a", "lines": "100"}))


@pytest.mark.parametrize("name", ["../secret", "../../secret.txt", "/etc/passwd", "double/../../secret.txt", ".", ".."])
def test_a_name_that_is_a_path_is_no_model(changeable: Target, name: str) -> None:
    """The name or version of a model that is a path is not looked for outside of the store."""
    x = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    client = changeable.client
    changeable.check(client.post("/classify", json={"model": name, "inputs": [[0]]}))
    changeable.check(client.post("/v2/models/double/infer", json={"inputs": [x], "model_name": name, "outputs": 1}))
    for version in (name, f"1/{name}"):
        changeable.check(client.post("/v2/repository/models/double/load", json={"parameters": {"version": version}}))
    load = changeable.server.grpc_client().load_model
    with pytest.raises(Exception, match=r"StatusCode|\[") as refused:
        load(name)
    assert SECRET not in str(refused.value)
    changeable.check_alive()


@pytest.mark.parametrize("name", ["file:../../mark", "file:1/model.onnx", "file:/tmp/mark", "config"])
def test_a_load_that_brings_files_writes_none(changeable: Target, name: str) -> None:
    """Triton writes the files of a load into a folder, by names of the caller. Here a load brings no files."""
    before = sorted(changeable.folder.rglob("*"))
    for value in ("bWFyaw==", json.dumps({"backend": "python"})):
        body = {"parameters": {name: value}}
        changeable.check(changeable.client.post("/v2/repository/models/double/load", json=body))
        changeable.check(changeable.client.post("/v2/repository/models/new/load", json=body))
    with pytest.raises(Exception, match="parameters"):
        changeable.server.grpc_client().load_model("double", config="{}", files={name.removeprefix("file:"): b"mark"})
    assert sorted(changeable.folder.rglob("*")) == before


@pytest.mark.parametrize("route", ["/v2/logging", "/v2/trace/setting", "/v2/models/double/trace/setting"])
def test_a_log_goes_to_no_file(changeable: Target, route: str) -> None:
    """Triton's log and trace could be sent to any file, with lines that the caller chose."""
    for name in ("log_file", "trace_file"):
        for path in (str(changeable.mark), "../mark", "/root/.bashrc"):
            changeable.check(changeable.client.post(route, json={name: path}))


def test_a_caller_writes_no_line_of_the_log(changeable: Target, caplog: pytest.LogCaptureFixture) -> None:
    """Line ends and escapes in names, ids and settings do not begin a line of the log, or colour one."""
    forged = "a\n2026-12-01T00:00:00 [INFO] forged\x1b[31m"
    client = changeable.client
    escaped = quote(forged, safe="")
    with caplog.at_level("DEBUG"):
        changeable.check(client.post(f"/v2/repository/models/{escaped}/load"))
        changeable.check(client.post(f"/v2/models/{escaped}/infer", json={}))
        load = {"parameters": {"version": forged}}
        changeable.check(client.post("/v2/repository/models/double/load", json=load))
        changeable.check(client.post("/v2/logging", json={"log_level": forged}))
        changeable.check(client.post("/classify", json={"model": forged}, headers={"x-request-id": escaped}))
    lines = [line for record in caplog.records for line in record.getMessage().splitlines()]
    assert lines
    assert not any(line.startswith("2026-12-01T00:00:00") or "\x1b" in line for line in lines)
