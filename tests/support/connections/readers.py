"""Other readers of HTTP/1.1: h11, and nginx and HAProxy before a backend that records what it gets.

A reading is the requests that a reader finds in the bytes of one connection: for each, the letter at the end of its
target, and its body. A reader that refuses a message reads neither it nor what follows.
"""

import contextlib
import os
import re
import signal
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import h11

Reading = list[tuple[str, bytes]]
Read = Callable[[bytes, bytes], Reading]
"""Takes the bytes of a connection, and the target that its requests share up to the last letter."""

NGINX, HAPROXY = Path("/usr/sbin/nginx"), Path("/usr/sbin/haproxy")
_PATIENCE_S = 5.0

_NGINX = """
daemon on; pid {folder}/pid; error_log {folder}/log crit; worker_processes 1; user root;
events {{ worker_connections 256; }}
http {{
  access_log off; client_header_timeout 1s; client_body_timeout 1s; lingering_close off; keepalive_timeout 1s;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{
    listen unix:{folder}/socket;
    location / {{ proxy_pass http://unix:{backend}:; proxy_http_version 1.1; proxy_set_header Connection close; }}
  }}
}}
"""
_HAPROXY = """
global
  maxconn 256
defaults
  mode http
  retries 0
  http-reuse never
  timeout connect 5s
  timeout server 5s
  timeout client 1s
  timeout http-request 1s
  timeout http-keep-alive 1s
frontend front
  bind unix@{folder}/socket
  default_backend back
backend back
  server one unix@{backend}
"""


def letter_of(target: bytes, prefix: bytes) -> str | None:
    """Which of the two requests of a case it is; None for the target of another case."""
    found = re.search(re.escape(prefix) + rb"(?:[^ab]*)([ab])", target)
    return found[1].decode() if found else None


def read_by_h11(content: bytes, prefix: bytes) -> Reading:
    """The requests that the library h11 reads."""
    connection = h11.Connection(h11.SERVER)
    reading: Reading = []
    target, body = b"", b""
    try:
        connection.receive_data(content)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                target, body = bytes(event.target), b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                reading.append((letter_of(target, prefix) or "?", body))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return reading
                connection.start_next_cycle()
            else:
                return reading
    except h11.ProtocolError:
        return reading


class Backend(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Records the requests that a proxy forwards, in the order in which they are complete, and answers them."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, path: Path) -> None:
        self.seen: list[tuple[bytes, bytes]] = []
        self.lock = threading.Lock()
        super().__init__(str(path), _Recorder)

    def reading(self, prefix: bytes) -> Reading:
        with self.lock:
            found = [(letter_of(target, prefix), body) for target, body in self.seen]
        return [(letter, body) for letter, body in found if letter is not None]


class _Recorder(socketserver.StreamRequestHandler):
    """Reads what a proxy writes, which is plain HTTP/1.1."""

    def handle(self) -> None:
        target = self.rfile.readline().split(b" ")[1]
        fields = {}
        while (line := self.rfile.readline()) != b"\r\n":
            if not line:
                return  # the proxy has given up before the end
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()
        body = self._read_body(fields)
        if body is None:
            return
        assert isinstance(self.server, Backend)
        with self.server.lock:
            self.server.seen.append((target, body))
        with contextlib.suppress(OSError):  # the proxy's client has gone
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def _read_body(self, fields: dict[bytes, bytes]) -> bytes | None:
        """None: the proxy has given up before its end."""
        if fields.get(b"transfer-encoding", b"").lower() != b"chunked":
            size = int(fields.get(b"content-length", b"0"))
            body = self.rfile.read(size)
            return body if len(body) == size else None
        body = b""
        while (line := self.rfile.readline()) != b"":
            size = int(line.partition(b";")[0], 16)
            if not size:
                return body
            body += self.rfile.read(size)
            self.rfile.readline()
        return None


@contextlib.contextmanager
def reading_by_proxy(program: Path, folder: Path) -> Iterator[Read]:
    """A proxy that runs until the block ends."""
    backend_path = folder / "backend"
    with Backend(backend_path) as backend:
        thread = threading.Thread(target=backend.serve_forever)
        thread.start()
        config = folder / "config"
        template = _NGINX if program == NGINX else _HAPROXY
        config.write_text(template.format(folder=folder, backend=backend_path))
        run = [program, "-c", config] if program == NGINX else [program, "-D", "-p", folder / "pid", "-f", config]
        subprocess.run(run, check=True, capture_output=True, timeout=30)  # it returns when it listens
        try:
            yield lambda content, prefix: _ask(folder / "socket", content) or backend.reading(prefix)
        finally:
            os.kill(int((folder / "pid").read_text().split()[0]), signal.SIGTERM)
            backend.shutdown()
            thread.join()


def _ask(path: Path, content: bytes) -> None:
    """Send it all, and wait for the end of the connection."""
    with socket.socket(socket.AF_UNIX) as wire, contextlib.suppress(OSError):
        wire.settimeout(_PATIENCE_S)
        wire.connect(str(path))
        wire.sendall(content)
        while wire.recv(1 << 16):
            pass
