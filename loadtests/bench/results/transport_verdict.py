"""Whether gRPC is as fast as HTTP, and shared memory faster than a body. Pure."""

from collections.abc import Iterator, Mapping

from loadtests.bench.peer import BINARY
from loadtests.bench.results.promise import Row, ratio_row
from loadtests.bench.results.result import Cell, compare

GRPC, SHARED, GRPC_SHARED = "grpc", "shared memory", "grpc, shared memory"
MODEL_NAMES, CLIENTS = ("tiny", "mlp"), (1, 16, 64)
PICTURE = "picture-12-mib"
PICTURE_FORMS = (BINARY, SHARED, GRPC, GRPC_SHARED)
_PROMISED_CLIENTS = (16, 64)


def judge_transports(cells: Mapping[tuple[str, str, int, str], Cell], peer: str) -> Iterator[Row]:
    """Each in the same rounds as the binary body over HTTP."""

    def row(name: str, least: float, aim: float, model: str, clients: int, form: str, other: str) -> Row:
        one, two = (cells.get((model, each, clients, peer)) for each in (form, other))
        return ratio_row(name, least, aim, compare(one, two) if one and two else None)

    for model in MODEL_NAMES:
        for clients in _PROMISED_CLIENTS:
            name = f"{model}, {clients} clients: gRPC against HTTP binary, by perf_analyzer"
            yield row(name, 0.6, 0.9, model, clients, GRPC, BINARY)
    name = "a picture of 12 MiB as a tensor, one client: shared memory against a binary body"
    yield row(f"{name}, HTTP", 2.0, 4.0, PICTURE, 1, SHARED, BINARY)
    yield row(f"{name}, gRPC", 2.0, 4.0, PICTURE, 1, GRPC_SHARED, GRPC)
