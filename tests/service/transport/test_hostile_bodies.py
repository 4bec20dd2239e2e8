"""The memory that a real server process takes for bodies that are made to exhaust it."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from model_store import DEFAULT_ROOT
from service.protocol.large_json import MOST_ARRAYS, MOST_OBJECTS
from service.settings import Settings
from service.transport.grpc.messages import FULL_NAME
from tests.support.pictures.encoding import claim
from tests.support.processes import Served, free_port

pytestmark = pytest.mark.timeout(600)
BODY = Settings().max_body_bytes
PATIENCE_S = 300
"""Of the server and of its clients: what is looked at is memory, however long it takes on a busy machine."""
INFER = "/v2/models/digits-classifier/infer"
JSON = {"content-type": "application/json"}
Ask = Callable[["Hostile"], object]


class Hostile:
    """A server of one worker with default settings but the deadline, whose peak of resident memory is measured."""

    def __init__(self, server: Served, grpc_port: int) -> None:
        self.target = f"127.0.0.1:{grpc_port}"
        self.client = httpx.Client(base_url=server.url, timeout=PATIENCE_S, verify=False)  # noqa: S501  # it is plain HTTP
        [pid] = server.worker_pids()
        self._process = Path(f"/proc/{pid}")

    def begin(self) -> int:
        """Reset the peak. Returns the resident KiB."""
        (self._process / "clear_refs").write_text("5")
        return self._read("VmRSS")

    def peak(self) -> int:
        """The most KiB that were resident since."""
        return self._read("VmHWM")

    def _read(self, name: str) -> int:
        return int((self._process / "status").read_text().split(f"{name}:")[1].split()[0])

    def post(self, body: bytes, path: str = INFER, **headers: str) -> int:
        sent = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.client.post(path, content=body, headers=sent).status_code

    def call(self, message: bytes) -> str:
        with grpc.insecure_channel(self.target) as channel:
            try:
                channel.unary_unary(f"/{FULL_NAME}/ModelInfer")(message, timeout=PATIENCE_S)
            except grpc.RpcError as error:
                return str(error.code().name)
        return "OK"


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    port = free_port()
    environment = {
        "SLUICE_MODELS": "digits-classifier",
        "SLUICE_GRPC_PORT": str(port),
        "SLUICE_MAX_ROWS": "8",
        "SLUICE_DEADLINE_S": str(PATIENCE_S),
    }
    with Served("--store", str(DEFAULT_ROOT), workers=1, environment=environment) as server:
        hostile = Hostile(server, port)
        assert hostile.post(b"{}") == 400
        yield hostile
        hostile.client.close()


def fill(unit: bytes, times: int = BODY) -> bytes:
    """A request whose data is ``times`` units, or as many as fit into a body."""
    begin, end = b'{"inputs":[{"name":"image","datatype":"FP32","shape":[1,1,8,8],"data":[', b"0]}]}"
    times = min(times, (BODY - len(begin) - len(end)) // len(unit))
    return begin + unit * times + end


def declare(shape: list[int], size: int) -> bytes:
    """A binary request that declares a tensor and does not send it."""
    tensor = {"name": "image", "datatype": "FP32", "shape": shape, "parameters": {"binary_data_size": size}}
    return json.dumps({"inputs": [tensor]}).encode()


BOMB = gzip.compress(bytes(4 * BODY), 1)
HUGE = declare([1 << 40, 1, 8, 8], 1 << 60)
PICTURE = claim(60_000, 60_000)
CASES: dict[str, tuple[int, object, Ask]] = {
    # name: (MiB by which the process may grow, what it answers, what it is asked)
    "deep JSON": (640, 413, lambda hostile: hostile.post(fill(b"["))),
    "JSON deeper than is read": (64, 400, lambda hostile: hostile.post(fill(b"[", 1 << 20))),
    "more arrays than are read": (256, 413, lambda hostile: hostile.post(fill(b"[],"))),
    "as many arrays as are read": (512, 400, lambda hostile: hostile.post(fill(b"[],", MOST_ARRAYS - 10))),
    "more objects than are read": (256, 413, lambda hostile: hostile.post(fill(b"{},"))),
    "as many objects as are read": (512, 400, lambda hostile: hostile.post(fill(b'{"a":0},', MOST_OBJECTS - 10))),
    "many numbers": (640, 400, lambda hostile: hostile.post(fill(b"0,"))),
    "compressed bomb": (256, 413, lambda hostile: hostile.post(BOMB, content_encoding="gzip")),
    "empty fields over gRPC": (256, "INVALID_ARGUMENT", lambda hostile: hostile.call(b"\x2a\x00" * (BODY // 2))),
    "declared sizes": (16, 400, lambda hostile: hostile.post(HUGE, inference_header_content_length=str(len(HUGE)))),
    "declared picture": (16, 413, lambda hostile: hostile.post(PICTURE, "/classify", content_type="image/png")),
}


@pytest.mark.long
@pytest.mark.parametrize(
    ("most", "answer", "ask"),
    # Bodies that are read to their end take as long as all the others.
    [pytest.param(*CASES[n], id=n, marks=[pytest.mark.slow] if n.startswith("as many") else []) for n in CASES],
)
def test_hostile_body_takes_bounded_memory(hostile: Hostile, most: int, answer: object, ask: Ask) -> None:
    """The body is refused, and the process grows by no more than the bound. The body itself may take 64 MiB."""
    before = hostile.begin()
    assert ask(hostile) == answer
    assert (hostile.peak() - before) / 1024 < most
