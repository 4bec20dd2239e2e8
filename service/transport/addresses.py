"""Where a server listens: a host name becomes an address, and ports that cannot be had are told before the start."""

import ipaddress
import socket

from service.settings import PREFIX, Settings, SettingsError


def find_address(settings: Settings) -> Settings:
    """The settings with an address in place of a host name, the same for HTTP and gRPC; IPv4 before IPv6.

    Raises SettingsError for a name that this machine cannot resolve, and for a gRPC port that cannot be had there.
    """
    host = settings.host
    if not _is_address(host):
        settings = settings.replace(host=_resolve(host))
    if settings.port and settings.port == settings.grpc_port:
        raise SettingsError(f"{PREFIX}GRPC_PORT={settings.grpc_port}: expected another port than {PREFIX}PORT")
    if settings.grpc_port:  # 0: off
        _bind(settings.host, settings.grpc_port, "grpc_port").close()  # each worker listens there by itself
    return settings


def open_listener(settings: Settings, backlog: int) -> socket.socket:
    """The socket of HTTP, which listens; `::` is for IPv4 too. Raises SettingsError if the port cannot be had."""
    listener = _bind(settings.host, settings.port, "port")
    try:
        listener.listen(backlog)
    except OSError as error:  # another one has begun to listen since
        listener.close()
        raise _refusal(settings.host, settings.port, "port", error) from None
    return listener


def join_address(host: str, port: int) -> str:
    """``host:port``, an address of IPv6 in brackets. RFC 3986, section 3.2.2."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _resolve(host: str) -> str:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the latter for what cannot be a name at all
        raise SettingsError(
            f"{PREFIX}HOST={host}: expected an address of this machine, or a name that stands for one: {_reason(error)}"
        ) from None
    return str(min(found, key=lambda each: each[0] != socket.AF_INET)[4][0])


def _bind(host: str, port: int, name: str) -> socket.socket:
    try:
        bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:  # a machine without IPv6
        raise _refusal(host, port, name, error) from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier server may linger
        if host == "::":
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise _refusal(host, port, name, error) from None
    return bound


def _refusal(host: str, port: int, name: str, error: OSError) -> SettingsError:
    return SettingsError(
        f"{PREFIX}HOST={host} {PREFIX}{name.upper()}={port}: expected an address of this machine, and "
        f"a port that is free there: {_reason(error)}"
    )


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
