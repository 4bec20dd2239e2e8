"""Triton's clients for HTTP and gRPC, asked alike, against one server that has both."""

import queue
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from model_store.datatypes import datatype_of
from tests.support.grpc_servers import GrpcServing

HTTP_FORMS = ("http binary", "http json")
GRPC_FORMS = ("grpc", "grpc stream")
FORMS = (*HTTP_FORMS, *GRPC_FORMS)

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Answered:
    """What came back. ``outputs`` are in the order in which they came."""

    model: str
    version: str
    id: str
    outputs: Mapping[str, np.ndarray]


class TritonServing(GrpcServing):
    """``with TritonServing(settings) as server``: ``server.ask`` asks in any of ``FORMS`` until the block ends."""

    def __enter__(self) -> Self:
        super().__enter__()
        self.http = triton_http.InferenceServerClient(f"127.0.0.1:{self.port}", network_timeout=30)
        self.grpc = self.grpc_client()
        self._streamed: queue.Queue[tuple[Any, InferenceServerException | None]] = queue.Queue()
        self.grpc.start_stream(lambda result, error: self._streamed.put((result, error)))
        return self

    def __exit__(self, *_: object) -> None:
        self.grpc.stop_stream()
        self.grpc.close()
        self.http.close()
        super().__exit__()

    def ask(
        self,
        form: str,
        model: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] | None = None,
        *,
        classes: Sizes | None = None,
        version: str = "",
        **more: Any,
    ) -> Answered:
        """Raises InferenceServerException. ``classes`` says of which outputs how many classes are wanted."""
        client: Any = triton_http if form in HTTP_FORMS else triton_grpc
        binary = {"binary_data": form == "http binary"} if form in HTTP_FORMS else {}
        given = []
        for name, array in inputs.items():
            given.append(client.InferInput(name, list(array.shape), datatype_of(array).name))
            given[-1].set_data_from_numpy(array, **binary)
        wanted = None
        if outputs is not None:
            counts = classes or {}
            wanted = [client.InferRequestedOutput(n, class_count=counts.get(n, 0), **binary) for n in outputs]
        result = self._send(form, model, given, {"outputs": wanted, "model_version": version, **more})
        response: Any = result.get_response()
        if form not in HTTP_FORMS:
            arrays = {output.name: result.as_numpy(output.name) for output in response.outputs}
            return Answered(response.model_name, response.model_version, response.id, arrays)
        arrays = {output["name"]: result.as_numpy(output["name"]) for output in response["outputs"]}
        return Answered(response["model_name"], response["model_version"], response.get("id", ""), arrays)

    def _send(self, form: str, model: str, given: Sequence[Any], more: Mapping[str, Any]) -> Any:
        if form in HTTP_FORMS:
            return self.http.infer(model, given, **more)
        if form == "grpc":
            return self.grpc.infer(model, given, **more)
        self.grpc.async_stream_infer(model, given, **more)
        result, error = self._streamed.get(timeout=30)
        if error is not None:
            raise error
        return result
