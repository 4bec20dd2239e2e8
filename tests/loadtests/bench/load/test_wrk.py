"""The load generator's script and its output."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.bench.load.wrk import FixedRequest, Sample, WrkFailed, parse_output, quote_lua, run_wrk
from loadtests.http_client import Request, exchange

OUTPUT = """\
Running 1s test @ http://127.0.0.1:1
Requests/sec:   1000.00

WRK_RESULT {"requests":1000,"duration_us":2000000,"wrong_status":3,"wrong_length":4,"socket_errors":5,"timeouts":6,\
"p50_us":1500,"p99_us":9000}
"""
CLIENTS = 4
needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


@pytest.mark.parametrize("output", ["", "Running 1s test\n", OUTPUT + OUTPUT])
def test_output_without_one_result_is_a_failure(output: str) -> None:
    """When the script did not get to its end there is no figure, and none is made up."""
    with pytest.raises(WrkFailed, match="expected one line"):
        parse_output(output)


def test_output_is_read() -> None:
    """Times become seconds; errors are kept apart by kind."""
    sample = parse_output(OUTPUT)
    assert sample == Sample(1000, 2.0, 3, 4, 5, 6, p50_s=0.0015, p99_s=0.009)
    assert sample.answers_per_s == 993 / 2


@given(st.text(max_size=40))
def test_lua_strings_cannot_be_left(text: str) -> None:
    """Whatever a path or header holds, the Lua string ends where it should and means the same bytes."""
    quoted = quote_lua(text)
    assert re.fullmatch(r'"(?:[A-Za-z0-9 /_.-]|\\\d{3})*"', quoted)
    meant = re.sub(rb"\\(\d{3})", lambda found: bytes([int(found[1])]), quoted[1:-1].encode())
    assert meant == text.encode()


def test_script_posts_the_body_from_a_file(tmp_path: Path) -> None:
    """A binary body goes through a file, byte for byte; headers and the allowed lengths are in the script."""
    body = bytes(range(256))
    script = FixedRequest(Request("/a", "POST", {"X-Y": 'say "hi"'}, body), 10, 20).write_script(tmp_path)
    assert (tmp_path / "body.bin").read_bytes() == body
    text = script.read_text()
    assert 'wrk.headers["X-Y"] = "say \\034hi\\034"' in text
    assert "#body < 10 or #body > 20" in text
    assert "$" not in text


@needs_wrk
def test_unreachable_server_is_a_failure(tmp_path: Path, closed_address: str) -> None:
    """wrk against a closed port is a failure, not a rate of zero."""
    script = FixedRequest(Request("/", "POST"), 0, 1).write_script(tmp_path)
    with pytest.raises(WrkFailed, match="wrk ended with code 1"):
        run_wrk(closed_address, script, 1, 1)


@needs_wrk
@pytest.mark.parametrize(("fail_every", "off_by", "kind"), [(10, 0, "wrong_status"), (0, 1, "wrong_length")])
def test_wrong_answers_are_counted(serve: Callable, tmp_path: Path, fail_every: int, off_by: int, kind: str) -> None:
    """Answers with another status, and answers of another length, are counted, and only they are errors."""
    body = b'{"model": "digits", "inputs": []}'
    request = Request("/classify", "POST", {"Content-Type": "application/json"}, body)
    with serve() as server:
        length = len(exchange(server.address, request).body) + off_by
    with serve(fail_every=fail_every) as server:
        script = FixedRequest(request, length, length).write_script(tmp_path)
        # Longer where a second is not enough for some answers.
        samples = (run_wrk(server.address, script, CLIENTS, duration_s) for duration_s in (1, 5, 25))
        sample = next(sample for sample in samples if sample.requests >= 20)
    assert sample.errors == getattr(sample, kind) > 0
    # The server counts what wrk did not wait for too.
    assert abs(sample.errors - sample.requests / (fail_every or 1)) <= CLIENTS
