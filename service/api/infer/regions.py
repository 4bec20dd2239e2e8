"""Tensors in shared memory: inputs are read before the request is checked, outputs are written before the answer.

The bytes of inputs count as bytes of the body. Outputs are written only if all of them fit, and if their regions are
still registered.
"""

import asyncio
import functools
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from service.access.local import is_local, is_loopback
from service.api.handler import Responder
from service.engine.batching.queue import Answer, Done
from service.errors import BodyTooLarge, Forbidden, InvalidInput, ServiceError
from service.protocol.infer_request import InferHeader, InferRequest, InputHeader, read_tensor
from service.protocol.infer_response import write_tensor
from service.settings import Settings
from service.shared_memory.files import OpenRegion
from service.shared_memory.parts import RegionPart
from service.shared_memory.regions import Regions
from service.transport.request import FORWARDED_INFER, GRPC_INFER, GRPC_STREAM_INFER, Request

_IN_THREAD_FROM_BYTES: Final = 1 << 20
"""More is copied in a thread: it takes over 0.2 ms, and does not hold the GIL."""
_TEXTS_IN_THREAD_FROM_BYTES: Final = 16 << 10
"""Texts are slower, because each becomes an object."""


class RegionTransfers:
    """``regions`` is None if the server does not offer shared memory."""

    def __init__(self, regions: Regions | None, settings: Settings) -> None:
        self._regions = regions
        self._host, self._max_bytes = settings.host, settings.max_body_bytes

    def read(
        self, responder: Responder, request: InferRequest, then: Callable[[InferRequest], None], *, in_order: bool
    ) -> "asyncio.Future[InferRequest] | None":
        """Read the inputs that are in regions, then call ``then`` with all inputs.

        ``in_order``: requests must continue in the order in which they came. Much data is read in a thread; then the
        thread's future is returned. Raises ServiceError.
        """
        header = request.header
        found = self._find(responder.request, header)
        size_bytes = sum(item.region.size_bytes for item in header.inputs if item.region is not None)
        if size_bytes > self._max_bytes:
            raise BodyTooLarge(f"inputs: expected at most {self._max_bytes} bytes in shared memory, got {size_bytes}")
        responder.reserve(size_bytes)

        def work() -> InferRequest:
            inputs: dict[str, np.ndarray] = {}
            for item in header.inputs:
                inputs[item.name] = request.inputs[item.name] if item.region is None else _read(item, found)
            return InferRequest(header, inputs)

        has_texts = any(item.region is not None and item.dtype is None for item in header.inputs)
        if size_bytes <= (_TEXTS_IN_THREAD_FROM_BYTES if has_texts else _IN_THREAD_FROM_BYTES):
            then(work())
            return None
        return responder.run_in_thread(work, then, holds_interpreter=has_texts or in_order)

    def write_before(self, responder: Responder, header: InferHeader, done: Done) -> Done:
        """A callback for the engine: it writes the outputs to their regions, then calls ``done``."""
        found = self._find(responder.request, header)

        def write_then(outcome: Answer | ServiceError) -> None:
            if isinstance(outcome, ServiceError):
                done(outcome)
                return
            outputs = {name: outcome.outputs[name] for name in header.output_regions}
            work = functools.partial(_write, header.output_regions, outputs, found)
            has_texts = any(array.dtype.hasobject or array.dtype.kind in "SU" for array in outputs.values())
            if has_texts or sum(array.nbytes for array in outputs.values()) > _IN_THREAD_FROM_BYTES:
                responder.run_in_thread(work, lambda _: done(outcome), is_answered=True, holds_interpreter=has_texts)
                return
            try:
                work()
            except Exception as error:  # noqa: BLE001  # such as an output that does not fit
                responder.fail(error)
            else:
                done(outcome)

        return write_then

    def _find(self, request: Request, header: InferHeader) -> Mapping[str, OpenRegion]:
        """The regions that a request names. Each has room for its tensors. Raises InvalidInput, Forbidden."""
        if self._regions is None:
            raise InvalidInput("shared_memory_region: this server does not offer shared memory: send the tensors")
        self._check_caller(request)
        found: dict[str, OpenRegion] = {}
        parts = [item.region for item in header.inputs if item.region is not None]
        for part in (*parts, *header.output_regions.values()):
            region = found.setdefault(part.region, self._regions.find(part.region, request.caller))
            region.check(part.offset, part.size_bytes)
        for name, part in header.output_regions.items():
            if not found[part.region].may_write:
                raise Forbidden(f"output {name!r:.60}: region {part.region!r:.60} may be read only")
        return found

    def _check_caller(self, request: Request) -> None:
        """A caller without a key must be on this machine. All of those count as one caller. Raises Forbidden."""
        route = request.endpoint.route
        if request.grant is not None or route == FORWARDED_INFER:  # the other worker has checked the caller
            return
        client = request.find_client()
        is_grpc = route in (GRPC_INFER, GRPC_STREAM_INFER)
        if not (is_loopback(client) if is_grpc else is_local(client, request.headers.items(), self._host)):
            raise Forbidden("shared memory is for callers on this machine, without a proxy, and for those with a key")


def _read(item: InputHeader, regions: Mapping[str, OpenRegion]) -> np.ndarray:
    assert item.region is not None  # noqa: S101  # the caller has checked
    content = regions[item.region.region].read(item.region.offset, item.region.size_bytes)
    return read_tensor(item, content, 0)


def _write(
    parts: Mapping[str, RegionPart], outputs: Mapping[str, np.ndarray], regions: Mapping[str, OpenRegion]
) -> None:
    contents = {name: write_tensor(array) for name, array in outputs.items()}
    for name, content in contents.items():
        if len(content) > parts[name].size_bytes:
            raise InvalidInput(
                f"output {name!r:.60}: expected {len(content)} bytes or more for it, got a part of "
                f"{parts[name].size_bytes} in region {parts[name].region!r:.60}"
            )
    for name, content in contents.items():
        regions[parts[name].region].write(parts[name].offset, content)
