"""Where a server listens: a host name becomes an address, and ports that cannot be had are told before the start."""

import ipaddress
import socket
from contextlib import closing

from service.settings import PREFIX, Settings, SettingsError


def find_address(settings: Settings) -> Settings:
    """The settings with an address in place of a host name, for BentoML takes no names; IPv4 before IPv6.

    Raises SettingsError for a name that this machine cannot resolve, and for a port that cannot be had there.
    """
    host = settings.host
    if not _is_address(host):
        settings = settings.replace(host=_resolve(host))
    if settings.port and settings.port == settings.grpc_port:
        raise SettingsError(f"{PREFIX}GRPC_PORT={settings.grpc_port}: expected another port than {PREFIX}PORT")
    for name in ("port", "grpc_port"):
        port = getattr(settings, name)
        if port:  # 0: any that is free, or off
            _try_to_listen(settings.host, port, name)
    return settings


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


def _try_to_listen(host: str, port: int, name: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier server may linger
        try:
            found.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"{PREFIX}HOST={host} {PREFIX}{name.upper()}={port}: expected an address of this machine, and "
                f"a port that is free there: {_reason(error)}"
            ) from None


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
