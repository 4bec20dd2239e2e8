"""The address of a remote store, such as ``s3://bucket/models``."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from model_store.errors import RemoteError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCHEMES = ("s3", "gs", "az", "https", "http", "oci")
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Address:
    """``host`` is a bucket, a container, or a host with its port. ``path`` has no slash at either end."""

    scheme: str
    host: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.root}"

    @property
    def root(self) -> str:
        """Host and path."""
        return f"{self.host}{'/' if self.path else ''}{self.path}"

    @property
    def is_local(self) -> bool:
        """Whether the host is this machine, for which TLS is not needed."""
        return urlsplit(f"//{self.host}").hostname in _LOCAL

    def find_fault(self, url: str) -> str:
        """Why the remote store may not send us to another URL, for example by a redirect; "" if it may.

        The URL must be https, like that of the store, unless both are on this machine.
        """
        parts = urlsplit(url)
        if parts.scheme == "https" or (parts.scheme == "http" and self.is_local and parts.hostname in _LOCAL):
            return ""
        return f"{self} leads to {parts.scheme}://{parts.hostname}: expected https"


def is_address(text: str) -> bool:
    """Whether a text is meant as an address, and not as the path of a folder."""
    return _SCHEME.match(text) is not None


def read_address(text: str) -> Address:
    """Parse an address. Raises RemoteError, whose text never shows what may be a password."""
    found = _SCHEME.match(text)
    scheme = found[1].lower() if found else ""
    expected = "expected s3://, gs://, az://, https:// or oci://, as in s3://BUCKET/FOLDER"
    if scheme not in _SCHEMES:
        raise RemoteError(f"the address of a store: {expected}, got {scheme or 'no scheme'}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise RemoteError(f"the address of a store: {expected}, got one that cannot be read") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise RemoteError(
            f"the address of a store, {scheme}://…: expected no name, password, query or fragment: credentials "
            "belong in the variables and files where the libraries of such stores look for them"
        )
    if not parts.hostname and not (parts.netloc and port is None):
        raise RemoteError(f"the address of a store: {expected}, got nothing after {scheme}://")
    path = parts.path.strip("/")
    if any(part in ("", ".", "..") for part in path.split("/")) and path:
        raise RemoteError(f"{scheme}://{parts.netloc}/{path}: expected a path without empty parts, '.' and '..'")
    address = Address(scheme, parts.netloc, path)
    if scheme == "http" and not address.is_local:
        raise RemoteError(f"{address}: expected https; http is for this machine only")
    return address
