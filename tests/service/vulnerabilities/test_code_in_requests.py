"""Requests that carry code.

Published for BentoML: CVE-2024-2912, CVE-2024-9070, CVE-2025-27520, CVE-2025-32375 (pickles in bodies and in headers of
runners); for TorchServe: CVE-2022-1471 (YAML that makes objects), CVE-2024-5480 (pickled calls between processes of its
library); for Triton and vLLM alike: pickles from sockets (2025).
"""

import pickle
import socket
import struct
from pathlib import Path

import psutil
import pytest

from tests.service.vulnerabilities.conftest import Target, pickle_that_runs

PICKLE_TYPES = (
    *("application/vnd.bentoml+pickle", "application/vnd.bentoml.pickle", "application/python-pickle"),
    *("application/octet-stream", "application/x-pickle", "application/json", ""),
)
RUNNER = {
    "Payload-Container": "PickleContainer",
    "Payload-Meta": '{"format": "pickle5", "pickle_bytes_str": "gASV", "with_buffer": true}',
    "Batch-Size": "1",
    "Args-Number": "1",
    "Bento-Name": "sluice",
    "Runner-Name": "digits-classifier",
}
PATHS = ("/classify", "/v2/models/double/infer", "/embed", "/generate", "/", "/predict", "/encode_json", "/is_alive")


def test_the_pickle_of_these_tests_runs(tmp_path: Path) -> None:
    """Whoever unpickles the bytes of these tests makes the file that they look for."""
    pickle.loads(pickle_that_runs(tmp_path / "mark"))  # noqa: S301  # that is the point
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("media_type", PICKLE_TYPES)
def test_a_pickled_body_is_refused(target: Target, path: str, media_type: str) -> None:
    """A pickle is never read as one, whatever type its body claims, with or without the headers of a runner."""
    body = pickle_that_runs(target.mark)
    for headers in ({}, RUNNER):
        target.check(target.client.post(path, content=body, headers={"content-type": media_type, **headers}))


def test_a_pickle_in_a_form_is_refused(target: Target) -> None:
    """A file of a form whose type is that of pickles is no row."""
    files = {"inputs": ("a.pkl", pickle_that_runs(target.mark), "application/vnd.bentoml+pickle")}
    target.check(target.client.post("/classify", files=files))


def test_a_pickle_as_a_tensor_is_bytes(target: Target) -> None:
    """A pickle as the bytes of a tensor, of numbers or of texts, is not unpickled."""
    body = pickle_that_runs(target.mark)
    for datatype in ("FP32", "BYTES"):
        x = {"name": "x", "datatype": datatype, "shape": [1], "parameters": {"binary_data_size": len(body) + 4}}
        head = str({"inputs": [x]}).replace("'", '"').encode()
        headers = {"inference-header-content-length": str(len(head))}
        content = head + struct.pack("<I", len(body)) + body
        target.check(target.client.post("/v2/models/double/infer", content=content, headers=headers))


@pytest.mark.parametrize("media_type", ["application/yaml", "application/x-yaml", "text/yaml"])
def test_yaml_that_makes_an_object_is_refused(changeable: Target, media_type: str) -> None:
    """No route reads YAML: a tag that names a Python or Java class is a malformed body."""
    for tag in ("!!python/object/apply:pathlib.Path.touch", "!!javax.script.ScriptEngineManager"):
        content = f"{tag} [{changeable.mark}]\n".encode()
        for path in ("/v2/models/double/infer", "/v2/repository/models/double/load", "/v2/logging", "/workflows"):
            changeable.check(changeable.client.post(path, content=content, headers={"content-type": media_type}))


def test_no_process_listens_for_pickles(target: Target) -> None:
    """Every port that the server listens on refuses a pickle, and none of them is another than HTTP and gRPC."""
    ours = {target.server.port, target.server.worker.grpc_port}
    process = psutil.Process()
    listening = {each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    assert ours <= listening
    for port in ours:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(struct.pack(">I", 64) + pickle_that_runs(target.mark))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    target.check_alive()
