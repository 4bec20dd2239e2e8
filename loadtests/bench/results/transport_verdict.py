"""Whether gRPC is as fast as HTTP, its streams faster, and shared memory faster than a body. Pure."""

from collections.abc import Iterator, Mapping

from loadtests.bench.peer import BINARY
from loadtests.bench.results.promise import NOT_MEASURED, Row, ratio_row
from loadtests.bench.results.result import Cell, compare

GRPC, STREAMS = "grpc", "grpc, streams"
SHARED, GRPC_SHARED = "shared memory", "grpc, shared memory"
MODEL_NAMES, CLIENTS = ("tiny", "mlp"), (1, 16, 64)
PICTURE = "picture-12-mib"
PICTURE_FORMS = (BINARY, SHARED, GRPC, GRPC_SHARED)
_PROMISED_CLIENTS = (16, 64)
STREAM_CLIENTS = 64
"""Each has a stream of its own."""
_LEAST_ROWS, _AIM_ROWS = 4.0, 8.0


def judge_transports(cells: Mapping[tuple[str, str, int, str], Cell], peer: str) -> Iterator[Row]:
    """The promises. Each ratio compares rounds that were interleaved."""

    def row(name: str, least: float, aim: float, model: str, clients: int, form: str, other: str) -> Row:
        one, two = (cells.get((model, each, clients, peer)) for each in (form, other))
        return ratio_row(name, least, aim, compare(one, two) if one and two else None)

    for model in MODEL_NAMES:
        for clients in _PROMISED_CLIENTS:
            name = f"{model}, {clients} clients: gRPC against HTTP binary, by perf_analyzer"
            yield row(name, 0.6, 0.9, model, clients, GRPC, BINARY)
    for model in MODEL_NAMES:
        name = f"{model}, {STREAM_CLIENTS} clients: a gRPC stream each against unary gRPC"
        yield row(name, 1.2, 2.0, model, STREAM_CLIENTS, STREAMS, GRPC)
        yield _judge_rows(model, cells.get((model, GRPC, STREAM_CLIENTS, peer)))
    name = "a picture of 12 MiB as a tensor, one client: shared memory against a binary body"
    yield row(f"{name}, HTTP", 2.0, 4.0, PICTURE, 1, SHARED, BINARY)
    yield row(f"{name}, gRPC", 2.0, 4.0, PICTURE, 1, GRPC_SHARED, GRPC)


def _judge_rows(model: str, cell: Cell | None) -> Row:
    """Whether requests that come by gRPC share batches."""
    figure = f"{model}, {STREAM_CLIENTS} clients: rows a run over gRPC"
    promise = (f"{_LEAST_ROWS:g}", f"{_AIM_ROWS:g}")
    if cell is None or cell.rows_per_run is None:
        return Row(figure, *promise, NOT_MEASURED, None, None)
    rows = cell.rows_per_run
    return Row(figure, *promise, f"{rows:.1f}", rows >= _LEAST_ROWS, rows >= _AIM_ROWS)
