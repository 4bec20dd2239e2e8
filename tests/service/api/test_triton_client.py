"""Triton's own HTTP client, in both its forms, against a server: what it asks and changes besides inference."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    for version in (1, 2):
        graphs.write_plain(tmp_path, "double", graphs.double(), version)
    with Serving(settings_for(tmp_path, control=True, base_path="/base"), FAST) as server:
        yield server


@pytest.fixture
def client(serving: Serving) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(f"127.0.0.1:{serving.port}/base")
    yield client
    client.close()


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    logger = logging.getLogger("sluice")
    level = logger.level
    yield
    logger.setLevel(level)


def one_row() -> triton.InferInput:
    x = triton.InferInput("x", [1, 3], "FP32")
    x.set_data_from_numpy(np.array([[1, 2, 3]], np.float32))
    return x


def test_errors_reach_the_client_with_their_text(client: triton.InferenceServerClient) -> None:
    """What is refused raises the client's exception with our text, and readiness of what is unknown is false."""
    for call, text in (
        (lambda: client.get_model_metadata("nobody"), "no model 'nobody'"),
        (lambda: client.get_model_config("double", "9"), "no version '9'"),
        (lambda: client.get_inference_statistics("nobody"), "no model 'nobody'"),
        (lambda: client.load_model("nobody"), "no model 'nobody' in the store"),
        (lambda: client.load_model("double", config="{}"), "a model is what was published"),
        (lambda: client.load_model("double", config="{}", files={"file:1/model.onnx": b"a"}), "what was published"),
        (lambda: client.update_trace_settings(settings={"trace_file": "x"}), "trace_file"),
        (lambda: client.update_log_settings({"log_file": "x"}), "log_file"),
        (lambda: client.get_system_shared_memory_status(), "no route"),
    ):
        with pytest.raises(InferenceServerException, match=text):
            call()
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready("double", "9")


def test_client_reads_everything(client: triton.InferenceServerClient) -> None:
    """Health, metadata, configuration, index and settings, as the client asks for them, below a prefix."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("double")
    assert client.is_model_ready("double", "2")
    assert "statistics" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("double", "2")["versions"] == ["2"]
    assert client.get_model_config("double")["max_batch_size"] == 64
    states = {(line["version"], line["state"]) for line in client.get_model_repository_index()}
    assert states == {("1", "UNAVAILABLE"), ("2", "READY")}
    assert client.get_trace_settings()["trace_level"] == ["OFF"]
    assert client.get_log_settings()["log_format"] == "default"


def test_client_counts_what_it_inferred(client: triton.InferenceServerClient) -> None:
    """The difference of two statistics is what was asked in between."""
    before = client.get_inference_statistics("double", "2")["model_stats"][0]
    result = client.infer("double", [one_row()])
    assert result.as_numpy("y").tolist() == [[2.0, 4.0, 6.0]]
    after = client.get_inference_statistics()["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 1
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]


def test_client_unloads_and_loads(client: triton.InferenceServerClient) -> None:
    """A model that was unloaded is not ready and refuses inference; loaded again it answers."""
    client.unload_model("double", unload_dependents=True)
    assert not client.is_model_ready("double")
    with pytest.raises(InferenceServerException, match="it was unloaded"):
        client.infer("double", [one_row()])
    client.load_model("double")
    assert client.is_model_ready("double")


def test_traces_come_at_their_rate_and_end_with_their_count(
    client: triton.InferenceServerClient, caplog: pytest.LogCaptureFixture
) -> None:
    """With a rate of 2 and a count of 2, of seven requests the second and the fourth are traced, then no more."""
    settings = {"trace_level": ["TIMESTAMPS"], "trace_rate": "2", "trace_count": "2", "log_frequency": "1"}
    answer = client.update_trace_settings(model_name="double", settings=settings)
    assert {key: answer[key] for key in settings} == settings
    for _ in range(7):
        client.infer("double", [one_row()])
    traces = [record.getMessage() for record in caplog.records if record.name == "sluice.trace"]
    assert len(traces) == 2
    assert '"model_name": "double", "model_version": "2", "rows": 1' in traces[0]
    assert client.get_trace_settings("double")["trace_count"] == "0"
    assert client.update_trace_settings("double", {"trace_level": None})["trace_level"] == ["OFF"]


def test_client_changes_the_log(client: triton.InferenceServerClient) -> None:
    """The answer to a change is all of the settings."""
    assert client.update_log_settings({"log_info": False})["log_info"] is False
    assert client.update_log_settings({"log_info": True})["log_info"] is True


def test_asynchronous_client_does_the_same(serving: Serving) -> None:
    """The client for asyncio reads, infers, unloads, loads and changes settings."""

    async def main() -> None:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{serving.port}/base") as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("double", "2")
            assert (await client.get_server_metadata())["name"] == "sluice"
            assert (await client.get_model_metadata("double"))["platform"] == "onnxruntime_onnx"
            assert (await client.get_model_config("double", "2"))["name"] == "double"
            result = await client.infer("double", [one_row()])
            assert result.as_numpy("y").tolist() == [[2.0, 4.0, 6.0]]
            stats = await client.get_inference_statistics("double")
            assert stats["model_stats"][0]["inference_stats"]["success"]["count"] == 1
            await client.unload_model("double")
            assert not await client.is_model_ready("double")
            await client.load_model("double")
            assert (await client.get_model_repository_index())[1]["state"] == "READY"
            assert (await client.update_trace_settings(settings={"trace_rate": "5"}))["trace_rate"] == "5"
            assert (await client.get_trace_settings("double"))["trace_rate"] == "5"
            assert (await client.update_log_settings({"log_verbose_level": 0}))["log_verbose_level"] == 0
            assert (await client.get_log_settings())["log_file"] == ""

    asyncio.run(main())
