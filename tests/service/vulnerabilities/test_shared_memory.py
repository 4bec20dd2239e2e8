"""Memory that processes share.

Published for Triton: CVE-2025-23319, CVE-2025-23320, CVE-2025-23334 (an error tells the name of a region of the Python
backend, which a caller then registers, reads and writes), CVE-2023-31036 and CVE-2024-0088 (regions of any place and
length). Here shared memory is off. Where it is on, `tests/service/api/test_shared_memory.py` and
`tests/service/shared_memory` try the same.
"""

import pytest
from tritonclient.utils import InferenceServerException

from tests.service.vulnerabilities.conftest import Target, X

KINDS = ("systemsharedmemory", "cudasharedmemory")
REGION = {"key": "/triton_python_backend_shm_region_1", "offset": 0, "byte_size": 1 << 40}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("action", ["register", "unregister", "status"])
def test_a_region_cannot_be_registered(changeable: Target, kind: str, action: str) -> None:
    """No route registers a region, lists regions or lets one go, over HTTP."""
    for path in (f"/v2/{kind}/region/a/{action}", f"/v2/{kind}/{action}"):
        for method in ("GET", "POST"):
            changeable.check(changeable.client.request(method, path, json=REGION))


@pytest.mark.parametrize("field", ["inputs", "outputs"])
@pytest.mark.parametrize("offset", [0, -1, 1 << 63])
def test_a_tensor_cannot_be_in_a_region(target: Target, field: str, offset: int) -> None:
    """An input or output whose data are in a region is refused, wherever the region begins."""
    where = {"shared_memory_region": "a", "shared_memory_offset": offset, "shared_memory_byte_size": 12}
    x = {"name": "x", "datatype": "FP32", "shape": [1, 3], "parameters": where}
    body = {"inputs": [x]} if field == "inputs" else {"inputs": [X], "outputs": [{"name": "y", "parameters": where}]}
    target.check(target.client.post("/v2/models/double/infer", json=body))


def test_grpc_has_no_regions(target: Target) -> None:
    """The calls of shared memory are UNIMPLEMENTED."""
    client = target.server.grpc_client()
    calls = (
        lambda: client.register_system_shared_memory("a", REGION["key"], 16),
        lambda: client.register_cuda_shared_memory("a", b"AA==", 0, 16),
        client.unregister_system_shared_memory,
        client.get_system_shared_memory_status,
        client.get_cuda_shared_memory_status,
    )
    for call in calls:
        with pytest.raises(InferenceServerException, match="shared memory") as refused:
            call()
        assert refused.value.status() == "StatusCode.UNIMPLEMENTED"
    target.check_alive()


def test_an_error_tells_no_name_of_the_inside(target: Target) -> None:
    """Errors of requests that are too large or malformed name no region, file, address of memory or module."""
    bodies = (
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [70000000], "data": [1]}]}',
        b'{"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1, 3], "data": [1, 2, 3]}]}',
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1e400, "a", null]}]}',
        b'{"inputs": ' + b"[" * 10_000,
        b"\xff\xfe",
    )
    for body in bodies:
        reply = target.client.post("/v2/models/double/infer", content=body)
        target.check(reply)
        for inside in ("shm", "Traceback", ".py", "0x", "site-packages", str(target.folder)):
            assert inside not in reply.text
