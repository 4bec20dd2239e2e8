"""Whether a server is ready, asked with the settings that it has: what a container's health check runs."""

import contextlib
import http.client
import ssl
from pathlib import Path

from service.settings import Settings

TIMEOUT_S = 4.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # the address at which a server that listens on all is asked


def ask_ready(settings: Settings) -> str:
    """Ask `/readyz` of the server with these settings on this machine. Returns why it is not ready, or nothing.

    Over TLS its certificate is not verified: it is for the name that others call it by. Where clients need a
    certificate it is asked with the server's own. One that refuses that is there, and more cannot be known.
    """
    host = _ANY.get(settings.host, settings.host)
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


def read_server_flags(cmdline: Path = Path("/proc/1/cmdline")) -> list[str]:
    """The flags of the `sluice serve` that a container was started with, by hand or by the image; none elsewhere."""
    try:
        words = cmdline.read_text().rstrip("\0").split("\0")
    except (OSError, UnicodeDecodeError):
        return []
    for at, word in enumerate(words[:-1]):
        if Path(word).name in ("sluice", "sluice.py") and words[at + 1] == "serve":
            return words[at + 2 :]
    return []
