"""Callers that ask a server without a pause and count what they get, while a test changes something about it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import grpc

from tests.chaos.caller import Caller, Gone
from tests.service.models.asking import X
from tests.service.transport.grpc.test_streams import request_of

RIGHT = "200"


async def ask_http(port: int, is_kept: bool, answers: Counter[str], stop: asyncio.Event) -> None:
    """One request after the other, over one connection or over one for each."""
    async with Caller(port) as caller:
        while not stop.is_set():
            try:
                answer = str((await caller.post_json("/v2/models/double/infer", {"inputs": [X]})).status)
            except Gone as gone:
                answer = f"over HTTP: {gone}"
            answers[answer] += 1
            if not is_kept:
                caller.close()


async def ask_grpc(port: int, answers: Counter[str], stop: asyncio.Event) -> None:
    """One call after the other over one channel."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        while not stop.is_set():
            try:
                await infer(request_of(1).SerializeToString())
                answers[RIGHT] += 1
            except grpc.RpcError as error:
                answers[f"over gRPC: {error.code()} {error.details()}"] += 1


@contextlib.asynccontextmanager
async def load(port: int, grpc_port: int) -> AsyncIterator[Counter[str]]:
    """Ask for the model `double` over kept and new connections and gRPC. Counts the answers, by status or failure."""
    answers, stop = Counter[str](), asyncio.Event()
    callers = [ask_http(port, is_kept, answers, stop) for is_kept in (True, True, True, True, False, False)]
    callers += [ask_grpc(grpc_port, answers, stop) for _ in range(4)]
    async with asyncio.TaskGroup() as tasks:
        for each in callers:
            tasks.create_task(each)
        try:
            yield answers
        finally:
            stop.set()
