"""`sluice serve` and `sluice health`."""

import argparse
import logging
import os
import secrets
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from model_store import DEFAULT_ROOT
from service.cores import count_cores
from service.flags import add_flags, read_flags
from service.metrics.folders import claim_folder
from service.process.channel import BACKLOG
from service.process.health import ask_ready, find_reachable, read_server_flags
from service.process.replacements import keep_fixed
from service.process.supervisor import SIGNALS, supervise, worker_environ
from service.settings import Settings, SettingsError, find_injected
from service.settings.store import read_trusted
from service.transport.addresses import find_address, join_address, open_listeners
from service.transport.open_files import fit_connections
from service.transport.tls import read_identity
from service.versions import check_versions

logger = logging.getLogger("sluice.supervisor")

serve_arguments = health_arguments = add_flags


def serve(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. SIGHUP replaces the workers."""
    began = time.monotonic()
    with ExitStack() as held:
        try:
            check_versions()
            given = read_checked(args)
            settings = find_address(_complete(given))
            listeners = [held.enter_context(each) for each in open_listeners(settings, BACKLOG)]
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the supervisor handles them
            settings = settings.replace(port=listeners[0].getsockname()[1], metrics_dir=_own_folder(settings, held))
        except SettingsError as error:
            print(f"sluice serve: {error}", file=sys.stderr)
            return 2
        print(f"sluice serve: listening on {_join_url(settings, settings.host)}", flush=True)

        def make_environ(settings: Settings) -> dict[str, str]:
            return worker_environ(settings, os.environ, count_cores())

        def reread() -> tuple[Settings, dict[str, str]]:
            wanted, refused = keep_fixed(settings, given, read_checked(args))
            if refused:
                logger.warning("SIGHUP: %s: a change needs a restart, and the old value stays", ", ".join(refused))
            wanted = _complete(wanted)
            return wanted, make_environ(wanted)

        code = supervise(settings, listeners, make_environ(settings), partial(_greet, settings, began), reread)
    os._exit(code)  # a normal exit would restore the signal handlers, and another signal would kill this process


def read_checked(args: argparse.Namespace) -> Settings:
    """The settings, after a check that the store, its signers and the certificate can be read. Raises SettingsError."""
    settings = read_settings(args)
    settings.check_store()
    read_trusted(settings)
    read_identity(settings)
    return settings


def _complete(settings: Settings) -> Settings:
    """The settings with the number of connections that this machine allows, and with a key for all workers."""
    key = settings.state_key if settings.state_key.get_secret_value() else SecretStr(secrets.token_hex(32))
    return settings.replace(max_connections=fit_connections(settings.max_connections), state_key=key)


def _greet(settings: Settings, began: float) -> None:
    """Print where the server answers, and a command to try it."""
    url = _join_url(settings, find_reachable(settings.host)) + settings.base_path
    key = " -H 'X-API-Key: YOUR_KEY'" if settings.asks_for_keys else ""
    ask = f"curl -s {url}/models{key}"
    if settings.store == DEFAULT_ROOT and not settings.models:
        body = '{"model": "language-classifier", "inputs": ["Friday, March 13, 2026"]}'
        ask = f"curl -s {url}/classify{key} -d '{body}'"
    print(f"sluice serve: started in {time.monotonic() - began:.1f} s; playground: {url}/", flush=True)
    print(f"sluice serve: next, in another terminal: {ask}", flush=True)


def _join_url(settings: Settings, host: str) -> str:
    return f"{'https' if settings.tls_certificate else 'http'}://{join_address(host, settings.port)}"


def health(args: argparse.Namespace) -> int:
    """Ask the server with these settings whether it is ready. In a container, the flags of its server count too."""
    try:
        parser = argparse.ArgumentParser()
        serve_arguments(parser)
        of_server, _ = parser.parse_known_args(read_server_flags())
        given = {name: value for name, value in vars(args).items() if value is not None}
        settings = read_settings(argparse.Namespace(**{**vars(of_server), **given}))
        read_identity(settings)
    except SettingsError as error:
        print(f"sluice health: {error}", file=sys.stderr)
        return 2
    reason = ask_ready(settings)
    print(f"sluice health: {reason or 'ready'}")
    return 1 if reason else 0


def read_settings(args: argparse.Namespace) -> Settings:
    """The settings from the flags, and from the environment for those without a flag. Raises SettingsError."""
    injected = find_injected(os.environ)
    if injected:
        why = "ignored, because Kubernetes sets them for a Service of that name"
        print(f"sluice: {', '.join(injected)}: {why}", file=sys.stderr)
    return Settings.from_environ({**os.environ, **read_flags(args)})


def _own_folder(settings: Settings, held: ExitStack) -> Path:
    """The folder that the workers share: that of the settings, or a new one. Raises SettingsError."""
    if settings.metrics_dir is not None:
        held.enter_context(claim_folder(settings.metrics_dir))
        return settings.metrics_dir
    return Path(held.enter_context(tempfile.TemporaryDirectory(prefix="sluice-"))) / "metrics"
