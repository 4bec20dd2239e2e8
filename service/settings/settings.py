"""The settings of a server: one frozen value, built once from an environment that is passed in.

A setting is an environment variable ``SLUICE_<NAME>``, a file of that name in ``SLUICE_SECRETS_DIR``, or a key of the
TOML file ``SLUICE_CONFIG``; the first one found counts. Properties of a model are in its manifest, not here.
"""

import difflib
import os
import re
import warnings
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from model_store import DEFAULT_ROOT
from model_store.errors import RemoteError
from model_store.manifest import Task, reword
from model_store.remote.address import is_address
from service.settings.remote import check_remote, find_copy
from service.settings.types import (
    BasePath,
    ByteLimit,
    Count,
    CountOrZero,
    Issuer,
    LinkedPath,
    LogTarget,
    OptionalIndex,
    OptionalPath,
    Origin,
    Port,
    Rate,
    Seconds,
    Share,
    SharedName,
    Timeout,
    VersionPolicy,
    split,
    split_pairs,
)

PREFIX = "SLUICE_"
MAX_INPUTS = 4096
_INJECTED = re.compile(
    r"SLUICE(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_INJECTED_PORT = re.compile(r"SLUICE(_[A-Z0-9_]+)?_PORT=\s*(tcp|udp|sctp)://\S+\s*")


class SettingsError(Exception):
    """A setting cannot be used. The text names the variable, its value and what was expected."""


def find_injected(environ: Mapping[str, str]) -> list[str]:
    """Variables that Kubernetes sets in each pod for a Service called `sluice` or `sluice-…`. They are no settings."""
    return sorted(
        name
        for name, value in environ.items()
        if _INJECTED.fullmatch(name) or _INJECTED_PORT.fullmatch(f"{name}={value}")
    )


class Settings(BaseSettings):
    """All settings. Limits have their unit in the name. ``sluice serve --help`` shows the text below each setting."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, enable_decoding=False, frozen=True, use_attribute_docstrings=True
    )

    config: OptionalPath = None
    """TOML file with settings, by their names in lower case without SLUICE_"""
    secrets_dir: OptionalPath = None
    """folder with files that are named like these variables and hold their values, such as secrets"""
    store: LinkedPath = DEFAULT_ROOT
    """folder of models, or the URL of a store: s3://, gs://, az://, https:// or oci://"""
    store_url: str = ""
    """set by the server if SLUICE_STORE is a URL; do not set it yourself"""
    cache_dir: OptionalPath = None
    """folder for local copies of stores that are URLs; empty: sluice in the user's cache folder"""
    follow_links: bool = False
    """follow symbolic links that lead out of the store"""
    signed_by: OptionalPath = None
    """PEM file of public keys or certificates: only versions that one of them has signed serve; empty: all serve"""
    models: Annotated[tuple[str, ...], BeforeValidator(split)] = ()
    """serve only these, comma-separated; empty: all"""
    versions: VersionPolicy = "latest:1"
    """which versions of a model serve: latest:N, all, numbers such as 1+3, or pinned:V (a number or an alias)"""
    model_versions: Annotated[Mapping[str, VersionPolicy], BeforeValidator(split_pairs)] = {}
    """other policies for single models: name=policy pairs, comma-separated"""
    follow: bool = True
    """follow changes of the store while the server runs: versions, aliases, models"""
    poll_s: Timeout = 10.0
    """seconds between checks of the store, for file systems that report no changes, such as those over a network"""
    lazy: bool = False
    """load a model when it is first asked for"""
    model_memory_bytes: CountOrZero = 0
    """bytes that the models of a worker may take together: the least recently used are unloaded; 0: no limit"""
    keep_models: Annotated[tuple[str, ...], BeforeValidator(split)] = ()
    """models that load first and are never unloaded to make room, comma-separated"""
    require_exact: bool = False
    """refuse models whose rows do not give the same bits alone and in a batch"""
    batch_unproved: bool = False
    """batch models whose rows are not known to be independent, if they pass a trial at load"""
    default_models: Annotated[Mapping[Task, str], BeforeValidator(split_pairs)] = {}
    """task=model pairs, comma-separated: which model answers a task when a request names none"""
    host: str = "127.0.0.1"
    """address or name to listen on"""
    port: Port = 3000
    """port to listen on"""
    grpc_port: Port = 0
    """port of the protocol over gRPC, on the same host; 0: off"""
    tls_certificate: OptionalPath = None
    """PEM file of the certificate chain, for HTTP and gRPC; empty: plain text"""
    tls_key: OptionalPath = None
    """PEM file of the key of the certificate"""
    tls_client_ca: OptionalPath = None
    """PEM file of the authority that signs clients' certificates; clients without one are refused"""
    api_keys_file: OptionalPath = None
    """TOML file of API keys, which is read again when it changes; `sluice keys new` makes its entries"""
    api_keys: SecretStr = SecretStr("")
    """the content of a TOML file of API keys, whose keys count besides those of SLUICE_API_KEYS_FILE"""
    oidc_issuer: Issuer = ""
    """URL of an OpenID Connect issuer, whose tokens are accepted in place of keys"""
    oidc_audience: str = ""
    """the audience that a token must name"""
    oidc_jwks_file: OptionalPath = None
    """file of the issuer's public keys (JWKS); empty: they are fetched from the issuer"""
    oidc_scopes: Annotated[Mapping[Literal["infer", "admin", "metrics"], str], BeforeValidator(split_pairs)] = {}
    """scope=name pairs, comma-separated: the names of the scopes infer, admin and metrics in tokens"""
    oidc_requests_per_s: Rate = 0.0
    """requests a second of one subject of tokens; more get 429; 0: no limit"""
    oidc_rows_per_s: Rate = 0.0
    """rows a second of one subject of tokens; more get 429; 0: no limit"""
    oidc_rows_per_day: Rate = 0.0
    """rows in 24 hours of one subject of tokens; more get 429; 0: no limit"""
    workers: Count = 1
    """processes, each with its own copy of the models"""
    provider: Literal["auto", "tensorrt", "cuda", "cpu"] = "auto"
    """where models run: tensorrt, cuda or cpu, which are then required; auto: a GPU if there is one"""
    lanes: CountOrZero = 0
    """batches that run at once on a device; 0: one for each core, two on a GPU"""
    intra_op_threads: CountOrZero = 0
    """threads of one run on the CPU; 0: one, or all cores for a batch that runs alone"""
    gpu_device: OptionalIndex = None
    """number of the GPU, as CUDA counts; empty: the workers take all GPUs in turn"""
    gpu_mem_bytes: CountOrZero = 0
    """bytes of GPU memory that a model may take; 0: no limit"""
    cuda_graphs: bool = False
    """use CUDA graphs where the model allows it"""
    tf32: bool = False
    """multiply with 10 bits of mantissa on CUDA: faster, but less exact"""
    engine_cache: OptionalPath = None
    """folder in which TensorRT keeps its engines"""
    base_path: BasePath = ""
    """prefix of every route, such as /team/sluice"""
    cors_origins: Annotated[tuple[Origin, ...], BeforeValidator(split)] = ()
    """origins whose pages may call the server, comma-separated, such as https://app.example; * for all"""
    control: bool = False
    """let callers load models, and change traces and logs: with a key for admin; without keys, from this machine"""
    fast_path: bool = True
    """answer tensor requests below ASGI; false: through the ASGI application"""
    max_rows: Count = 64
    """most rows of a batch"""
    max_queue_rows: Count = 4096
    """rows that may wait for one model; then 429"""
    max_slots: Count = 256
    """rows in the loop of one model at the same time"""
    max_sequences: Count = 1024
    """sequences whose state is kept at the same time, and live streams; then 429"""
    max_sequence_bytes: Count = 256 << 20
    """bytes of the state of all sequences"""
    sequence_idle_s: Timeout = 60.0
    """seconds after which the state of an idle sequence is dropped, and an idle live stream ends"""
    max_wait_s: Seconds = 0.0
    """seconds that a batch may wait for more rows; 0: it never waits"""
    deadline_s: Timeout = 30.0
    """seconds until a request without its own timeout gets 504"""
    max_timeout_s: Timeout = 600.0
    """upper limit in seconds of a request's own timeout"""
    keep_alive_s: Timeout = 75.0
    """seconds after which an idle connection is closed; set it above the idle timeout of your proxy"""
    header_timeout_s: Timeout = 10.0
    """seconds from the first byte of a header to its end; then 408"""
    body_timeout_s: Timeout = 30.0
    """seconds without progress (1 KiB/s) after which a body gets 408, and an answer that nobody reads ends"""
    max_connections: Count = 4096
    """open connections of a worker, each of which is an open file; then 503"""
    max_body_bytes: ByteLimit = 64 << 20
    """bytes of one request body; then 413"""
    max_message_bytes: ByteLimit = 1 << 20
    """bytes of one message of a live stream; then the stream ends"""
    max_inputs: Count = MAX_INPUTS
    """inputs of one request, and outputs that it names; for a model that has more: as many as it has"""
    shared_memory: Annotated[tuple[SharedName, ...], BeforeValidator(split)] = ()
    """files in /dev/shm that callers may use for tensors: names, comma-separated, with * and ?; NAME:ro: inputs only"""
    max_regions: Count = 64
    """registered regions of shared memory"""
    max_region_bytes: ByteLimit = 1 << 30
    """bytes of one region of shared memory"""
    max_held_bytes: ByteLimit = 1 << 30
    """bytes of all request bodies that a worker holds, and as many of pictures that run in tiles"""
    max_run_bytes: CountOrZero = 0
    """memory of one run in bytes, for models with rows of any size; more is 413; 0: a share of the machine's"""
    max_image_pixels: Count = 50_000_000
    """pixels of one picture, checked before decoding; all pictures of a request may have 8 times as many"""
    max_sound_samples: Count = 1 << 26
    """samples of one sound, over all channels, checked before decoding; also in all rows of a request"""
    max_generated: Count = 1024
    """generated rows of one request"""
    max_steps: Count = 10_000
    """steps of a loop in one request"""
    state_key: SecretStr = SecretStr("")
    """secret that signs states given to callers, the same on all replicas; empty: a random one"""
    load_timeout_s: Timeout = 600.0
    """seconds in which a version must load; then it is unavailable"""
    ready_wait_s: Timeout = 10.0
    """seconds that readiness and other loads wait for a model to load; more for a large one"""
    drain_s: Seconds = 30.0
    """seconds that open requests have when the server stops, and sequences when their version is replaced"""
    lame_duck_s: Seconds = 0.0
    """seconds that a stopping server still accepts requests, while /readyz answers 503"""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error"""
    log_format: Literal["text", "json"] = "text"
    """lines of the log as text or json"""
    access_log: LogTarget = ""
    """file that gets a line of JSON for each request; -: standard output; empty: off"""
    tracing: bool = False
    """send OpenTelemetry traces; the variables OTEL_… say where to"""
    trace_ratio: Share = 0.01
    """share of the requests without traceparent that are traced; OTEL_TRACES_SAMPLER overrides it"""
    metrics_dir: OptionalPath = None
    """folder in which the workers share their counters; empty: a temporary folder"""

    @model_validator(mode="before")
    @classmethod
    def _find_copy(cls, values: dict[str, Any]) -> dict[str, Any]:
        """A store that is a URL is served from a folder with a copy of it."""
        store = values.get("store")
        if not isinstance(store, str) or not is_address(store):
            return values
        try:
            url, folder = find_copy(store, Path(values["cache_dir"]) if values.get("cache_dir") else None)
        except RemoteError as error:
            raise ValueError(f"{PREFIX}STORE: {error}") from None
        return {**values, "store": folder, "store_url": url}

    @model_validator(mode="after")
    def _check_tls(self) -> "Settings":
        for name, other in (("certificate", "key"), ("key", "certificate"), ("client_ca", "key")):
            if getattr(self, f"tls_{name}") is not None and getattr(self, f"tls_{other}") is None:
                raise ValueError(f"{PREFIX}TLS_{name.upper()} is set: expected {PREFIX}TLS_{other.upper()} too")
        return self

    @model_validator(mode="after")
    def _check_oidc(self) -> "Settings":
        if self.oidc_issuer and not self.oidc_audience:
            raise ValueError(f"{PREFIX}OIDC_ISSUER is set: expected {PREFIX}OIDC_AUDIENCE too")
        if not self.oidc_issuer and (self.oidc_audience or self.oidc_jwks_file is not None):
            raise ValueError(
                f"{PREFIX}OIDC_AUDIENCE or {PREFIX}OIDC_JWKS_FILE is set: expected {PREFIX}OIDC_ISSUER too"
            )
        return self

    @property
    def asks_for_keys(self) -> bool:
        """Whether callers need a key or a token."""
        return self.api_keys_file is not None or bool(self.api_keys.get_secret_value()) or bool(self.oidc_issuer)

    def check_store(self) -> None:
        """Raises SettingsError unless the store is a folder that can be read; it may be empty.

        A remote store must answer, or have a copy here.
        """
        if self.store_url:
            try:
                check_remote(self.store_url, self.store, self.models)
            except (RemoteError, OSError) as error:
                raise SettingsError(f"{PREFIX}STORE={self.store_url} (--store): {error}") from None
        said = f"{PREFIX}STORE={self.store} (--store): expected a folder of models that can be read"
        if not os.path.isdir(self.store):  # unlike pathlib's this raises nothing
            fault = "it is not a folder" if os.path.exists(self.store) else "there is none"
            raise SettingsError(f"{said}, {fault}: correct the path, or make the folder and put models in it")
        if not os.access(self.store, os.R_OK | os.X_OK):
            raise SettingsError(f"{said}, permission is denied: let the user of the server read it")

    @property
    def keeps_sequences(self) -> bool:
        """Whether a request reaches the state of its sequence: there is one worker, or the workers share a folder."""
        return self.workers == 1 or self.metrics_dir is not None

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: object, **__: object
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The constructor takes only arguments. ``from_environ`` reads the other sources."""
        return (init_settings,)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Settings from variables, and from the secrets and the file that these name. Raises SettingsError."""
        foreign = find_injected(environ)
        ours = {name: text.strip() for name, text in environ.items() if name.startswith(PREFIX) and name not in foreign}
        _check_names(ours, map(_variable, cls.model_fields))
        source = EnvSettingsSource(cls)
        source.env_vars = {name.lower(): text for name, text in ours.items() if text}  # an empty variable is not set
        variables = source()
        config = variables.get("config")
        file = _read_file(config) if config else {}
        folder = str(variables.get("secrets_dir") or file.get("secrets_dir") or "")
        secrets = _read_secrets(folder) if folder else {}
        try:
            return cls(**{**file, **secrets, **variables})
        except ValidationError as error:
            places = dict.fromkeys(file, f" in {config}")
            places |= {**dict.fromkeys(secrets, f" in {folder}"), **dict.fromkeys(variables, "")}
            faults = [_describe(fault, places, {*secrets, "state_key", "api_keys"}) for fault in error.errors()]
            raise SettingsError("; ".join(faults)) from None

    def replace(self, **changes: Any) -> "Settings":
        """These settings with some values changed. Raises pydantic's ValidationError."""
        return Settings(**{**dict(self), **changes})

    def to_environ(self) -> dict[str, str]:
        """Variables that make the same settings, for the workers. They name no file and no folder of secrets."""
        variables = {}
        for name, value in {**dict(self), "config": None, "secrets_dir": None}.items():
            if isinstance(value, Mapping):
                value = ",".join(f"{k}={v}" for k, v in value.items())
            elif isinstance(value, tuple):
                value = ",".join(value)
            elif isinstance(value, SecretStr):
                value = value.get_secret_value()
            variables[_variable(name)] = "" if value is None else str(value)
        return variables


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _check_names(given: Iterable[str], known: Iterable[str], place: str = "") -> None:
    """Raises SettingsError for an unknown name, so that a misspelt limit does not go unnoticed."""
    names = sorted(known)
    if unknown := sorted(set(given).difference(names)):
        near = [match for name in unknown for match in difflib.get_close_matches(name, names, 1, cutoff=0.85)]
        hint = f"did you mean {', '.join(near)}?" if near else "`sluice serve --help` lists all"
        raise SettingsError(f"unknown setting {', '.join(unknown)}{place}: {hint}")


def _read_file(path: str) -> dict[str, Any]:
    try:
        if not os.path.isfile(path):  # the source would ignore this
            raise FileNotFoundError("there is none")
        found = TomlConfigSettingsSource(Settings, Path(path))()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{PREFIX}CONFIG={path} (--config): expected a TOML file: {error}") from None
    _check_names(found, Settings.model_fields.keys() - {"config"}, f" in {path}")
    return found


def _read_secrets(folder: str) -> dict[str, Any]:
    try:
        with warnings.catch_warnings(action="error"):  # the source warns if it ignores a file or the folder
            found = SecretsSettingsSource(Settings, folder)()
        files = [name.upper() for name in os.listdir(folder)]
    except (OSError, ValueError, UserWarning) as error:
        raise SettingsError(f"{PREFIX}SECRETS_DIR={folder}: {error.__cause__ or error}") from None
    ours = [name for name in files if name.startswith(PREFIX)]  # Kubernetes mounts other files beside them
    known = Settings.model_fields.keys() - {"config", "secrets_dir"}
    _check_names(ours, map(_variable, known), f" in {folder}")
    return {name: text for name, text in found.items() if text}


def _describe(fault: ErrorDetails, places: Mapping[str, str], hidden: Container[str]) -> str:
    """What is wrong with a setting. A value that is ``hidden`` is not shown."""
    text = reword(fault["msg"])
    text = text.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")
    if not fault["loc"]:
        return text
    name = str(fault["loc"][0])
    value = "" if name in hidden else f"={fault['input']}"
    return f"{_variable(name)}{value}{places[name]}: {text}"
