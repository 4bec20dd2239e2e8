"""Where a server listens. A host name is resolved and a taken port is reported before the workers start."""

import os
import socket

from service.settings import PREFIX, Settings, SettingsError


def find_address(settings: Settings) -> Settings:
    """The settings with an address as the host, the same for HTTP and gRPC. IPv4 goes before IPv6.

    Raises SettingsError if the name cannot be resolved, or if HTTP and gRPC have the same port.
    """
    settings = settings.replace(host=_resolve(settings.host))
    if settings.port and settings.port == settings.grpc_port:
        raise SettingsError(f"{PREFIX}GRPC_PORT={settings.grpc_port}: expected another port than {PREFIX}PORT")
    return settings


def open_listener(settings: Settings, backlog: int) -> socket.socket:
    """The listening socket of HTTP; `::` includes IPv4. Raises SettingsError if the port cannot be used."""
    return _listen(settings.host, settings.port, "port", backlog)


def open_listeners(settings: Settings, backlog: int) -> list[socket.socket]:
    """The listening sockets of HTTP and, unless it is off, of gRPC. Raises SettingsError if a port cannot be used."""
    listeners = [open_listener(settings, backlog)]
    if settings.grpc_port:
        try:
            listeners.append(_listen(settings.host, settings.grpc_port, "grpc_port", backlog))
        except SettingsError:
            listeners[0].close()
            raise
    return listeners


def join_address(host: str, port: int) -> str:
    """``host:port``, with an IPv6 address in brackets. RFC 3986, section 3.2.2."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _resolve(host: str) -> str:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: the text cannot be a name
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"{PREFIX}HOST={host}: expected an address of this machine, or a name that stands for one: {reason}"
        ) from None
    return str(min(found, key=lambda each: each[0] != socket.AF_INET)[4][0])


def _listen(host: str, port: int, name: str, backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog, dualstack_ipv6=host == "::")
    except (OSError, ValueError) as error:  # ValueError: this machine has no IPv6
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise SettingsError(
            f"{PREFIX}HOST={host} {PREFIX}{name.upper()}={port}: expected an address of this machine, and "
            f"a port that is free there: {reason}"
        ) from None
