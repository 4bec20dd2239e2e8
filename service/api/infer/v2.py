"""Inference requests of the Open Inference Protocol: from the body of a request to rows in the engine, and back.

Programs often send the same JSON header again with other tensor bytes. What was learned from checking the header
(names, datatypes, shapes, wanted outputs, positions of tensors) is cached. Then only the values are checked.
"""

import asyncio
import functools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from model_store.graph import MAIN
from service.api.continuing import Continuations
from service.api.handler import Responder, Start
from service.api.infer.in_sequence import Render, SequenceRequests
from service.api.infer.regions import RegionTransfers
from service.engine.batching.queue import Answer, Done
from service.engine.tensors import Rows
from service.errors import DeadlinePassed, InvalidInput, ServiceError
from service.models.entry import Model, Served
from service.models.registry import Registry
from service.models.schedule_policy import Schedule
from service.protocol.classification import check_classification, classify_outputs
from service.protocol.infer_request import MAX_KEPT_BYTES, InferHeader, InferRequest, parse_infer
from service.protocol.infer_response import render_infer
from service.protocol.large_json import LARGE_BYTES, PIECE_NUMBERS
from service.protocol.raw import RAW, parse_raw
from service.sequences.forwarding import Forwarder
from service.sequences.sequences import Sequences
from service.settings import Settings
from service.transport.request import (
    BINARY,
    FORWARDED_INFER,
    GRPC_INFER,
    GRPC_STREAM_INFER,
    INFER,
    JSON,
    HeaderField,
    Reply,
)

_KEPT_HEADERS: Final = 256


TensorPart = tuple[str, tuple[int, ...], np.dtype, int]
"""Name, shape, dtype and first byte of a tensor in a body."""


@dataclass(eq=False)
class _KnownHeader:
    """What is known of a JSON header that has passed every check."""

    header: InferHeader
    parts: Sequence[TensorPart]
    size_bytes: int
    """Of the whole body."""
    number: int
    row_elements: int
    key: Hashable
    schedule: Schedule

    def read(self, body: bytes | memoryview) -> dict[str, np.ndarray]:
        """The tensors of a body of that size, as views."""
        if len(self.parts) == 1:
            [(name, shape, dtype, at)] = self.parts
            return {name: np.ndarray(shape, dtype, body, at)}
        return {name: np.ndarray(shape, dtype, body, at) for name, shape, dtype, at in self.parts}


class InferHandler:
    """Answers inference requests. Used on the event loop's thread only.

    ``forwarder`` reaches the other workers. ``transfers`` reads and writes tensors in shared memory.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        sequences: Sequences,
        forwarder: Forwarder | None,
        continuations: Continuations,
        transfers: RegionTransfers,
    ) -> None:
        self._registry = registry
        self._continuations = continuations
        self._entries = registry.entries
        self._in_sequences = SequenceRequests(sequences, forwarder, self._submit, self._render)
        self._transfers = transfers
        self._max_inputs = settings.max_inputs
        self._known: dict[Model, dict[bytes, _KnownHeader]] = {}
        self._reading: dict[Model, asyncio.Future[InferRequest]] = {}
        """For models with sequences: the last request that is being read in a thread. Later ones go there too."""

    def starts(self) -> Mapping[str, Start]:
        return dict.fromkeys((INFER, GRPC_INFER, GRPC_STREAM_INFER, FORWARDED_INFER), self.start)

    def start(self, responder: Responder) -> None:
        """Begin a request whose body is complete. Raises ServiceError."""
        request = responder.request
        endpoint, headers = request.endpoint, request.headers
        entry = self._entries.get(endpoint.model)
        model: Served | None = None
        if entry is not None and endpoint.version is None:
            model = entry.serving if entry.chooser is None else entry.chooser.choose(request)
        if not isinstance(model, Model):
            model = self._continuations.find(request)
        else:
            model.used_at = request.began
        responder.model_name, responder.version = model.name, model.version
        length = headers.get(b"inference-header-content-length")
        header_bytes = None if length is None else _read_length(length)
        known: _KnownHeader | None = None
        if header_bytes and header_bytes <= MAX_KEPT_BYTES and (of_model := self._known.get(model)) is not None:
            known = of_model.get(bytes(request.body[:header_bytes]))
        if known is None or len(request.body) != known.size_bytes:
            self._start_anew(responder, model, header_bytes)
            return
        timeout_s = self._timeout_s(responder, model, known.schedule)
        # An overloaded server must refuse fast, so this raises no exception.
        refusal = model.dispatcher.find_refusal(known.number, timeout_s, known.row_elements)
        if refusal is not None:
            responder.fail(refusal)
            return
        inputs = known.read(request.body)
        if model.signature.checks_values:
            model.signature.check_values(inputs)
        if responder.request.grant is not None:
            responder.charge(known.number)
        rows = Rows(inputs, known.number, known.key)
        responder.rows = known.number
        if request.trace is not None:
            rows.trace = model.trace(request.trace)
        done = self._receive(responder, model, known.header, rows, self._render)
        responder.cancel_work = model.dispatcher.enqueue(rows, done, timeout_s, known.schedule.priority)

    def find_max_tensors(self) -> int:
        """The most inputs, or outputs, that a request to any model in service may have."""
        return max([self._max_inputs, *(self._max_tensors(model) for model in self._registry.models())])

    def _max_tensors(self, model: Model) -> int:
        return max(self._max_inputs, len(model.signature.public_inputs), len(model.signature.public_outputs))

    async def forget(self, model: Served) -> None:
        """The version leaves service."""
        if isinstance(model, Model):
            self._known.pop(model, None)
            self._reading.pop(model, None)

    def _start_anew(self, responder: Responder, model: Model, header_bytes: int | None) -> None:
        """Start a request whose JSON header is new: everything is checked."""
        body, signature, max_tensors = responder.request.body, model.signature, self._max_tensors(model)

        def admit(header: InferHeader) -> None:  # called before tensors are decoded
            rows = 1
            for tensor in header.inputs[:1]:
                axis = signature.axes.get(tensor.name)
                if axis is not None and axis < len(tensor.shape):
                    rows = tensor.shape[axis]
            elements = sum(tensor.count for tensor in header.inputs) // max(1, rows)
            self._check_time(responder, model, rows, header, elements)

        if header_bytes == 0:
            self._check_time(responder, model, 1, RAW)
            self._go_on(responder, model, 0, parse_raw(body, signature.graph.inputs, signature.leads_with_rows))
        elif (len(body) if header_bytes is None else header_bytes) > LARGE_BYTES or model in self._reading:
            self._check_time(responder, model, 1, RAW)
            future = responder.run_in_thread(
                functools.partial(parse_infer, body, header_bytes, max_tensors=max_tensors),
                functools.partial(self._take, responder, model, header_bytes),
            )
            self._keep_order(model, future)
        else:
            self._take(responder, model, header_bytes, parse_infer(body, header_bytes, admit, max_tensors))

    def _take(self, responder: Responder, model: Model, header_bytes: int | None, request: InferRequest) -> None:
        """The body has been read. Read the inputs in shared memory, then go on."""
        if not request.header.uses_regions:
            self._go_on(responder, model, header_bytes, request)
            return
        then = functools.partial(self._go_on, responder, model, header_bytes)
        future = self._transfers.read(responder, request, then, in_order=model.sequence_rules is not None)
        if future is not None:
            self._keep_order(model, future)

    def _keep_order(self, model: Model, future: "asyncio.Future[InferRequest]") -> None:
        """A request is being read in a thread: later ones of a model with sequences must not overtake it."""
        if model.sequence_rules is not None:
            self._reading[model] = future
            future.add_done_callback(functools.partial(self._has_read, model))

    def _has_read(self, model: Model, future: "asyncio.Future[InferRequest]") -> None:
        if self._reading.get(model) is future:
            del self._reading[model]

    def _go_on(self, responder: Responder, model: Model, header_bytes: int | None, request: InferRequest) -> None:
        """All inputs have been read. Check and submit them."""
        header, inputs = request.header, request.inputs
        if header.sequence is not None or model.is_closed or model in self._registry.leaving:
            model = self._continuations.choose(model, responder.request, header.sequence)
            responder.version = model.version
        signature = model.signature
        if header.outputs is not None and not header.outputs.keys() <= signature.public_outputs.keys():
            name = next(name for name in header.outputs if name not in signature.public_outputs)
            have = ", ".join(signature.public_outputs)
            raise InvalidInput(f"outputs: no output {name!r:.60} in model {model.name!r}, there are {have}")
        if header.classes:
            check_classification(header.classes, signature.public_outputs)
        if header.sequence is not None:
            self._in_sequences.start(responder, model, header, header.sequence, inputs)
            return
        if model.sequence_rules is not None:
            model.check_stateless()
        rows = signature.check(inputs, may_be_empty=True)
        responder.charge(rows.number)
        if header_bytes and header_bytes <= MAX_KEPT_BYTES and not rows.whole and not header.uses_regions:
            self._learn_header(model, bytes(responder.request.body[:header_bytes]), header, rows)
        schedule = _schedule(model, header)
        timeout_s = self._timeout_s(responder, model, schedule)
        self._submit(responder, model, header, rows, self._render, timeout_s, schedule.priority)

    def _learn_header(self, model: Model, text: bytes, header: InferHeader, rows: Rows) -> None:
        """Cache what is known of a JSON header, because it may come again."""
        if not model.signature.has_fixed_key:
            return
        parts: list[TensorPart] = []
        at = len(text)
        for item in header.inputs:
            if item.size_bytes is None or item.dtype is None or item.dtype.kind == "b" or not item.count:
                return  # the bytes of such a tensor need checks too
            parts.append((item.name, item.shape, item.dtype, at))
            at += item.size_bytes
        known = self._known.setdefault(model, {})
        if len(known) >= _KEPT_HEADERS:
            known.clear()  # such as if each request has its own id
        schedule = _schedule(model, header)
        known[text] = _KnownHeader(header, parts, at, rows.number, rows.row_elements, rows.key, schedule)

    def _check_time(
        self, responder: Responder, model: Model, rows: int, header: InferHeader, row_elements: int = 0
    ) -> None:
        """Raises Draining, TooLate or DeadlinePassed if a request of this size cannot be answered in time."""
        timeout_s = self._timeout_s(responder, model, _schedule(model, header))
        model.dispatcher.check_time(rows, timeout_s, row_elements)

    @staticmethod
    def _render(model: Model, header: InferHeader, answer: Answer) -> Reply:
        outputs = answer.outputs
        if header.classes:
            outputs = classify_outputs(outputs, header.classes, model.manifest, model.signature.leads_with_rows)
        chunks, header_bytes = render_infer(model.name, model.version, header, outputs)
        return Reply(200, chunks, (JSON,) if header_bytes is None else _binary_headers(header_bytes))

    def _submit(
        self,
        responder: Responder,
        model: Model,
        header: InferHeader,
        rows: Rows,
        render: Render,
        timeout_s: float,
        priority: int,
    ) -> None:
        done = self._receive(responder, model, header, rows, render)
        responder.rows = rows.number
        if responder.request.trace is not None:
            rows.trace = model.trace(responder.request.trace)
        if not rows.number:
            done(model.dispatcher.answer_no_rows(rows))
            return
        responder.cancel_work = model.dispatcher.submit(rows, done, timeout_s=timeout_s, priority=priority)

    def _receive(self, responder: Responder, model: Model, header: InferHeader, rows: Rows, render: Render) -> Done:
        """The callback for the engine: it answers the request."""
        exposure = responder.request.exposure
        inputs = None if exposure is None or header.uses_regions else rows.inputs  # the memory of regions may change

        def done(outcome: Answer | ServiceError) -> None:
            if isinstance(outcome, ServiceError):
                responder.fail(outcome)
                return
            if exposure is not None and inputs is not None:
                exposure.note_run(MAIN, inputs, outcome.outputs)
            try:
                in_json = not header.is_all_binary and header.sequence is None
                if in_json and any(array.size > PIECE_NUMBERS for array in outcome.outputs.values()):
                    responder.run_in_thread(
                        functools.partial(render, model, header, outcome),
                        lambda reply: responder.finish(reply, outcome),
                        is_answered=True,
                    )
                    return
                reply = render(model, header, outcome)
            except Exception as error:  # noqa: BLE001  # such as FP16 asked for as JSON
                responder.fail(error)
            else:
                responder.finish(reply, outcome)

        return self._transfers.write_before(responder, header, done) if header.output_regions else done

    @staticmethod
    def _timeout_s(responder: Responder, model: Model, schedule: Schedule) -> float:
        """The seconds that were left when the work began. It does not read the clock. Raises DeadlinePassed."""
        left_s = responder.allowed_s(schedule.timeout_s) - responder.late_s
        if left_s <= 0 < responder.late_s:
            raise DeadlinePassed("the deadline passed before the request could be looked at")
        return left_s if schedule.wait_s == math.inf else model.dispatcher.limit_wait(left_s, schedule.wait_s)


def _schedule(model: Model, header: InferHeader) -> Schedule:
    """The timeout and priority that the request asks for, as far as the model's configuration allows them."""
    if model.loaded.schedule_policy is None:
        return Schedule(header.timeout_s, math.inf, header.priority)
    return model.schedule(header.timeout_s, header.level)


@functools.lru_cache(maxsize=1024)
def _read_length(text: bytes) -> int:
    """The length of the JSON header. Raises InvalidInput."""
    if not text.isdigit() or len(text) > 18:
        raise InvalidInput(f"Inference-Header-Content-Length: expected a number, got {text.decode('latin-1')!r:.40}")
    return int(text)


@functools.lru_cache(maxsize=1024)
def _binary_headers(header_bytes: int) -> tuple[HeaderField, ...]:
    return (BINARY, (b"inference-header-content-length", b"%d" % header_bytes))
