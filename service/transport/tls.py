"""The TLS files of the server, for HTTP and gRPC. They are read again when they have changed.

New connections get a renewed certificate; open ones keep theirs. If changed files cannot be used, that is logged and
the earlier ones stay in use. Over HTTP the authority of clients' certificates is read only at the start: a context of
OpenSSL can add authorities, but not remove one.
"""

import contextlib
import logging
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from service.access.audit import write
from service.access.watched_file import WatchedFiles
from service.settings import PREFIX, Settings, SettingsError

logger = logging.getLogger("sluice.tls")

LOOK_AGAIN_S = 2.0
"""How often the files are checked while connections arrive."""


class Identity(NamedTuple):
    """The contents of the PEM files. ``client_ca`` is None if clients need no certificate."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


def read_identity(settings: Settings) -> Identity | None:
    """Read the files; None if TLS is off. Raises SettingsError, which names the setting and the fault of its file."""
    certificate, key, client_ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is None or key is None:
        return None
    identity = Identity(
        _read("tls_certificate", certificate),
        _read("tls_key", key),
        None if client_ca is None else _read("tls_client_ca", client_ca),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        use_identity(context, identity)
    except ssl.SSLError as error:
        raise SettingsError(
            f"{PREFIX}TLS_CERTIFICATE={certificate}, {PREFIX}TLS_KEY={key}: expected PEM files of a certificate chain "
            f"and of its key without a passphrase: {error.reason or error}"
        ) from None
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except ssl.SSLError as error:
            raise SettingsError(
                f"{PREFIX}TLS_CLIENT_CA={client_ca}: expected a PEM file of certificates: {error.reason or error}"
            ) from None
    return identity


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{PREFIX}{name.upper()}={path}: expected a file that can be read: {error.strerror}"
        ) from None


def use_identity(context: ssl.SSLContext, identity: Identity) -> None:
    """Use a certificate in the next handshakes of a context. Raises ssl.SSLError.

    OpenSSL reads only files, and those of the settings may be changing right now. So it reads copies in memory.
    """
    with _in_memory(identity.certificate) as certificate, _in_memory(identity.key) as key:
        context.load_cert_chain(certificate, key, password=lambda: "")  # else OpenSSL asks on the terminal


class RenewedIdentity:
    """The identity of a server whose files may change. Used on one thread."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError if the files cannot be used."""
        paths = (settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
        self._settings = settings
        self._files = WatchedFiles([path for path in paths if path is not None], LOOK_AGAIN_S)
        self.identity = read_identity(settings)

    def renew(self, now: float) -> Identity | None:
        """The new identity if the files have changed since the last call and can be used, else None.

        ``now`` is on a monotonic clock, in seconds.
        """
        if self.identity is None or not self._files.have_changed(now):
            return None
        try:
            self.identity = read_identity(self._settings)
        except SettingsError as error:
            logger.error("the changed TLS files cannot be used, the old ones stay in use: %s", error)
            write("certificate refused", file=str(self._settings.tls_certificate))
            return None
        write("certificate read", file=str(self._settings.tls_certificate))
        return self.identity


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """The path of a temporary file in memory with this content."""
    file = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        with open(file, "wb", closefd=False) as stream:
            stream.write(content)
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)
