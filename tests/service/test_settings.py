"""Settings from an environment."""

import math
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from model_store import DEFAULT_ROOT
from model_store.manifest import Task
from service.settings import Settings, SettingsError, find_injected


def test_unknown_variable_of_ours_is_an_error_that_names_it() -> None:
    """A misspelt limit is told with the name that was probably meant; all of them at once, an empty one too."""
    with pytest.raises(SettingsError, match=r"^unknown setting SLUICE_MAX_ROW: did you mean SLUICE_MAX_ROWS\?$"):
        Settings.from_environ({"SLUICE_MAX_ROW": "5"})
    with pytest.raises(SettingsError, match="unknown setting SLUICE_A, SLUICE_B: `sluice serve --help` lists all"):
        Settings.from_environ({"SLUICE_B": "1", "SLUICE_A": "", "PATH": "/bin"})


LIMITS = (
    *("WORKERS=0", "WORKERS=-1", "LANES=-1", "INTRA_OP_THREADS=-1", "MAX_ROWS=0", "MAX_ROWS=-5", "MAX_QUEUE_ROWS=0"),
    *("MAX_WAIT_S=-0.1", "MAX_WAIT_S=nan", "MAX_WAIT_S=inf", "DEADLINE_S=0", "DEADLINE_S=nan", "DEADLINE_S=-inf"),
    *("DEADLINE_S=inf", "HEADER_TIMEOUT_S=0", "HEADER_TIMEOUT_S=nan", "BODY_TIMEOUT_S=0", "BODY_TIMEOUT_S=-1"),
    *("MAX_CONNECTIONS=0", "MAX_BODY_BYTES=1023", "MAX_INPUTS=0", "MAX_IMAGE_PIXELS=0", "DRAIN_S=-1", "DRAIN_S=NaN"),
    *("DRAIN_S=inf", "LAME_DUCK_S=-1", "LAME_DUCK_S=NaN"),
)


OF_KUBERNETES = {
    "SLUICE_PORT": "tcp://10.0.0.1:3000",
    "SLUICE_SERVICE_HOST": "10.0.0.1",
    "SLUICE_SERVICE_PORT": "3000",
    "SLUICE_SERVICE_PORT_HTTP": "3000",
    "SLUICE_SERVICE_PORT_GRPC_WEB": "3001",
    "SLUICE_PORT_3000_TCP": "tcp://10.0.0.1:3000",
    "SLUICE_PORT_3000_TCP_PROTO": "tcp",
    "SLUICE_PORT_3000_TCP_PORT": "3000",
    "SLUICE_PORT_3000_TCP_ADDR": "10.0.0.1",
    "SLUICE_PORT_53_UDP": "udp://10.0.0.1:53",
    "SLUICE_GRPC_PORT": "tcp://10.0.0.2:3001",  # of a Service called sluice-grpc
    "SLUICE_GRPC_SERVICE_HOST": "10.0.0.2",
    "SLUICE_GRPC_PORT_3001_TCP_ADDR": "10.0.0.2",
}


def test_variables_of_kubernetes_are_no_settings() -> None:
    """A Service called `sluice` gives each pod variables with our prefix: they are named, and change nothing."""
    assert find_injected(OF_KUBERNETES) == sorted(OF_KUBERNETES)
    assert Settings.from_environ(OF_KUBERNETES) == Settings()
    assert find_injected({"SLUICE_PORT": "3000", "SLUICE_STORE": "tcp://x:1", "PORT_3000_TCP": ""}) == []


@pytest.mark.parametrize("name", ["SLUICE_PORTS", "SLUICE_SERVICE", "SLUICE_PORT_3000", "SLUICE_HOST_PORT"])
def test_misspelt_settings_are_refused_beside_those_of_kubernetes(name: str) -> None:
    """Only names that Kubernetes makes are passed over."""
    with pytest.raises(SettingsError, match=f"unknown setting {name}:"):
        Settings.from_environ({**OF_KUBERNETES, name: "3000"})


@pytest.mark.parametrize("setting", LIMITS)
def test_value_below_its_limit_is_refused(setting: str) -> None:
    """Too small a number, an endless time, or none at all (NaN), is refused with variable, value and least value."""
    name, _, value = setting.partition("=")
    with pytest.raises(SettingsError, match=rf"^SLUICE_{setting}: expected (at least [\d.]+|a finite number)$"):
        Settings.from_environ({f"SLUICE_{name}": value})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MAX_ROWS", "6.5", "a valid integer, unable to parse string as an integer"),
        ("MAX_ROWS", "many", "a valid integer, unable to parse string as an integer"),
        ("DEADLINE_S", "30s", "a valid number, unable to parse string as a number"),
        ("LAZY", "maybe", "a valid boolean, unable to interpret input"),
        ("PROVIDER", "CUDA", "'auto', 'tensorrt', 'cuda' or 'cpu'"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("PORT", "65536", "at most 65535"),
        ("PORT", "-1", "at least 0"),
        ("BASE_PATH", "team/sluice/", "a path such as /team/sluice, or nothing"),
        ("BASE_PATH", "/team/..", "a path such as /team/sluice, or nothing"),
        ("DEFAULT_MODELS", "classify=a,classify=b", "each name once"),
        *[
            ("CORS_ORIGINS", origin, "*, or origins such as https://app.example:8443")
            for origin in ("app.example", "https://app.example/", "https://*.example", "null", "https://äpp.example")
        ],
        ("DEFAULT_MODELS", "classify", "name=value pairs, comma-separated"),
        ("DEFAULT_MODELS", "classify=", "name=value pairs, comma-separated"),
        ("DEFAULT_MODELS", "classify=a,=b", "name=value pairs, comma-separated"),
    ],
)
def test_value_of_the_wrong_kind_is_refused(name: str, value: str, expected: str) -> None:
    """A value that cannot be read is refused with variable, value and what was expected."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({f"SLUICE_{name}": value})
    assert str(caught.value) == f"SLUICE_{name}={value}: expected {expected}"


def test_default_model_of_an_unknown_task_is_refused() -> None:
    """The task and those that exist are named."""
    with pytest.raises(SettingsError, match="SLUICE_DEFAULT_MODELS=clasify: expected 'classify', "):
        Settings.from_environ({"SLUICE_DEFAULT_MODELS": "clasify=a"})


def test_limits_hold_for_settings_made_in_code() -> None:
    """``replace`` and the constructor check what ``from_environ`` checks."""
    with pytest.raises(ValidationError, match="max_wait_s"):
        Settings(max_wait_s=math.nan)
    with pytest.raises(ValidationError, match="provider"):
        Settings().replace(provider="rocm")


def test_settings_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are a frozen value, and made in code they do not read the environment."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings().max_rows = 5  # type: ignore[misc]
    monkeypatch.setenv("SLUICE_MAX_ROWS", "7")
    assert Settings().max_rows == 64


@pytest.mark.parametrize("environ", [{}, {"SLUICE_STORE": "", "SLUICE_MAX_ROWS": " "}, {"HOME": "/", "sluice_x": ""}])
def test_absent_and_empty_variables_leave_the_defaults(environ: dict[str, str]) -> None:
    """What is not set, or set to nothing, is the default; foreign variables are nobody's business."""
    assert Settings.from_environ(environ) == Settings(store=DEFAULT_ROOT)


def test_values_are_read_in_their_types() -> None:
    """Numbers, lists, pairs and paths come out of their texts, blanks around them ignored."""
    settings = Settings.from_environ(
        {
            "SLUICE_MAX_ROWS": " 8 ",
            "SLUICE_MAX_WAIT_S": "1e-3",
            "SLUICE_MODELS": "a, b,,c ",
            "SLUICE_CORS_ORIGINS": "https://app.example, HTTP://[::1]:8080,app://page,*",
            "SLUICE_DEFAULT_MODELS": "classify = digits, generate=a=b",
            "SLUICE_METRICS_DIR": "/tmp/m",  # noqa: S108
        }
    )
    assert (settings.max_rows, settings.max_wait_s, settings.models) == (8, 0.001, ("a", "b", "c"))
    assert settings.cors_origins == ("https://app.example", "HTTP://[::1]:8080", "app://page", "*")
    assert settings.default_models == {"classify": "digits", "generate": "a=b"}
    assert settings.metrics_dir == Path("/tmp/m")  # noqa: S108


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True)
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: Path("/", *parts))


@settings(deadline=None, max_examples=20)
@given(
    settings=st.builds(
        Settings,
        store=paths,
        models=st.lists(names, max_size=3).map(tuple),
        default_models=st.dictionaries(st.sampled_from(get_args(Task)), names, max_size=3),
        port=st.integers(0, 65535),
        provider=st.sampled_from(["auto", "tensorrt", "cuda", "cpu"]),
        max_wait_s=st.floats(0, 1e6),
        deadline_s=st.floats(0.001, 1e6),
        max_queue_rows=st.integers(1),
        metrics_dir=st.none() | paths,
    )
)
def test_workers_get_the_same_settings(settings: Settings) -> None:
    """Written as variables and read again, settings equal themselves: that is how they reach the workers."""
    assert Settings.from_environ(settings.to_environ()) == settings


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_variables_go_before_secrets_and_secrets_before_the_file(tmp_path: Path) -> None:
    """Each source counts where those before it say nothing."""
    secrets = (("sluice_host", "secret\n"), ("SLUICE_PROVIDER", "cuda"), ("sluice_port", "\n"), ("ca.crt", "not ours"))
    for name, text in secrets:
        write(tmp_path / name, text)
    config = write(tmp_path / "sluice.toml", 'host = "file"\nprovider = "tensorrt"\nmax_rows = 5\nlanes = 3\n')
    environ = {"SLUICE_CONFIG": config, "SLUICE_SECRETS_DIR": str(tmp_path), "SLUICE_PROVIDER": "cpu"}
    settings = Settings.from_environ({**environ, "SLUICE_MAX_ROWS": "6"})
    assert (settings.provider, settings.host, settings.max_rows, settings.lanes) == ("cpu", "secret", 6, 3)
    assert Settings.from_environ(settings.to_environ()) == settings.replace(config=None, secrets_dir=None)


def test_file_has_the_types_of_toml(tmp_path: Path) -> None:
    """Lists, tables and booleans may be written as such, or as in a variable; the file may name the secrets."""
    write(tmp_path / "sluice_state_key", "a key\n")
    lines = [
        'models = ["a", "b"]',
        'cors_origins = "*"',
        "lazy = true",
        'engine_cache = ""',
        f"secrets_dir = '{tmp_path}'",
    ]
    config = write(tmp_path / "sluice.toml", "\n".join([*lines, "[default_models]", 'classify = "a"']))
    settings = Settings.from_environ({"SLUICE_CONFIG": config})
    assert (settings.models, settings.cors_origins, settings.lazy) == (("a", "b"), ("*",), True)
    assert (settings.default_models, settings.engine_cache) == ({"classify": "a"}, None)
    assert settings.state_key.get_secret_value() == "a key"
    assert "a key" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max_row = 5", "unknown setting max_row in FILE: did you mean max_rows?"),
        ('config = "other.toml"', "unknown setting config in FILE: `sluice serve --help` lists all"),
        ("max_rows = 0", "SLUICE_MAX_ROWS=0 in FILE: expected at least 1"),
        ("workers = true", "SLUICE_WORKERS=True in FILE: expected a number"),
        ("models = [3]", "SLUICE_MODELS=3 in FILE: expected a valid string"),
        ("state_key = 12345", "SLUICE_STATE_KEY in FILE: expected a valid string"),
        ("max_rows 5", "SLUICE_CONFIG=FILE (--config): expected a TOML file: Expected '=' after a key"),
        ("\udcff", "SLUICE_CONFIG=FILE (--config): expected a TOML file: 'utf-8' codec"),
    ],
)
def test_fault_in_the_file_is_told_with_its_name(tmp_path: Path, text: str, expected: str) -> None:
    """The error names the file, the setting, the value unless it is secret, and what was expected."""
    path = tmp_path / "sluice.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"SLUICE_CONFIG": str(path)})
    assert str(caught.value).startswith(expected.replace("FILE", str(path)))


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    """A path that leads nowhere does not mean that there are no settings."""
    with pytest.raises(SettingsError, match=r"SLUICE_CONFIG=.*none \(--config\): expected a TOML file: there is none"):
        Settings.from_environ({"SLUICE_CONFIG": str(tmp_path / "none")})
    with pytest.raises(SettingsError, match=r"SLUICE_SECRETS_DIR=.*none: directory .* does not exist"):
        Settings.from_environ({"SLUICE_SECRETS_DIR": str(tmp_path / "none")})


def test_fault_in_a_secret_is_told_without_its_value(tmp_path: Path) -> None:
    """A log may be read by more people than a secret."""
    write(tmp_path / "sluice_max_rows", "hush")
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"SLUICE_SECRETS_DIR": str(tmp_path)})
    assert str(caught.value).startswith(f"SLUICE_MAX_ROWS in {tmp_path}: expected a valid integer")
    assert "hush" not in str(caught.value)


def test_secrets_that_cannot_count_are_refused(tmp_path: Path) -> None:
    """A misspelt name, and a link that leads out of the folder; one within it is how Kubernetes mounts a secret."""
    (tmp_path / "secrets" / "..data").mkdir(parents=True)
    write(tmp_path / "secrets" / "..data" / "sluice_state_key", "a key")
    (tmp_path / "secrets" / "sluice_state_key").symlink_to("..data/sluice_state_key")
    environ = {"SLUICE_SECRETS_DIR": str(tmp_path / "secrets")}
    assert Settings.from_environ(environ).state_key.get_secret_value() == "a key"
    write(tmp_path / "secrets" / "sluice_statekey", "")
    with pytest.raises(SettingsError, match=r"unknown setting SLUICE_STATEKEY in .*: did you mean SLUICE_STATE_KEY\?"):
        Settings.from_environ(environ)
    (tmp_path / "secrets" / "sluice_statekey").unlink()
    (tmp_path / "secrets" / "sluice_host").symlink_to(write(tmp_path / "outside", "a"))
    with pytest.raises(SettingsError, match=r"SLUICE_SECRETS_DIR=.*resolves outside"):
        Settings.from_environ(environ)
