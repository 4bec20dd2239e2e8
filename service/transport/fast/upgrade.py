"""Turns an HTTP connection into a live stream."""

from service.access.grants import INFER
from service.errors import ServiceError
from service.transport.fast.limits import LimitedProtocol
from service.transport.handler import Handler
from service.transport.observer import RequestEnd
from service.transport.request import request_id_of
from service.transport.websocket.connection import WebSocket
from service.transport.websocket.handshake import Handshake, accept, check_handshake


def upgrade_connection(protocol: LimitedProtocol, handler: Handler | None, handshake: Handshake, data: bytes) -> None:
    """Answer a handshake. If it succeeds, a WebSocket takes over the connection. ``data`` followed the handshake."""
    if handler is None or handler.streams is None:
        return  # then there was no handshake
    transport, connections = protocol.transport, protocol.server_state.connections
    peer = protocol.client[0] if protocol.client else ""
    grant = None
    try:
        if handler.guard is not None:
            grant = handler.guard.admit(INFER, handshake.fields, peer, is_handshake=True)
        check_handshake(handshake, handler.settings)
        converse = handler.streams.open(handshake.endpoint, handshake.query, handshake.headers)
    except ServiceError as error:
        protocol.refused_url = protocol.url
        protocol.end_with(error)
        return
    request_id = request_id_of(handshake.headers)
    opened = None
    if handler.observer is not None:
        endpoint = handshake.endpoint
        path = protocol.url.partition(b"?")[0].decode("latin-1")
        opened = RequestEnd("GET", endpoint.route, path, 101, 0.0, request_id, handshake.headers)
        opened.model, opened.client, opened.caller = endpoint.model, peer, "" if grant is None else grant.name
        opened.trace = handler.observer.begin(endpoint.route, handshake.headers)
    socket = WebSocket(transport, handler, connections, request_id, converse, grant, opened)
    protocol.flow.resume_reading()
    transport.set_protocol(socket)
    protocol.connection_lost(ConnectionAbortedError())  # with None, uvicorn would close the transport
    transport.write(accept(handshake, request_id, protocol.server_state.default_headers))
    socket.begin(data)
