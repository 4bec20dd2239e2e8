"""The flags of `sluice serve`: one for each setting, in groups."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr

from service.settings import PREFIX, Settings

GROUPS: Mapping[str, tuple[str, ...]] = {
    "models": (
        *("store", "cache_dir", "store_url", "signed_by", "models", "default_models", "lazy", "follow_links"),
        *("model_memory_bytes", "keep_models"),
        *("versions", "model_versions", "follow", "poll_s"),
        *("require_exact", "batch_unproved", "load_timeout_s", "ready_wait_s"),
    ),
    "address": (
        *("host", "port", "grpc_port", "base_path", "cors_origins"),
        *("tls_certificate", "tls_key", "tls_client_ca"),
    ),
    "access": (
        *("api_keys_file", "api_keys", "control"),
        *("oidc_issuer", "oidc_audience", "oidc_jwks_file", "oidc_scopes"),
        *("oidc_requests_per_s", "oidc_rows_per_s", "oidc_rows_per_day"),
    ),
    "processes and devices": (
        *("workers", "provider", "lanes", "intra_op_threads"),
        *("gpu_device", "gpu_mem_bytes", "cuda_graphs", "tf32", "engine_cache"),
    ),
    "batches and waiting": (*("max_rows", "max_wait_s", "max_queue_rows", "max_slots", "deadline_s", "max_timeout_s"),),
    "limits of a request": (
        *("max_body_bytes", "max_inputs", "max_image_pixels", "max_sound_samples", "max_generated", "max_steps"),
        *("max_run_bytes", "max_held_bytes"),
    ),
    "connections, sequences and streams": (
        *("max_connections", "header_timeout_s", "body_timeout_s", "keep_alive_s"),
        *("max_sequences", "max_sequence_bytes", "sequence_idle_s", "max_message_bytes", "state_key"),
    ),
    "shared memory": ("shared_memory", "max_regions", "max_region_bytes"),
    "operation": ("config", "secrets_dir", "fast_path", "drain_s", "lame_duck_s"),
    "logs, metrics and traces": ("log_level", "log_format", "access_log", "tracing", "trace_ratio", "metrics_dir"),
}
"""Heading of a group in the help -> its settings. Other settings are under "others"."""

_UNITS = {"_s": "SECONDS", "_bytes": "BYTES", "_dir": "FOLDER", "_pixels": "N", "_path": "PATH"}
_FILES = (
    *("config", "signed_by", "tls_certificate", "tls_key", "tls_client_ca"),
    *("api_keys_file", "oidc_jwks_file", "access_log"),
)
_WORDS = {
    **dict.fromkeys(("store", "engine_cache"), "FOLDER"),
    "store_url": "URL",
    **dict.fromkeys(_FILES, "FILE"),
    "host": "ADDRESS",
    **dict.fromkeys(("models", "shared_memory"), "A,B"),
    "default_models": "T=M,…",
    "versions": "POLICY",
    "model_versions": "M=POLICY,…",
    "cors_origins": "A,B",
    "oidc_issuer": "URL",
    "oidc_audience": "NAME",
    "oidc_scopes": "S=N,…",
    **dict.fromkeys(("oidc_requests_per_s", "oidc_rows_per_s", "oidc_rows_per_day"), "N"),
    "provider": "NAME",
    "gpu_device": "N",
    "log_level": "LEVEL",
    "log_format": "FORMAT",
}


class _Format(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting except secrets, which other users of the machine could see in a list of processes.

    A value stays a text, or None without the flag. ``Settings`` reads it as it reads variables.
    """
    parser.formatter_class = _Format
    parser.usage = f"{parser.prog} [--SETTING VALUE ...]"
    parser.epilog = (
        f"Each setting is a flag, or a variable (--max-rows is {PREFIX}MAX_ROWS), or a line of the TOML file --config "
        "(max_rows = 64). The first of these that has a value counts. [] has the default."
    )
    grouped = {name for names in GROUPS.values() for name in names}
    others = tuple(name for name in Settings.model_fields if name not in grouped)
    for title, names in {**GROUPS, "others": others}.items():
        secrets = [_describe_secret(name) for name in names if is_secret(name)]
        group = parser.add_argument_group(title, " ".join(secrets) or None)
        for name in names:
            if not is_secret(name):
                _add_flag(group, name)


def is_secret(name: str) -> bool:
    return isinstance(Settings.model_fields[name].default, SecretStr)


def read_flags(args: argparse.Namespace) -> dict[str, str]:
    """The variables with the values of the given flags."""
    given = {name: getattr(args, name, None) for name in Settings.model_fields}
    return {PREFIX + name.upper(): value for name, value in given.items() if value is not None}


def _add_flag(group: argparse._ArgumentGroup, name: str) -> None:
    field = Settings.model_fields[name]
    shown = show_default(field.default)
    text = f"{field.description}{f' [{shown}]' if shown else ''}".replace("%", "%%")
    flag = f"--{name.replace('_', '-')}"
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else None
    if isinstance(field.default, bool):
        group.add_argument(flag, nargs="?", const="true", choices=("true", "false"), metavar="true", help=text)
    else:
        unit = next((word for end, word in _UNITS.items() if name.endswith(end)), "N")
        group.add_argument(flag, metavar=_WORDS.get(name, unit), choices=choices, help=text)


def _describe_secret(name: str) -> str:
    return f"{PREFIX}{name.upper()}, which has no flag: {Settings.model_fields[name].description}."


def show_default(value: Any) -> str:
    """A default as a user would write it; "" if there is none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Path):
        return "the reference models"
    if isinstance(value, int | float | str):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return ""
