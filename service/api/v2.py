"""Inference requests of the Open Inference Protocol: from a call of the request handler to rows in the engine, and back.

Programs send the same JSON part again and again, with other bytes. What was checked of one (names, datatypes, shapes,
wanted outputs, the place of each tensor) is kept with the model, and of the next only the values are looked at.
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_store.manifest import Manifest
from service.engine.execution.queued_request import Answer, Done
from service.engine.tensors import Arrays, Rows
from service.errors import DeadlinePassed, InvalidInput, ServiceError
from service.models.registry import Model, Registry
from service.protocol.answers import render_infer
from service.protocol.classification import check_classification, classify
from service.protocol.header import Header, SequenceStep
from service.protocol.v2 import MAX_KEPT_BYTES, Layout, find_layout, parse_infer, parse_raw
from service.settings import Settings
from service.transport.request import JSON, Call, Reply
from service.transport.request import Header as HeaderField

if TYPE_CHECKING:
    from service.api.handler import RequestHandler

INFER = "/v2/models/{model}/infer"
GRPC_INFER, GRPC_STREAM_INFER = "grpc ModelInfer", "grpc ModelStreamInfer"
"""The same endpoint for calls that came over gRPC, so that metrics tell them apart."""
HANDED_INFER = "infer handed on"
"""Again the same, of a sequence, for the worker that has the caller: it counts the request under its own route."""
ROUTES = (INFER, GRPC_INFER, GRPC_STREAM_INFER, HANDED_INFER)

BINARY: HeaderField = (b"content-type", b"application/octet-stream")
_KEPT_FORMS = 256

Render = Callable[[Call, Model, Answer], Reply]


@dataclass(eq=False)
class _Form:
    """What requests to a model with the same JSON part have in common; the first of them has passed every check."""

    header: Header
    layout: Layout
    number: int
    key: Hashable


class Inference:
    """Requests that carry tensors as the protocol has them. On the event loop's thread only."""

    def __init__(self, handler: "RequestHandler", registry: Registry, settings: Settings) -> None:
        self._plane = handler
        self._registry = registry
        self._deadline_s = settings.deadline_s
        self._max_inputs = settings.max_inputs

    def start(self, call: Call) -> None:
        """Begin a request whose body is complete. Raises ServiceError."""
        model = call.model = self._registry.find(call.endpoint.model, call.endpoint.version)
        length = call.headers.get(b"inference-header-content-length")
        header_bytes = None if length is None else _read_length(length)
        form: _Form | None = None
        if header_bytes and header_bytes <= MAX_KEPT_BYTES:
            form = model.forms.get(bytes(call.body[:header_bytes]))
        if form is None or len(call.body) != form.layout.size_bytes:
            self._start_anew(call, model, header_bytes)
            return
        header = call.details = form.header
        asked_s, priority = header.timeout_s, header.priority
        if model.loaded.queueing is not None:
            asked_s, priority = model.schedule(asked_s, header.level)
        timeout_s = self._timeout_s(call, asked_s)
        # A server that is asked for too much has no time to lose on what it refuses, not even for an exception.
        refusal = model.dispatcher.find_refusal(form.number, timeout_s)
        if refusal is not None:
            self._plane.fail(call, refusal)
            return
        inputs = form.layout.read(call.body)
        if model.signature.checks_values:
            model.signature.check_values(inputs)
        rows = Rows(inputs, form.number, form.key)
        done = self._receive(call, model, self._render)
        call.job = model.dispatcher.enqueue(rows, done, timeout_s, priority)

    def _start_anew(self, call: Call, model: Model, header_bytes: int | None) -> None:
        """A request unlike those before it: everything is to be checked."""

        def admit(header: Header) -> None:  # before tensors are decoded
            shape = header.inputs[0].shape if header.inputs else ()
            rows = shape[0] if shape and model.signature.batches else 1
            asked_s, _ = model.schedule(header.timeout_s, header.level)
            model.dispatcher.admit(rows, self._timeout_s(call, asked_s))

        signature = model.signature
        if header_bytes == 0:
            model.dispatcher.admit(1, self._timeout_s(call, model.schedule(None, 0)[0]))
            header, inputs = parse_raw(call.body, signature.graph.inputs, signature.leads_with_rows)
        else:
            # Every request that the model takes is read, and little of one that has far more than it can take.
            max_tensors = max(self._max_inputs, len(signature.public_inputs), len(signature.public_outputs))
            header, inputs = parse_infer(call.body, header_bytes, admit, max_tensors)
        call.details = header
        if header.outputs is not None and not header.outputs.keys() <= signature.public_outputs.keys():
            name = next(name for name in header.outputs if name not in signature.public_outputs)
            have = ", ".join(signature.public_outputs)
            raise InvalidInput(f"outputs: no output {name!r:.60} in model {model.name!r}, there are {have}")
        if header.classes:
            check_classification(header.classes, signature.public_outputs)
        if header.sequence is not None:
            self._start_in_sequence(call, model, header, header.sequence, inputs)
            return
        model.check_stateless()
        rows = signature.check(inputs, may_be_empty=True)
        if header_bytes and header_bytes <= MAX_KEPT_BYTES:
            layout = find_layout(header, header_bytes)
            if layout is not None and signature.keeps_forms and not rows.whole:
                if len(model.forms) >= _KEPT_FORMS:
                    model.forms.clear()  # such as by an id in each request, which does not come again
                model.forms[bytes(call.body[:header_bytes])] = _Form(header, layout, rows.number, rows.key)
        asked_s, priority = model.schedule(header.timeout_s, header.level)
        self._submit(call, model, rows, self._render, self._timeout_s(call, asked_s), priority)

    def _start_in_sequence(self, call: Call, model: Model, header: Header, step: SequenceStep, inputs: Arrays) -> None:
        """Submit a request when those before it in its sequence have been answered, or hand it on to who keeps that."""
        if self._plane.relay is not None and call.endpoint.route != HANDED_INFER:
            owner = self._plane.relay.find_owner(model.name, step.id)
            if owner is not None:
                owner.hand_on(call, self._left_s(call, header.timeout_s))
                return

        def render(call: Call, model: Model, answer: Answer) -> Reply:
            public = {name: answer.outputs[name] for name in model.signature.public_outputs}
            reply = self._render(call, model, Answer(public, answer.queue_s, answer.batch_s, answer.compute_s))
            place.keep(answer.outputs)
            return reply

        def go() -> None:
            try:
                left_s = self._left_s(call, header.timeout_s)
                if left_s <= 0:
                    raise DeadlinePassed("the deadline passed while requests before it in the sequence ran")
                rows = place.take(inputs)
                self._submit(call, model, rows, render, left_s, header.priority)
            except Exception as error:  # noqa: BLE001  # it may be called by the loop, which has nobody to tell
                self._plane.fail(call, error)

        place = call.place = self._plane.sequences.join(model, step, go)
        if place.is_first:
            go()

    @staticmethod
    def _render(call: Call, model: Model, answer: Answer) -> Reply:
        header: Header = call.details
        outputs = _classified(model, header, answer.outputs) if header.classes else answer.outputs
        infer = render_infer(model.name, model.version, header, outputs)
        size = infer.header_bytes
        return Reply(200, infer.chunks, (JSON,) if size is None else _binary_headers(size))

    def _submit(
        self,
        call: Call,
        model: Model,
        rows: Rows,
        render: Render,
        timeout_s: float,
        priority: int,
    ) -> None:
        done = self._receive(call, model, render)
        if not rows.number:
            done(model.dispatcher.answer_no_rows(rows))
            return
        call.job = model.dispatcher.submit(rows, done, timeout_s=timeout_s, priority=priority)

    def _receive(self, call: Call, model: Model, render: Render) -> Done:
        """What becomes of the engine's outcome."""

        def done(outcome: Answer | ServiceError) -> None:
            if isinstance(outcome, ServiceError):
                self._plane.fail(call, outcome)
                return
            try:
                reply = render(call, model, outcome)
            except Exception as error:  # noqa: BLE001  # such as FP16 asked for as JSON
                self._plane.fail(call, error)
            else:
                self._plane.finish(call, reply, outcome)

        return done

    def _left_s(self, call: Call, asked_s: float | None) -> float:
        """What is left of the time that it has, after a wait among others of its sequence; negative when it is over."""
        return self._allowed_s(call, asked_s) - (self._plane.clock() - call.began)

    def _timeout_s(self, call: Call, asked_s: float | None) -> float:
        """What was left of it when the request handler went on with it, without another look at the clock.

        Raises DeadlinePassed.
        """
        left_s = self._allowed_s(call, asked_s) - call.late_s
        if left_s <= 0 < call.late_s:
            raise DeadlinePassed("the deadline passed before the request could be looked at")
        return left_s

    def _allowed_s(self, call: Call, asked_s: float | None) -> float:
        """What the request asks for, else what its caller waits, else the server's own; never more than it waits."""
        timeout_s = asked_s or call.patience_s or self._deadline_s
        return timeout_s if call.patience_s is None else min(timeout_s, call.patience_s)


def _classified(model: Model, header: Header, outputs: Arrays) -> Arrays:
    """The outputs, with classes in place of the values of those that are wanted so."""
    manifest = model.manifest
    classified = {
        name: classify(name, outputs[name], number, _labels_of(manifest, name), model.signature.leads_with_rows)
        for name, number in header.classes.items()
    }
    return {**outputs, **classified}


def _labels_of(manifest: Manifest, output: str) -> Sequence[str]:
    scores = (manifest.classes.probabilities, manifest.classes.logits) if manifest.classes else ()
    return manifest.labels if output in scores else manifest.output_labels.get(output, ())


@functools.lru_cache(maxsize=1024)
def _read_length(text: bytes) -> int:
    """The length of the JSON part. Raises InvalidInput."""
    if not text.isdigit() or len(text) > 18:
        raise InvalidInput(f"Inference-Header-Content-Length: expected a number, got {text.decode('latin-1')!r:.40}")
    return int(text)


@functools.lru_cache(maxsize=1024)
def _binary_headers(header_bytes: int) -> tuple[HeaderField, ...]:
    return (BINARY, (b"inference-header-content-length", b"%d" % header_bytes))
