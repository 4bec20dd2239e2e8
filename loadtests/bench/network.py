"""A private network namespace with only a loopback interface.

Some peers, such as Ray, open more ports on other interfaces. Here nobody outside can reach them, and all peers are
measured over the same loopback interface.
"""

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
OWN_NETWORK = Path("/proc/thread-self/ns/net")


class NoPrivateNetwork(Exception):
    """The system has no network namespaces, or this user may not make one."""


@contextmanager
def private_network() -> Iterator[None]:
    """Within the block, this thread and the threads and processes that it starts are in a network of their own.

    Raises NoPrivateNetwork. Linux and root only.
    """
    try:
        before = os.open(OWN_NETWORK, os.O_RDONLY)
    except OSError as failure:
        raise NoPrivateNetwork(f"no network namespaces here: {failure}") from failure
    try:
        _call("unshare", CLONE_NEWNET)
        try:
            _raise_loopback()
            yield
        finally:
            _call("setns", before, CLONE_NEWNET)
    finally:
        os.close(before)


def _call(name: str, *arguments: int) -> None:
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError) as failure:
        raise NoPrivateNetwork(f"no {name}() here") from failure
    if function(*arguments) != 0:
        raise NoPrivateNetwork(f"{name}(): {os.strerror(ctypes.get_errno())}")


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        _, flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
