"""Decides whether a caller is on this machine. If the server has no keys, such callers may change it. Pure.

The address alone is not enough. A browser on this machine runs pages of other sites, which can send requests to it,
also under a host name of theirs that resolves to 127.0.0.1. And a proxy on this machine makes all its callers look
local.
"""

import ipaddress
from typing import Final

from service.access.grants import Fields

_NAMES: Final = frozenset(("localhost", "127.0.0.1", "[::1]"))
_ANY: Final = frozenset(("0.0.0.0", "::"))  # noqa: S104  # not names of the server
OF_PROXIES: Final = frozenset(
    (
        *(b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"),
        *(b"x-forwarded-port", b"x-forwarded-server", b"x-client-ip", b"x-envoy-external-address"),
    )
)
"""Headers that a proxy adds."""
_OWN_SITE: Final = (b"same-origin", b"none")
"""Accepted values of ``Sec-Fetch-Site``. A page of another port of this machine is `same-site` and is refused."""


def is_local(peer: str, fields: Fields, own_host: str) -> bool:
    """Whether a request comes from a program on this machine, or from a page of this server in a browser on it.

    ``peer`` is the address of the other end, "" if unknown. ``own_host`` is the setting ``host``.
    """
    if not is_loopback(peer):
        return False
    hosts = []
    origins = []
    for name, value in fields:
        if name in OF_PROXIES or (name == b"sec-fetch-site" and value not in _OWN_SITE):
            return False
        if name == b"host":
            hosts.append(value.decode("latin-1").lower())
        elif name == b"origin":
            origins.append(value.decode("latin-1").lower())
    if len(hosts) != 1:
        return False
    [host] = hosts
    names = _NAMES if own_host in _ANY else _NAMES | {_as_in_url(own_host)}
    if _without_port(host) not in names:
        return False
    return all(origin in (f"http://{host}", f"https://{host}") for origin in origins)


def is_loopback(peer: str) -> bool:
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _as_in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()
