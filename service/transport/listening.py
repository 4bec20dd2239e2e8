"""Listening sockets that somebody else has opened in this process and that have no interface of ours: those of gRPC."""

import contextlib
import ctypes
import os
import socket
import struct
import sys
from collections.abc import Iterator

_SO_ATTACH_FILTER = 26
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)
"""The filter "return 0": no byte of a packet is let through. See socket(7) and Linux's networking/filter.rst."""


def find_listening(port: int) -> Iterator[socket.socket]:
    """Copies of the sockets of this process that listen on a TCP port. Linux; elsewhere none."""
    if sys.platform != "linux":
        return
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # it is no socket, or was that of the listing
            found = socket.socket(fileno=os.dup(int(name)))
            with found:
                is_tcp = found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM
                listens = is_tcp and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if listens and found.getsockname()[1] == port:
                    yield found


def drop_new_connections(port: int) -> None:
    """Let the sockets of this process that listen on a port ignore new connections; those that wait stay.

    Clients try again after a second. If the socket has been closed by then, another one with SO_REUSEPORT takes the
    connection. Without this, connections that are made while the socket is closed would be reset.
    """
    program = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
    for listening in find_listening(port):
        with contextlib.suppress(OSError):  # a sandbox forbids it: then a connection may be reset
            listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))
