"""The client without asyncio."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar, Unpack

import httpx

from sluice_client import calls
from sluice_client.api.options import CallOptions, InferParameters, OutputParameters
from sluice_client.api.protocol import Card, ModelMetadata, PipelineMetadata
from sluice_client.api.sync_tasks import SyncTasks
from sluice_client.calls import Call, StreamCall, Tensors
from sluice_client.errors import NoAnswer, NotFound, NotReady
from sluice_client.meta import Meta
from sluice_client.retry import Retry
from sluice_client.sending import AGAIN, Sending, check_url, verifies, with_key
from sluice_client.streams import Stream

A = TypeVar("A")
E = TypeVar("E")


class Client(SyncTasks):
    """A client of one server, which threads may share.

    ::

        from pathlib import Path
        from sluice_client import Client

        with Client("http://127.0.0.1:3000") as sluice:
            answer = sluice.classify(Path("digit.png"), model="digits-classifier", top_k=3)
            print(answer.classifications[0].label)

    ``timeout_s`` is for a whole call, tries included; for a stream it is for each event. ``api_key`` is a key or a
    token, if the server asks for one; it and ``headers`` go with every request. ``http`` is a client of httpx to use,
    such as one with certificates or a proxy; it is not closed.

    Every task has a method. The first argument is one row or a list of rows: texts, paths, bytes of files, ``Picture``,
    ``Sound``, arrays, lists, dicts, or a table of pandas. All methods also take ``timeout_s`` and ``request_id``. They
    raise what ``sluice_client.errors`` lists; ``TypeError`` for an unknown option.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:3000",
        *,
        timeout_s: float = 60.0,
        retry: Retry | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        self.url = check_url(url)
        self._base = url.rstrip("/")
        self._timeout_s = timeout_s
        self._retry = retry or Retry()
        self._headers = with_key(headers, api_key)
        self._http = http or httpx.Client(verify=verifies(url))
        self._owns_http = http is None

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        outputs: Sequence[str] | Mapping[str, OutputParameters] | None = None,
        version: str | int | None = None,
        parameters: InferParameters | None = None,
        **options: Unpack[CallOptions],
    ) -> Tensors:
        """Tensors to tensors, in binary form, by the Open Inference Protocol.

        ``inputs``: name -> array, whose first axis is the batch, in the datatype that ``model(name).inputs`` has, such
        as ``array.astype("float32")``. ``outputs``: the names that are wanted, or name ->
        parameters such as ``{"classification": 3}``; default: all. The answer's ``outputs`` are arrays by name.
        """
        return self._ask(calls.call_infer(model, inputs, outputs, version, parameters or {}, options))

    def models(self) -> list[Card]:
        """The cards of all models: task, versions, labels, quality, whether they serve, and why not."""
        return self._ask(calls.call_models())

    def model(self, name: str, version: str | int | None = None) -> ModelMetadata | PipelineMetadata:
        """The inputs and outputs of a model, and whether its rows are batched."""
        return self._ask(calls.call_model(name, version))

    def is_ready(self, model: str | None = None) -> bool:
        """Whether the model serves; without a name, whether any does. It is asked once, without tries."""
        try:
            return self._ask(calls.call_ready(model), Retry(tries=1))
        except (NoAnswer, NotFound, NotReady):
            return False

    def close(self) -> None:
        """Close the connections."""
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, call: Call[A], retry: Retry | None = None) -> A:
        sending = Sending(call, self._timeout_s, retry or self._retry)
        response = self._begin(sending)
        with sending.in_our_words(), contextlib.closing(response):
            chunks = []
            for chunk in response.iter_bytes():
                chunks.append(chunk)
                sending.check_time()
        return call.read(sending.reply(response, b"".join(chunks)))

    def _open(self, call: StreamCall[E, A]) -> Stream[E, A]:
        return Stream(call, self._connect)

    @contextlib.contextmanager
    def _connect(self, call: Call[Any]) -> Iterator[tuple[Iterator[bytes], Meta]]:
        sending = Sending(call, self._timeout_s, self._retry)
        response = self._begin(sending)
        with sending.in_our_words(), contextlib.closing(response):
            sending.check_events(response)
            yield response.iter_bytes(), sending.meta(response)

    def _begin(self, sending: Sending) -> httpx.Response:
        """The answer, of which the body has not been read. Raises Refused where it is none of 200."""
        while True:
            try:
                return self._try(sending)
            except AGAIN as error:
                time.sleep(sending.choose_wait(error))

    def _try(self, sending: Sending) -> httpx.Response:
        request = sending.make_request(self._http, self._base, self._headers)
        with sending.in_our_words():
            response = self._http.send(request, stream=True)
            if response.status_code == 200:
                return response
            with contextlib.closing(response):
                body = response.read()
        raise sending.refuse(response, body)
