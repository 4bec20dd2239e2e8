"""Certificates for tests, made by the openssl command."""

import subprocess
from pathlib import Path

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


class Authority:
    """Signs certificates. Its own files are ``certificate`` and ``key``, in an existing folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self.certificate, self.key = self._make(name, "/CN=An authority of the tests", "-nodes")

    def issue(self, name: str, passphrase: str | None = None) -> tuple[Path, Path]:
        """The files of a certificate for localhost and of its key."""
        signs = ("-CA", str(self.certificate), "-CAkey", str(self.key), "-addext", "basicConstraints=CA:FALSE")
        hosts = ("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        secret = ("-nodes",) if passphrase is None else ("-passout", f"pass:{passphrase}")
        return self._make(name, "/CN=localhost", *signs, *hosts, *secret)

    def _make(self, name: str, context: str, *options: str) -> tuple[Path, Path]:
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}-key.pem"
        files = ("-out", str(certificate), "-keyout", str(key))
        command = ("openssl", "req", "-x509", *_EC, "-days", "2", "-subj", context, *options, *files)
        subprocess.run(command, check=True, capture_output=True)
        return certificate, key
