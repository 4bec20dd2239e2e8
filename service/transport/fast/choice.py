"""Chooses uvicorn's HTTP protocol where BentoML makes the server, which has no option for it."""

from uvicorn.config import HTTP_PROTOCOLS

from service.transport.fast.protocol import FastProtocol, Http1Protocol

_MODULE = "service.transport.fast.protocol"


def choose_protocol(is_fast: bool) -> None:
    """Set the protocol of all servers that this process makes from now on."""
    HTTP_PROTOCOLS["auto"] = f"{_MODULE}:{(FastProtocol if is_fast else Http1Protocol).__name__}"
