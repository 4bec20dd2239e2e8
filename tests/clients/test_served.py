"""The Python clients against a server with the reference models."""

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from clients.generator.schemas import Task, read_tasks
from model_store import DEFAULT_ROOT
from service.api.openapi.document import make_document
from service.api.openapi.examples import EXAMPLES
from sluice_client import AsyncClient, Client, Picture, errors
from sluice_client import answers as kinds
from sluice_client.wire.decode import decode
from tests.support.servers import FAST, Serving, settings_for

TASKS = {task.name: task for task in read_tasks(make_document("0"))}
CASES = [(task, name) for task, examples in EXAMPLES.items() for name in examples]
ZERO = EXAMPLES["classify"]["digit"][1]["inputs"][0]
ZERO_PNG = Picture(base64.b64decode(EXAMPLES["classify"]["why"][1]["inputs"][0]["image"]))
PAPER = Picture(base64.b64decode(EXAMPLES["segment"]["ink"][1]["inputs"][0]["image"]))


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with Serving(settings_for(DEFAULT_ROOT, max_rows=8), FAST) as serving:
        yield serving


@pytest.fixture
def client(server: Serving) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def ask(server: Serving, method: str, *given: Any, **options: Any) -> list[Any]:
    """What both clients give; of a stream the events and the answer."""

    async def ask() -> Any:
        async with AsyncClient(server.url) as client:
            value = getattr(client, method)(*given, **options)
            if method.endswith("_stream"):
                return [event async for event in value], await value.answer()
            return await value

    with Client(server.url) as client:
        value = getattr(client, method)(*given, **options)
        found = ([*value], value.answer) if method.endswith("_stream") else value
    return [found, asyncio.run(ask())]


def raw(server: Serving, task: Task, body: dict[str, Any]) -> Any:
    """What the server answers, read as the class of the answer."""
    with server.client() as http:
        return decode(getattr(kinds, task.answer), http.post(f"/{task.name}", json=body).raise_for_status().json())


@pytest.mark.parametrize(("name", "example"), CASES)
def test_examples_of_the_document_give_its_answers(server: Serving, name: str, example: str) -> None:
    """Each example of each task has the answer of the route, with both clients, and the same at the end of a stream."""
    task, body = TASKS[name], dict(EXAMPLES[name][example][1])
    streams = body.pop("stream", False)
    expected = raw(server, task, body)
    given = [body.pop("inputs")] if task.takes_rows else []
    for answer in ask(server, name, *given, **body):
        assert repr(answer) == repr(expected)
        assert answer.meta.request_id
        assert answer.meta.timing_ms["compute"] > 0
    if streams:
        assert task.events
        for events, answer in ask(server, f"{name}_as_stream", *given, **body):
            assert repr(answer) == repr(expected)
            assert len(events) > 1


@pytest.mark.parametrize("task", [task for task in TASKS.values() if task.picture], ids=lambda task: task.name)
def test_answers_come_as_pictures(server: Serving, task: Task) -> None:
    """Every task that can draw its answer gives one picture, with both clients."""
    models = {"reconstruct": "digits-vae", "detect": "digits-detector", "segment": "digits-segmenter"}
    options = {"model": models.get(task.name, "digits-classifier")}
    if task.name == "generate":
        options = {"model": "digits-gan", "seed": 1}
    if task.name == "classify":
        options["explain"] = True
    given = [PAPER] if task.takes_rows else []
    for picture in ask(server, f"{task.name}_as_picture", *given, **options):
        assert isinstance(picture, Picture)
        assert picture.to_array().ndim >= 2


def test_row_may_have_every_form(client: Client) -> None:
    """A picture, its pixels as a picture, numbers as an array or as lists are the same digit."""
    pixels = Picture.of(ZERO_PNG.to_array())
    forms = [ZERO_PNG, ZERO_PNG.data, ZERO_PNG.to_pil(), pixels, [np.array(ZERO)], np.array([ZERO], np.float32), [ZERO]]
    answers = [client.classify(form, model="digits-classifier").classifications for form in forms]
    assert [[each.label for each in answer] for answer in answers] == [["0"]] * len(forms)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_are_those_of_the_model(server: Serving, dtype: Any) -> None:
    """Rows go out and come back as arrays; a datatype that the model does not take is refused with what it takes."""
    images = np.array([ZERO, ZERO], dtype)
    if dtype != np.float32:
        with pytest.raises(errors.InvalidRequest, match="FP32"):
            ask(server, "infer", "digits-classifier", {"image": images})
        return
    for answer in ask(server, "infer", "digits-classifier", {"image": images}, version=1, timeout_s=30):
        assert (answer.model, answer.version, set(answer.outputs)) == (
            "digits-classifier",
            "1",
            {"logits", "probabilities"},
        )
        assert answer.outputs["probabilities"].shape == (2, 10)
        assert answer.outputs["probabilities"].dtype == np.float32
        assert answer.outputs["probabilities"][1].argmax() == 0
    classes = {"probabilities": {"classification": 2}}
    for answer in ask(server, "infer", "digits-classifier", {"image": images}, outputs=classes):
        assert answer.outputs["probabilities"][0, 0].endswith(":0:0")
    for answer in ask(server, "infer", "digits-classifier", {"image": images}, outputs=["logits"]):
        assert list(answer.outputs) == ["logits"]


def test_deadline_is_told_to_the_server(server: Serving) -> None:
    """The time limit of a tensor call goes along, so that the server does not work for nobody."""
    with pytest.raises((errors.DeadlinePassed, errors.Busy, errors.TimedOut)):
        ask(server, "infer", "digits-classifier", {"image": np.array([ZERO], np.float32)}, timeout_s=1e-6)


def test_models_have_cards_and_metadata(server: Serving) -> None:
    """Cards of all models, tensors of a model, the steps of a pipeline, and whether a model serves."""
    for cards in ask(server, "models"):
        card = next(card for card in cards if card.name == "digits-classifier")
        assert card.ready
        assert card.quality.metrics["accuracy"] > 0.99
        assert card.batching.rows == "proved"
    for model in ask(server, "model", "digits-classifier"):
        assert model.inputs[0].shape == [-1, 1, 8, 8]
    for model in ask(server, "model", "digits-reader", 1):
        assert "find" in model.pipeline.steps
    assert ask(server, "is_ready", "digits-classifier") == [True, True]
    assert ask(server, "is_ready", "no-such-model") == [False, False]


def test_error_has_the_sentence_of_the_server(client: Client) -> None:
    """Status, sentence and the id that the caller chose."""
    with pytest.raises(errors.NotFound, match="no model 'nobody': there are ") as raised:
        client.classify(ZERO_PNG, model="nobody", request_id="mine")
    assert (raised.value.status, raised.value.request_id) == (404, "mine")
    with pytest.raises(errors.InvalidRequest, match="top_k: expected"):
        client.classify(ZERO_PNG, model="digits-classifier", top_k=0)


def test_stream_that_is_left_frees_its_connection(client: Client) -> None:
    """After an early end the client can be used, and the stream has no answer."""
    with client.generate_as_stream(model="digits-diffusion", steps=50, seed=1) as stream:
        assert next(iter(stream)).step == 0
    with pytest.raises(errors.SluiceError, match="was closed before its answer came"):
        _ = stream.answer
    assert client.is_ready()
