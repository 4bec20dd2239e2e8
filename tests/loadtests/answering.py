"""A real server whose answers a test gives."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """The address of a server that calls ``answer`` with each body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            answer(self, self.rfile.read(int(self.headers.get("content-length", 0))))

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, headers: Mapping[str, str] = {}) -> None:
    handler.send_response(status)
    for name, value in {**headers, "content-length": str(len(body))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def answering_grpc(key: str = "") -> Iterator[str]:
    """The address of a gRPC server that answers each row with three scores of one, by Triton's own messages.

    If there is a key, a call without it is refused.
    """
    import grpc
    from tritonclient.grpc import service_pb2

    def infer(content: bytes, context: grpc.ServicerContext) -> bytes:
        if key and ("x-api-key", key) not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "expected a key")
        request = service_pb2.ModelInferRequest.FromString(content)
        rows = request.inputs[0].shape[0]
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        response.outputs.add(name="scores", datatype="FP32", shape=[rows, 3])
        response.raw_output_contents.append(b"\x00\x00\x80\x3f" * (3 * rows))
        content: bytes = response.SerializeToString()
        return content

    handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
