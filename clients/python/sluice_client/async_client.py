"""The client with asyncio or trio."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self, TypeVar, Unpack

import anyio
import httpx

from sluice_client import calls
from sluice_client.api.async_tasks import AsyncTasks
from sluice_client.api.options import CallOptions, InferParameters, OutputParameters
from sluice_client.api.protocol import Card, ModelMetadata, PipelineMetadata
from sluice_client.calls import Call, StreamCall, Tensors
from sluice_client.errors import NoAnswer, NotFound, NotReady
from sluice_client.meta import Meta
from sluice_client.retry import Retry
from sluice_client.sending import AGAIN, Sending, check_url, verifies, with_key
from sluice_client.streams import AsyncStream

A = TypeVar("A")
E = TypeVar("E")


class AsyncClient(AsyncTasks):
    """A client of one server, for one event loop of asyncio or trio. It has the methods of ``Client``, to be awaited.

    ::

        async with AsyncClient("http://127.0.0.1:3000") as sluice:
            answers = await asyncio.gather(*(sluice.embed(text) for text in texts))

    ``max_connections`` requests are on their way at once; more wait, and their time counts. The other arguments are
    those of ``Client``.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:3000",
        *,
        timeout_s: float = 60.0,
        retry: Retry | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        max_connections: int = 100,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self.url = check_url(url)
        self._base = url.rstrip("/")
        self._timeout_s = timeout_s
        self._retry = retry or Retry()
        self._headers = with_key(headers, api_key)
        self._http = http or httpx.AsyncClient(
            verify=verifies(url),
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
        )
        self._owns_http = http is None
        self._turns = anyio.Semaphore(max_connections)

    async def infer(
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
        return await self._ask(calls.call_infer(model, inputs, outputs, version, parameters or {}, options))

    async def models(self) -> list[Card]:
        """The cards of all models: task, versions, labels, quality, whether they serve, and why not."""
        return await self._ask(calls.call_models())

    async def model(self, name: str, version: str | int | None = None) -> ModelMetadata | PipelineMetadata:
        """The inputs and outputs of a model, and whether its rows are batched."""
        return await self._ask(calls.call_model(name, version))

    async def is_ready(self, model: str | None = None) -> bool:
        """Whether the model serves; without a name, whether any does. It is asked once, without tries."""
        try:
            return await self._ask(calls.call_ready(model), Retry(tries=1))
        except (NoAnswer, NotFound, NotReady):
            return False

    async def close(self) -> None:
        """Close the connections."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _ask(self, call: Call[A], retry: Retry | None = None) -> A:
        sending = Sending(call, self._timeout_s, retry or self._retry)
        async with self._take_turn(sending), contextlib.aclosing(await self._begin(sending)) as response:
            chunks = []
            with sending.in_our_words():
                async for chunk in response.aiter_bytes():
                    chunks.append(chunk)
                    sending.check_time()
        return call.read(sending.reply(response, b"".join(chunks)))

    def _open(self, call: StreamCall[E, A]) -> AsyncStream[E, A]:
        return AsyncStream(call, self._connect)

    @contextlib.asynccontextmanager
    async def _connect(self, call: Call[Any]) -> AsyncIterator[tuple[AsyncIterator[bytes], Meta]]:
        sending = Sending(call, self._timeout_s, self._retry)
        async with self._take_turn(sending), contextlib.aclosing(await self._begin(sending)) as response:
            with sending.in_our_words():
                sending.check_events(response)
                yield response.aiter_bytes(), sending.meta(response)

    @contextlib.asynccontextmanager
    async def _take_turn(self, sending: Sending) -> AsyncIterator[None]:
        """Wait here: the pool of httpx looks at all that wait whenever a request begins or ends."""
        try:
            with anyio.fail_after(sending.left_s):
                await self._turns.acquire()
        except TimeoutError:
            sending.check_time()
            raise
        try:
            yield
        finally:
            self._turns.release()

    async def _begin(self, sending: Sending) -> httpx.Response:
        """The answer, of which the body has not been read. Raises Refused where it is none of 200."""
        while True:
            try:
                return await self._try(sending)
            except AGAIN as error:
                await anyio.sleep(sending.choose_wait(error))

    async def _try(self, sending: Sending) -> httpx.Response:
        request = sending.make_request(self._http, self._base, self._headers)
        with sending.in_our_words():
            response = await self._http.send(request, stream=True)
            if response.status_code == 200:
                return response
            async with contextlib.aclosing(response):
                body = await response.aread()
        raise sending.refuse(response, body)
