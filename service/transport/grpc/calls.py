"""What the observer of requests is told of calls that ask no model."""

from service.transport.grpc.inference import Context, client_of
from service.transport.observer import RequestEnd, RequestObserver, tell


def tell_call(
    observer: RequestObserver | None,
    context: Context,
    path: str,
    status: int,
    seconds: float,
    request_id: str,
    bytes_in: int = 0,
    bytes_out: int = 0,
) -> None:
    """A call has ended. ``path`` is ``/SERVICE/METHOD``, ``status`` that of HTTP."""
    if observer is None:
        return
    end = RequestEnd("POST", f"grpc {path.rpartition('/')[2]}", path, status, seconds, request_id, {})
    end.client, end.bytes_in, end.bytes_out = client_of(context), bytes_in, bytes_out
    tell(observer, end)
