"""Checks of the address, of TLS and keys, and of environment variables."""

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from service.access.guard import open_guard
from service.doctor.finding import Finding
from service.process.health import ask_ready
from service.settings import PREFIX, Settings, SettingsError, find_injected
from service.transport.addresses import find_address, join_address, open_listener
from service.transport.tls import read_identity

_HERE = ("127.0.0.1", "localhost", "::1")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def check_address(settings: Settings) -> Iterator[Finding]:
    """Whether the ports are free. A server that already answers on the port is not a fault."""
    try:
        found = find_address(settings.replace(grpc_port=0))
    except SettingsError as error:
        yield Finding("address", "wrong", str(error), f"correct {PREFIX}HOST")
        return
    yield _check_port(found, "port")
    if settings.grpc_port and find_spec("grpc") is None:
        text = f"{PREFIX}GRPC_PORT={settings.grpc_port}: grpcio is not installed"
        yield Finding("gRPC", "wrong", text, "pip install 'sluice-serving[grpc]'")
    if settings.grpc_port:
        yield _check_port(found.replace(port=settings.grpc_port), "grpc_port")


def _check_port(settings: Settings, name: str) -> Finding:
    place = join_address(settings.host, settings.port)
    variable = f"{PREFIX}{name.upper()}"
    try:
        open_listener(settings, 1).close()
    except SettingsError as error:
        if name == "port" and not ask_ready(settings):
            text = f"a server is ready at {place}, so another one cannot start there"
            return Finding(name, "note", text, f"choose another {variable} for a second server")
        return Finding(name, "wrong", str(error), f"end what listens there (ss -ltnp), or choose another {variable}")
    return Finding(name, "ok", f"{place} is free" if settings.port else "0: any free port")


def check_tls(settings: Settings) -> Iterator[Finding]:
    try:
        identity = read_identity(settings)
    except SettingsError as error:
        yield Finding("TLS", "wrong", str(error), "correct the files")
        return
    if identity is not None:
        yield Finding("TLS", "ok", "certificate and key fit together")
    elif settings.host not in _HERE:
        yield Finding(
            "TLS",
            "note",
            f"off, and {PREFIX}HOST={settings.host} is reached from other machines",
            f"end TLS in a proxy, or set {PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY",
        )


def check_access(settings: Settings) -> Iterator[Finding]:
    """Whether callers need a key, and whether the keys can be used."""
    try:
        guard = open_guard(settings)
    except SettingsError as error:
        yield Finding("access", "wrong", str(error), "correct the keys: docs/how-to/access.md")
        return
    if guard is not None:
        yield Finding("access", "ok", "callers need a key or a token")
    elif settings.host not in _HERE and settings.tls_client_ca is None:
        yield Finding(
            "access",
            "note",
            f"everybody who reaches {PREFIX}HOST={settings.host} may ask the server",
            f"set {PREFIX}API_KEYS_FILE, or let a proxy decide: docs/how-to/access.md",
        )


def check_variables(environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Variables that may not have the effect that people expect."""
    injected = find_injected(environ)
    if injected:
        yield Finding(
            "variables",
            "note",
            f"ignored, because Kubernetes sets them for a Service of that name: {', '.join(injected)}",
            "enableServiceLinks: false in the pod keeps them out",
        )
    threads = [f"{name}={environ[name]}" for name in _THREADS if environ.get(name)]
    if threads:
        yield Finding(
            "variables",
            "note",
            f"{', '.join(threads)}: used, although a server would choose the number by its cores",
            f"unset {' '.join(name for name in _THREADS if environ.get(name))} unless you mean it",
        )


def read_settings(given: Mapping[str, str], environ: Mapping[str, str]) -> tuple[Settings | None, list[Finding]]:
    """The settings that a server would have (None if they are wrong), and the findings about them."""
    try:
        settings = Settings.from_environ({**environ, **given})
    except SettingsError as error:
        text = f"{error} (what follows was checked with the defaults)"
        return None, [Finding("settings", "wrong", text, "`sluice serve --help` lists all settings")]
    changed = [name for name, field in Settings.model_fields.items() if getattr(settings, name) != field.default]
    text = f"{len(changed)} differ from their defaults: {', '.join(changed)}" if changed else "all are the defaults"
    return settings, [Finding("settings", "ok", text)]
