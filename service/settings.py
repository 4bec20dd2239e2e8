"""The facts of this machine and deployment: one frozen value, built once from an environment that is passed in.

Every setting is an environment variable ``SLUICE_<NAME>``; an unknown one of ours is an error, so that a misspelt limit
does not go unnoticed. Facts of a model live in its manifest.
"""

import dataclasses
import math
import os
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from model_store import DEFAULT_ROOT

PREFIX = "SLUICE_"
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9._~:\[\]-]+", re.IGNORECASE)
_BASE_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
PROVIDERS = ("auto", "tensorrt", "cuda", "cpu")
MAX_INPUTS = 4096
_RENAMED = {"SLUICE_HOT_DOOR": "SLUICE_FAST_PATH"}
"""Variables that had another name; the old one is still taken."""
_OF_KUBERNETES = re.compile(
    r"SLUICE(?:_[A-Z0-9_]+)?_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_KUBERNETES_PORT = re.compile(r"SLUICE(?:_[A-Z0-9_]+)?_PORT")
_KUBERNETES_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://\S+")


class SettingsError(Exception):
    """A variable cannot be used; the text names it, its value and what was expected."""


def find_injected(environ: Mapping[str, str]) -> list[str]:
    """Variables that Kubernetes gives to each pod for a Service called `sluice` or `sluice-…`: none are settings."""
    return sorted(
        name
        for name, value in environ.items()
        if _OF_KUBERNETES.fullmatch(name)
        or (_KUBERNETES_PORT.fullmatch(name) and _KUBERNETES_ADDRESS.fullmatch(value.strip()))
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits carry their unit in the name. ``sluice serve --help`` lists all of them."""

    store: Path = field(default=DEFAULT_ROOT, metadata={"help": "folder of models"})
    follow_links: bool = field(
        default=False, metadata={"help": "let symbolic links in the store lead to files outside of it"}
    )
    models: tuple[str, ...] = field(default=(), metadata={"help": "serve only these, comma-separated; empty: all"})
    lazy: bool = field(default=False, metadata={"help": "load a model when it is first asked for"})
    require_exact: bool = field(
        default=False, metadata={"help": "refuse models whose rows do not give the same bits alone and in company"}
    )
    batch_unproved: bool = field(
        default=False,
        metadata={"help": "batch models whose rows are not known to be independent, if they pass a trial at load"},
    )
    default_models: Mapping[str, str] = field(
        default_factory=dict, metadata={"help": "task=model pairs, comma-separated: who answers without `model`"}
    )
    host: str = field(default="127.0.0.1", metadata={"help": "address or name to listen on"})
    port: int = field(default=3000, metadata={"help": "port to listen on"})
    grpc_port: int = field(default=0, metadata={"help": "port of the protocol over gRPC, on the same host; 0: off"})
    tls_certificate: Path | None = field(
        default=None, metadata={"help": "PEM file of the certificate chain, for HTTP and gRPC; empty: plain text"}
    )
    tls_key: Path | None = field(default=None, metadata={"help": "PEM file of the key of the certificate"})
    tls_client_ca: Path | None = field(
        default=None, metadata={"help": "PEM file of who signs clients: those without a certificate are refused"}
    )
    workers: int = field(default=1, metadata={"help": "processes, each with its own copy of the models"})
    provider: str = field(default="auto", metadata={"help": "auto, or a required one: tensorrt, cuda, cpu"})
    lanes: int = field(default=0, metadata={"help": "batches in flight on a device; 0: one a core (two on a GPU)"})
    intra_op_threads: int = field(
        default=0, metadata={"help": "threads of one run on the CPU; 0: one, and all cores for a batch that is alone"}
    )
    gpu_mem_bytes: int = field(default=0, metadata={"help": "device memory of one model's arena; 0: no limit"})
    cuda_graphs: bool = field(default=False, metadata={"help": "replay CUDA graphs where the model allows it"})
    tf32: bool = field(default=False, metadata={"help": "multiply with 10 bits of mantissa on CUDA: faster, coarser"})
    engine_cache: Path | None = field(default=None, metadata={"help": "folder in which TensorRT keeps its engines"})
    base_path: str = field(default="", metadata={"help": "prefix of every route, such as /team/sluice"})
    cors_origins: tuple[str, ...] = field(
        default=(),
        metadata={"help": "origins whose pages may call, comma-separated, such as https://app.example; * for all"},
    )
    control: bool = field(
        default=False, metadata={"help": "let callers load and unload models, and change traces and logs"}
    )
    fast_path: bool = field(default=True, metadata={"help": "answer tensors below ASGI; false: by the ASGI path"})
    max_rows: int = field(default=64, metadata={"help": "rows of one batch"})
    max_queue_rows: int = field(default=4096, metadata={"help": "rows that may wait for one model; then 429"})
    max_slots: int = field(default=256, metadata={"help": "rows inside the loop of one model at once"})
    max_sequences: int = field(default=1024, metadata={"help": "sequences whose state is kept at once; then 429"})
    max_sequence_bytes: int = field(default=256 << 20, metadata={"help": "bytes of the state of all sequences"})
    sequence_idle_s: float = field(
        default=60.0, metadata={"help": "seconds after which the state of an idle sequence is let go of"}
    )
    max_wait_s: float = field(default=0.0, metadata={"help": "seconds that a partial batch is held; 0: never"})
    deadline_s: float = field(
        default=30.0, metadata={"help": "seconds until a request without its own timeout gets 504"}
    )
    max_timeout_s: float = field(
        default=600.0,
        metadata={"help": "seconds that a request's own timeout may give it; a longer one counts as that"},
    )
    keep_alive_s: float = field(
        default=75.0, metadata={"help": "seconds after which an idle connection is closed; longer than proxies keep it"}
    )
    header_timeout_s: float = field(
        default=10.0, metadata={"help": "seconds from the first byte of a header to its end; then 408"}
    )
    body_timeout_s: float = field(
        default=30.0,
        metadata={"help": "seconds without progress, 1 KiB/s, after which a body is 408, and an unread answer ends"},
    )
    max_connections: int = field(
        default=4096, metadata={"help": "connections of a worker at once, which are open files; then 503"}
    )
    max_body_bytes: int = field(default=64 << 20, metadata={"help": "bytes of one request body; then 413"})
    max_inputs: int = field(
        default=MAX_INPUTS,
        metadata={"help": "inputs of one request, and outputs that it names; a model with more takes all it has"},
    )
    max_held_bytes: int = field(
        default=1 << 30,
        metadata={"help": "bytes of request bodies that a worker holds at once, and of pictures that run in tiles"},
    )
    max_run_bytes: int = field(
        default=0,
        metadata={"help": "bytes that a run may take, where rows have any size; more is 413; 0: a share of the memory"},
    )
    max_image_pixels: int = field(
        default=50_000_000,
        metadata={"help": "pixels of one picture, before decoding; a request has 8 times as many"},
    )
    max_generated: int = field(default=1024, metadata={"help": "samples or drawn paths of one request"})
    max_steps: int = field(default=10_000, metadata={"help": "steps of one request through a loop"})
    state_key: str = field(
        default="",
        repr=False,
        metadata={"help": "secret that signs states given to callers, the same on all replicas; empty: a new one"},
    )
    load_timeout_s: float = field(
        default=600.0, metadata={"help": "seconds until the load of a version is given up; then it is unavailable"}
    )
    ready_wait_s: float = field(
        default=10.0,
        metadata={"help": "seconds that readiness and other models wait for one to load; more for a large one"},
    )
    drain_s: float = field(default=30.0, metadata={"help": "seconds that a stopping server may take for open requests"})
    lame_duck_s: float = field(
        default=0.0,
        metadata={"help": "seconds that a stopping server still answers, not ready, before the drain begins"},
    )
    log_level: str = field(default="info", metadata={"help": "debug, info, warning or error"})
    metrics_dir: Path | None = field(
        default=None, metadata={"help": "where workers share their counters; set by serve"}
    )

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not value >= least or value == math.inf:  # so that NaN fails too
                expected = "a finite number" if value == math.inf else f"at least {least}"
                raise SettingsError(f"{PREFIX}{name.upper()}={value}: expected {expected}")
        _check_choice("provider", self.provider, PROVIDERS)
        _check_choice("log_level", self.log_level, ("debug", "info", "warning", "error"))
        if not _BASE_PATH.fullmatch(self.base_path):
            raise SettingsError(f"{PREFIX}BASE_PATH={self.base_path}: expected a path such as /team/sluice, or nothing")
        for origin in self.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                raise SettingsError(
                    f"{PREFIX}CORS_ORIGINS={origin}: expected *, or origins such as https://app.example:8443"
                )
        for name, other in (
            ("tls_certificate", "tls_key"),
            ("tls_key", "tls_certificate"),
            ("tls_client_ca", "tls_key"),
        ):
            if getattr(self, name) is not None and getattr(self, other) is None:
                raise SettingsError(
                    f"{PREFIX}{name.upper()}={getattr(self, name)}: expected {PREFIX}{other.upper()} too"
                )
        for name in ("port", "grpc_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise SettingsError(f"{PREFIX}{name.upper()}={getattr(self, name)}: expected 0 to 65535")

    def check_store(self) -> None:
        """Raises SettingsError unless the store is a folder that can be read; it may be empty."""
        said = f"{PREFIX}STORE={self.store} (--store): expected a folder of models that can be read"
        if not os.path.isdir(self.store):  # unlike pathlib's this raises nothing
            fault = "it is not a folder" if os.path.exists(self.store) else "there is none"
            raise SettingsError(f"{said}, {fault}: correct the path, or make the folder and put models in it")
        if not os.access(self.store, os.R_OK | os.X_OK):
            raise SettingsError(f"{said}, permission is denied: let the user of the server read it")

    @property
    def keeps_sequences(self) -> bool:
        """Whether a request finds its sequence: there is one worker, or they reach each other by a folder."""
        return self.workers == 1 or self.metrics_dir is not None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Build the settings. Raises SettingsError, which names the variable, its value and what was expected."""
        hints = typing.get_type_hints(cls)
        known = {PREFIX + f.name.upper(): f.name for f in fields(cls)}
        injected = find_injected(environ)
        environ = {name: value for name, value in environ.items() if name not in injected}
        environ = {**{new: environ[old] for old, new in _RENAMED.items() if old in environ}, **environ}
        unknown = sorted(
            name for name in environ if name.startswith(PREFIX) and name not in known.keys() | _RENAMED.keys()
        )
        if unknown:
            raise SettingsError(f"unknown setting {', '.join(unknown)}: there are {', '.join(sorted(known))}")
        values: dict[str, Any] = {}
        for variable, name in known.items():
            text = environ.get(variable, "").strip()
            if text:
                values[name] = _convert(variable, text, hints[name])
        return cls(**values)

    def replace(self, **changes: Any) -> "Settings":
        """These settings with some values changed."""
        return dataclasses.replace(self, **changes)

    def to_environ(self) -> dict[str, str]:
        """The variables that make these settings again; the worker processes get them this way."""
        variables = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Mapping):
                value = ",".join(f"{k}={v}" for k, v in value.items())
            elif isinstance(value, tuple):
                value = ",".join(value)
            variables[PREFIX + item.name.upper()] = "" if value is None else str(value)
        return variables


_LEAST: Mapping[str, float] = {
    "workers": 1,
    "lanes": 0,
    "intra_op_threads": 0,
    "gpu_mem_bytes": 0,
    "max_rows": 1,
    "max_queue_rows": 1,
    "max_slots": 1,
    "max_generated": 1,
    "max_steps": 1,
    "max_sequences": 1,
    "max_sequence_bytes": 1,
    "sequence_idle_s": 0.001,
    "max_wait_s": 0,
    "deadline_s": 0.001,
    "max_timeout_s": 0.001,
    "keep_alive_s": 0.001,
    "header_timeout_s": 0.001,
    "body_timeout_s": 0.001,
    "max_connections": 1,
    "max_body_bytes": 1024,
    "max_inputs": 1,
    "max_held_bytes": 1024,
    "max_run_bytes": 0,
    "max_image_pixels": 1,
    "load_timeout_s": 0.001,
    "ready_wait_s": 0.001,
    "drain_s": 0,
    "lame_duck_s": 0,
}


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingsError(f"{PREFIX}{name.upper()}={value}: expected one of {', '.join(choices)}")


def _pairs(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    if not all(key.strip() and value.strip() for key, _, value in pairs):
        raise ValueError(text)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _boolean(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


_CONVERT: Mapping[object, tuple[Callable[[str], object], str]] = {
    str: (str, "text"),
    bool: (_boolean, "true or false"),
    int: (int, "a whole number"),
    float: (float, "a number of seconds"),
    Path: (Path, "a path"),
    tuple[str, ...]: (lambda t: tuple(p.strip() for p in t.split(",") if p.strip()), "names, comma-separated"),
    Mapping[str, str]: (_pairs, "name=value pairs, comma-separated"),
}


def _convert(variable: str, text: str, hint: object) -> object:
    if isinstance(hint, types.UnionType):
        hint = typing.get_args(hint)[0]
    convert, expected = _CONVERT[hint]
    try:
        return convert(text)
    except (ValueError, KeyError):
        raise SettingsError(f"{variable}={text}: expected {expected}") from None
