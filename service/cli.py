"""`sluice serve`."""

import argparse
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from service.settings import PREFIX, Settings, SettingsError
from service.transport.addresses import find_address
from service.transport.open_files import fit_connections
from service.transport.tls import read_identity

_FLAGS = ("store", "models", "host", "port", "workers", "provider", "max_rows", "deadline_s", "log_level")
"""The settings that have a flag; all have a variable."""
_FILES = ("store", "tls_certificate", "tls_key", "tls_client_ca")


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    helps = {f.name: f.metadata["help"] for f in fields(Settings)}
    for name in _FLAGS:
        parser.add_argument(f"--{name.replace('_', '-')}", help=f"{helps[name]} [{PREFIX}{name.upper()}]")
    others = "\n".join(f"  {PREFIX + n.upper():28}{h}" for n, h in helps.items() if n not in _FLAGS)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"further settings, by environment variable:\n{others}"


def serve(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    given = {PREFIX + name.upper(): value for name in _FLAGS if (value := getattr(args, name)) is not None}
    try:
        settings = Settings.from_environ({**os.environ, **given})
        settings.check_store()
        read_identity(settings)
        settings = find_address(settings)
        settings = settings.replace(max_connections=fit_connections(settings.max_connections))
    except SettingsError as error:
        print(f"sluice serve: {error}", file=sys.stderr)
        return 2
    # BentoML starts its workers in the folder of the code, so relative paths would be looked for there.
    files = {name: path.resolve() for name in _FILES if (path := getattr(settings, name)) is not None}
    settings = settings.replace(**files)
    with _metrics_folder(settings) as prepared:
        return _run_bentoml(prepared)


@contextmanager
def _metrics_folder(settings: Settings) -> Iterator[Settings]:
    """A folder of this server's own: BentoML's default is shared by all servers of a user and wiped at each start."""
    if settings.metrics_dir is not None:
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix="sluice-") as folder:
        yield settings.replace(metrics_dir=Path(folder) / "metrics")


def _run_bentoml(settings: Settings) -> int:
    environ: Mapping[str, str] = {
        **settings.to_environ(),
        "BENTOML_DO_NOT_TRACK": "True",
        "ORT_DISABLE_TELEMETRY": "1",
        "PROMETHEUS_MULTIPROC_DIR": str(settings.metrics_dir) + "-bentoml",
    }
    os.environ.update(environ)
    from bentoml_cli.cli import cli  # only now: BentoML reads the environment when it is imported

    arguments = ["serve", "service:InferenceService", "--working-dir", str(Path(__file__).resolve().parent.parent)]
    arguments += ["--host", settings.host, "--port", str(settings.port)]
    arguments += _tls_arguments(settings)
    arguments += ["--timeout-graceful-shutdown", str(max(1, round(settings.drain_s)))]
    cli.main(arguments, prog_name="bentoml", standalone_mode=False)
    return 0


def _tls_arguments(settings: Settings) -> list[str]:
    if settings.tls_certificate is None:
        return []
    arguments = ["--ssl-certfile", str(settings.tls_certificate), "--ssl-keyfile", str(settings.tls_key)]
    if settings.tls_client_ca is not None:
        arguments += ["--ssl-ca-certs", str(settings.tls_client_ca), "--ssl-cert-reqs", str(int(ssl.CERT_REQUIRED))]
    return arguments
