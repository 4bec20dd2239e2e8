"""The TLS files of the server, for HTTP and gRPC."""

import ssl
from pathlib import Path
from typing import NamedTuple

from service.settings import PREFIX, Settings, SettingsError


class Identity(NamedTuple):
    """The contents of the PEM files. ``client_ca`` is None where clients need no certificate."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


def read_identity(settings: Settings) -> Identity | None:
    """None where TLS is off. Raises SettingsError, which names the setting and what is wrong with its file."""
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
        context.load_cert_chain(certificate, key, password=lambda: "")  # else OpenSSL asks on the terminal
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
