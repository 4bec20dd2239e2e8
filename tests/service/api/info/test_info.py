"""Metadata, configuration, readiness, and the prefix of all routes."""

import logging
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from onnx import TensorProto

from model_store import Store
from service.api.info import metadata
from tests.service.models.asking import X
from tests.support.answers import assert_error
from tests.support.models import graphs
from tests.support.servers import FAST, PATHS, ServerPath, Serving, settings_for


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    root = tmp_path_factory.mktemp("information")
    for version in (1, 2, 10):
        graphs.write_plain(root, "double", graphs.double(), version)
    Store(root).set_alias("double", "old", 2)
    graphs.write_plain(root, "fixed", graphs.one_at_a_time())
    graphs.write_plain(root, "scalars", graphs.scalars())
    graphs.write_plain(root, "texts", graphs.echo(TensorProto.STRING))
    graphs.write_plain(root, "broken", b"no onnx")
    with Serving(settings_for(root, control=True, max_rows=16), FAST) as server:
        yield server


@pytest.fixture
def information(serving: Serving) -> Iterator[httpx.Client]:
    with serving.client() as client:
        yield client


def ask(client: httpx.Client, path: str) -> Any:
    return client.get(path).raise_for_status().json()


@pytest.mark.parametrize("what", ["", "/ready", "/config", "/stats"])
def test_what_is_not_there_is_404_and_what_is_not_ready_503(information: httpx.Client, what: str) -> None:
    """Every route of a model answers an unknown one with 404, and one that cannot serve with 503 and the reason."""
    for path, status, text in (
        ("nobody", 404, "no model 'nobody'"),
        ("double/versions/7", 404, "no version '7'"),
        ("double/versions/x", 404, "no alias 'x'"),
        ("broken", 503, "ONNX Runtime cannot load"),
        ("broken/versions/1", 503, "ONNX Runtime cannot load"),
    ):
        assert_error(information.get(f"/v2/models/{path}{what}"), status, text)


def test_server_tells_what_works(information: httpx.Client) -> None:
    """The server lists the extensions that it offers, and its models as KServe does."""
    server = ask(information, "/v2")
    assert set(server) == {"name", "version", "extensions"}
    assert {"statistics", "model_configuration", "model_repository", "trace", "logging"} <= set(server["extensions"])
    assert not {"system_shared_memory", "cuda_shared_memory"} & set(server["extensions"])
    assert ask(information, "/v2/models") == {"models": ["broken", "double", "fixed", "scalars", "texts"]}


def test_metadata_has_the_versions_in_order_of_their_numbers(information: httpx.Client) -> None:
    """Versions are texts sorted by number, and the metadata of one version list that one; rows are described too."""
    tensors = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]}
    tensors["outputs"] = [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}]
    rows = {"rows": "proved", "rows_reason": "its only operator keeps rows apart", "bits": "exact"}
    expected = {"name": "double", "versions": ["2", "10"], "platform": "onnxruntime_onnx", **tensors, **rows}
    assert ask(information, "/v2/models/double") == expected
    assert ask(information, "/v2/models/double/versions/old")["versions"] == ["2"]
    assert ask(information, "/v2/models/double/versions/10/ready") == {"name": "double", "ready": True}


def test_configuration_is_that_of_the_model(information: httpx.Client) -> None:
    """The configuration has what perf_analyzer reads, of models of any shape, and nothing that is not done."""
    config = ask(information, "/v2/models/double/versions/2/config")
    assert (config["name"], config["platform"], config["max_batch_size"]) == ("double", "onnxruntime_onnx", 16)
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}]
    assert config["output"] == [{"name": "y", "data_type": "TYPE_FP32", "dims": [3]}]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 0
    left_out = {"ensemble_scheduling", "sequence_batching", "model_transaction_policy", "response_cache"}
    assert not left_out & set(config)
    named = {t["name"] for t in (*config["input"], *config["output"])}
    metadata = ask(information, "/v2/models/double")
    assert named == {t["name"] for t in (*metadata["inputs"], *metadata["outputs"])}
    fixed = ask(information, "/v2/models/fixed/config")
    assert (fixed["max_batch_size"], fixed["input"][0]["dims"], "dynamic_batching" in fixed) == (0, [2, 2], False)
    scalar = ask(information, "/v2/models/scalars/config")["input"][0]
    assert (scalar["dims"], scalar["reshape"]) == ([1], {"shape": []})
    texts = ask(information, "/v2/models/texts/config")["input"][0]
    assert (texts["data_type"], texts["dims"]) == ("TYPE_STRING", [-1])


@pytest.mark.parametrize("path", ["/v2", "/v2/health/ready", "/v2/models/double", "/livez", "/v2/models/double/stats"])
def test_head_and_a_slash_at_the_end(information: httpx.Client, path: str) -> None:
    """HEAD answers as GET does without the body, and a slash at the end of a path changes nothing."""
    head = information.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert information.get(path + "/").json().keys() == information.get(path).json().keys()


@pytest.mark.parametrize(("path", "allowed"), [("/v2/logging", "GET, HEAD, POST"), ("/v2/repository/index", "POST")])
def test_wrong_method_names_all_that_there_are(information: httpx.Client, path: str, allowed: str) -> None:
    """A 405 names all methods of the path."""
    response = information.delete(path)
    assert (response.status_code, sorted(response.headers["allow"].split(", "))) == (405, allowed.split(", "))


@pytest.mark.parametrize("server_path", PATHS, ids=lambda path: path.name)
def test_prefix_is_before_every_route(tmp_path: Path, server_path: ServerPath) -> None:
    """With SLUICE_BASE_PATH all routes of both paths are below the prefix, and none is outside of it."""
    graphs.write_plain(tmp_path, "double", graphs.double())
    with Serving(settings_for(tmp_path, base_path="/team/s-1"), server_path) as server, server.client() as client:
        for _ in range(2):  # the second time the head is known
            answer = client.post("/team/s-1/v2/models/double/infer", json={"inputs": [X]})
            assert answer.json()["outputs"][0]["data"] == [2.0, 4.0, 6.0]
        assert client.post("/team/s-1/v2/models/double/infer/", json={"inputs": [X]}).status_code == 200
        assert client.get("/team/s-1/v2/health/ready").status_code == 200
        assert client.get("/team/s-1").json() == {"status": "alive"}
        assert client.get("/").status_code == 404
        for prefix in ("", "/team/s-10", "/team"):
            path = f"{prefix}/v2/models/double/infer"
            assert_error(client.post(path, json={"inputs": [X]}), 404, path)
        assert client.get("/livez").status_code == 404


@pytest.mark.parametrize(
    ("kind", "body", "status", "text"),
    [
        ("trace/setting", {"trace_level": ["LOUD"]}, 400, "trace_level: expected 'OFF' or 'TIMESTAMPS'"),
        ("trace/setting", {"trace_level": ["TENSORS"]}, 501, "trace_level: tensors are not traced"),
        ("trace/setting", {"trace_rate": 5}, 400, "trace_rate: expected a number in a string"),
        ("trace/setting", {"trace_rate": "0"}, 400, "trace_rate"),
        ("trace/setting", {"trace_rate": "\u00b2"}, 400, "trace_rate"),
        ("trace/setting", {"trace_count": "-2"}, 400, "trace_count: expected greater than or equal to -1"),
        ("trace/setting", {"trace_file": "trace.json"}, 501, "trace_file"),
        ("trace/setting", {"trace_mode": {}}, 400, "trace_mode: expected a valid string"),
        ("trace/setting", {"trace_mode": "opentelemetry"}, 501, "trace_mode"),
        ("trace/setting", {"level": "OFF"}, 400, "level: unknown field"),
        ("logging", {"log_info": 1}, 400, "log_info: expected a valid boolean"),
        ("logging", {"log_verbose_level": -1}, 400, "log_verbose_level: expected greater than or equal to 0"),
        ("logging", {"log_verbose_level": True}, 400, "log_verbose_level"),
        ("logging", {"log_format": "xml"}, 400, "log_format: expected 'default' or 'ISO8601'"),
        ("logging", {"log_file": "log"}, 501, "log_file"),
        ("logging", {"log_file": 0}, 400, "log_file: expected a valid string"),
        ("logging", {"log_infos": None}, 400, "log_infos: unknown field"),
    ],
)
def test_bad_setting_is_refused(information: httpx.Client, kind: str, body: Any, status: int, text: str) -> None:
    """A trace or log setting that is not valid is refused with its name, and no setting changes."""
    before = ask(information, f"/v2/{kind}")
    assert_error(information.post(f"/v2/{kind}", json=body), status, text)
    assert ask(information, f"/v2/{kind}") == before


def test_trace_settings_of_a_model_override_those_of_the_server(information: httpx.Client) -> None:
    """A model follows the server except in what was set for it, until that is cleared with null."""
    own = "/v2/models/double/trace/setting"
    assert information.get("/v2/models/nobody/trace/setting").status_code == 404
    information.post("/v2/trace/setting", json={"trace_rate": "9"}).raise_for_status()
    changed = information.post(own, json={"trace_rate": "3", "trace_count": "5"}).json()
    assert (changed["trace_rate"], changed["trace_count"], changed["trace_level"]) == ("3", "5", ["OFF"])
    assert ask(information, "/v2/models/fixed/trace/setting")["trace_rate"] == "9"
    assert information.post(own, json={"trace_rate": None, "trace_count": None}).json()["trace_rate"] == "9"
    assert information.post("/v2/trace/setting", json={"trace_rate": None}).json()["trace_rate"] == "1000"


def test_traces_have_their_rate_and_their_count(information: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    """With a rate of 2 and a count of 2, of seven requests the second and the fourth are traced, then no more."""
    own = "/v2/models/double/trace/setting"
    settings = {"trace_level": ["TIMESTAMPS"], "trace_rate": "2", "trace_count": "2", "log_frequency": "1"}
    assert information.post(own, json=settings).json().items() >= settings.items()
    for _ in range(7):
        information.post("/v2/models/double/infer", json={"inputs": [X]}).raise_for_status()
    traces = [record.getMessage() for record in caplog.records if record.name == "sluice.trace"]
    assert len(traces) == 2
    assert '"model_name": "double", "model_version": "10", "rows": 1' in traces[0]
    assert ask(information, own)["trace_count"] == "0"
    assert information.post(own, json=dict.fromkeys(settings)).json()["trace_level"] == ["OFF"]


def test_log_settings_change_what_is_logged(information: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    """Each level is switched by itself, and a verbose log has debug messages."""
    logger = logging.getLogger("sluice.engine")

    def logged() -> list[str]:
        caplog.clear()
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logger.log(level, "a message")
        return [record.levelname for record in caplog.records if record.name == logger.name]

    before = information.get("/v2/logging").json()
    assert information.post("/v2/logging", json=dict.fromkeys(before)).json() == before
    shown = information.post("/v2/logging", json={"log_info": True, "log_warning": False, "log_error": True}).json()
    assert (shown["log_info"], shown["log_warning"], shown["log_error"]) == (True, False, True)
    assert logged() == ["INFO", "ERROR"]
    information.post("/v2/logging", json={"log_verbose_level": 1, "log_warning": True}).raise_for_status()
    assert logged() == ["DEBUG", "INFO", "WARNING", "ERROR"]
    quiet = {"log_verbose_level": 0, "log_info": False, "log_warning": False, "log_error": False}
    assert information.post("/v2/logging", json=quiet).json().items() >= quiet.items()
    assert logged() == []
    information.post("/v2/logging", json={"log_info": True, "log_warning": True, "log_error": True}).raise_for_status()


def test_release_is_known_without_an_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A checkout or a bento that is not installed has the version of its pyproject.toml; without that it is 0."""

    def refuse(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    declared = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())["project"]["version"]
    monkeypatch.setattr(metadata, "version", refuse)
    assert metadata.release() == declared
    monkeypatch.setattr(metadata, "__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
    assert metadata.release() == "0"
