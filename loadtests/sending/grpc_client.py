"""Calls over gRPC, where grpcio is installed."""

from typing import Any

from loadtests.http_client import key_headers
from loadtests.sending.inference_message import METHOD
from loadtests.signature import NoModel

_CONNECT_S = 5.0
_REFUSED = ("INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED")


def open_channel(address: str) -> Any:
    """A channel with a connection of its own; without that, all channels of a process share one."""
    import grpc

    return grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])


def find_call(channel: Any) -> Any:
    """ModelInfer, from bytes to bytes."""
    return channel.unary_unary(METHOD)


def try_grpc(address: str, content: bytes) -> None:
    """Send one request. Raises NoModel if nothing answers there, or if the request is refused."""
    import grpc

    with open_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_CONNECT_S)
        except grpc.FutureTimeoutError:
            raise NoModel(
                f"no gRPC at {address} within {_CONNECT_S:g} s: start the server with SLUICE_GRPC_PORT, and give "
                "--grpc HOST:PORT"
            ) from None
        try:
            find_call(channel)(content, timeout=60.0, metadata=tuple(key_headers().items()))
        except grpc.RpcError as error:
            if error.code().name in _REFUSED:
                raise NoModel(f"gRPC at {address} answered {error.code().name}: {error.details()}") from None
