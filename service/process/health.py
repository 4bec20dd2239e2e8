"""Asks a server on this machine whether it is ready. For the health check of a container."""

import contextlib
import http.client
import ssl
from pathlib import Path

from service.settings import Settings

TIMEOUT_S = 4.0
_REACHABLE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # for servers that listen on all addresses


def ask_ready(settings: Settings) -> str:
    """Ask `/readyz` of the server with these settings. Returns why it is not ready, or "".

    The server's certificate is not verified, because it is not made out for this address. If clients need a
    certificate, we send the server's own. A server that refuses it counts as ready: it answers, and we cannot find out
    more.
    """
    host = find_reachable(settings.host)
    connection = http.client.HTTPConnection(host, settings.port, timeout=TIMEOUT_S)
    if settings.tls_certificate is not None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if settings.tls_client_ca is not None:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key)
        connection = http.client.HTTPSConnection(host, settings.port, timeout=TIMEOUT_S, context=context)
    with contextlib.closing(connection):
        try:
            connection.request("GET", f"{settings.base_path}/readyz")
            answer = connection.getresponse()
            text = answer.read(1000).decode(errors="replace").strip()
        except ssl.SSLError as error:
            return "" if settings.tls_client_ca is not None and "ALERT" in str(error.reason) else str(error)
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
    return "" if answer.status == 200 else f"{answer.status} {text}"


def find_reachable(host: str) -> str:
    """The address at which this machine reaches its own server that listens on ``host``."""
    return _REACHABLE.get(host, host)


def read_server_flags(cmdline: Path = Path("/proc/1/cmdline")) -> list[str]:
    """The flags of `sluice serve`, if it is the first process of this container."""
    try:
        words = cmdline.read_text().rstrip("\0").split("\0")
    except (OSError, UnicodeDecodeError):
        return []
    for at, word in enumerate(words[:-1]):
        if Path(word).name in ("sluice", "sluice.py") and words[at + 1] == "serve":
            return words[at + 2 :]
    return []
