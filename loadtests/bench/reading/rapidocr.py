"""RapidOCR as it comes, behind the smallest HTTP server: pages are read one after the other.

It finds and reads lines by the same graphs as ``examples/page_reader.toml``, at the same size, and does not look for
lines that are upside down.
"""

import json

from loadtests.bench.peer import Peer, Site
from loadtests.http_client import Answer, Request
from loadtests.wire import WrongAnswer

SOURCE = """\
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from rapidocr import RapidOCR

SAME_STEPS = {"Det.limit_type": "max", "Det.limit_side_len": 960, "Global.use_cls": False}
engine = RapidOCR(params={**SAME_STEPS, "Global.log_level": "error"})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer({})

    def do_POST(self):
        found = engine(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer({"texts": list(found.txts or ())})

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def request_page(path: str, page: bytes) -> Request:
    """A page as a PNG."""
    return Request(path, "POST", {"Content-Type": "image/png"}, page)


def read_texts(answer: Answer) -> list[str]:
    """The lines in an answer, in any order. Raises WrongAnswer."""
    try:
        found = json.loads(answer.body)
        (lines,) = (each["texts"] for each in found.get("predictions", [found]))
        return [str(line) for line in lines]
    except (ValueError, LookupError, TypeError, AttributeError):
        raise WrongAnswer("expected a JSON object with the texts of a page") from None


def _command(site: Site) -> list[str]:
    return [str(site.python), str(site.source), str(site.port)]


def make_peer(usual: Peer) -> Peer:
    """``usual`` gives what is not asked for here: no rows are sent."""
    return Peer(
        name="rapidocr",
        requirements=("rapidocr==3.10.0", "onnxruntime=={onnxruntime}", "numpy=={numpy}", "pillow=={pillow}"),
        distributions=("rapidocr", "onnxruntime", "numpy", "opencv-python-headless"),
        encodings=(),
        source=SOURCE,
        command=_command,
        environment=lambda site: {},
        ready_path="/",
        request=usual.request,
        read_scores=usual.read_scores,
    )
