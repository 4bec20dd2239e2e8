"""Which protocol the servers of this process speak, where BentoML builds them and asks nobody."""

from uvicorn.config import HTTP_PROTOCOLS

from service.transport.fast.protocol import FastProtocol, Http1Protocol

_MODULE = "service.transport.fast.protocol"


def choose_protocol(is_fast: bool) -> None:
    """Let the servers that this process makes from now on speak this."""
    HTTP_PROTOCOLS["auto"] = f"{_MODULE}:{(FastProtocol if is_fast else Http1Protocol).__name__}"
