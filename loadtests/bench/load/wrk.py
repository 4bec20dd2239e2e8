"""The load generator ``wrk``, with a script that posts one fixed body and counts wrong answers.

wrk runs one thread. It keeps ``clients`` connections open and sends on each as soon as the last answer is in.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from string import Template

from loadtests.http_client import Request

MARK = "WRK_RESULT "
ANSWER_LIMIT_S = 30
GRACE_S = 60

_SCRIPT = Template("""\
local file = assert(io.open($body_file, "rb"))
wrk.method = $method
wrk.path = $path
wrk.body = file:read("*all")
$headers
file:close()

wrong_status, wrong_length = 0, 0
function response(status, headers, body)
  if status ~= 200 then
    wrong_status = wrong_status + 1
  elseif #body < $min_bytes or #body > $max_bytes then
    wrong_length = wrong_length + 1
  end
end

local threads = {}
function setup(thread)
  table.insert(threads, thread)
end

function done(summary, latency, requests)
  local status, length = 0, 0
  for _, thread in ipairs(threads) do
    status = status + thread:get("wrong_status")
    length = length + thread:get("wrong_length")
  end
  local errors = summary.errors
  print(string.format(
    '\\n$mark{"requests":%d,"duration_us":%d,"wrong_status":%d,"wrong_length":%d,"socket_errors":%d,'
      .. '"timeouts":%d,"p50_us":%d,"p99_us":%d}',
    summary.requests, summary.duration, status, length, errors.connect + errors.read + errors.write,
    errors.timeout, latency:percentile(50), latency:percentile(99)))
end
""")


class WrkFailed(Exception):
    """wrk ended without a result; the text has its output."""


@dataclass(frozen=True)
class Sample:
    """One run of wrk. Each kind of error is counted separately; only right answers count as work."""

    requests: int
    duration_s: float
    wrong_status: int
    wrong_length: int
    socket_errors: int
    timeouts: int
    p50_s: float
    p99_s: float

    @property
    def errors(self) -> int:
        return self.wrong_status + self.wrong_length + self.socket_errors + self.timeouts

    @property
    def answers_per_s(self) -> float:
        """Right answers per second."""
        return (self.requests - self.wrong_status - self.wrong_length) / self.duration_s if self.duration_s else 0.0


@dataclass(frozen=True)
class FixedRequest:
    """A request that wrk repeats, and the body lengths in bytes that its answers may have."""

    request: Request
    min_bytes: int
    max_bytes: int

    def write_script(self, folder: Path) -> Path:
        """Write the body and the Lua script into ``folder``; the path of the script."""
        body_file = folder / "body.bin"
        body_file.write_bytes(self.request.body)
        headers = "\n".join(
            f"wrk.headers[{quote_lua(name)}] = {quote_lua(value)}" for name, value in self.request.headers.items()
        )
        script = folder / "post.lua"
        script.write_text(
            _SCRIPT.substitute(
                body_file=quote_lua(str(body_file.resolve())),
                method=quote_lua(self.request.method),
                path=quote_lua(self.request.path),
                headers=headers,
                min_bytes=self.min_bytes,
                max_bytes=self.max_bytes,
                mark=MARK,
            )
        )
        return script


def quote_lua(text: str) -> str:
    """``text`` as a Lua string. Every byte that is not plain is written as a number."""
    plain = (
        chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in " -_/.") else f"\\{byte:03d}"
        for byte in text.encode()
    )
    return f'"{"".join(plain)}"'


def run_wrk(address: str, script: Path, clients: int, duration_s: int) -> Sample:
    """Load the server at ``address`` for ``duration_s``; raises WrkFailed."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{duration_s}s", "--timeout", f"{ANSWER_LIMIT_S}s", "-s", str(script)]
    try:
        done = subprocess.run([*command, address], capture_output=True, text=True, timeout=duration_s + GRACE_S)
    except subprocess.TimeoutExpired:
        raise WrkFailed(f"wrk was still running {GRACE_S} s after its end was due") from None
    if done.returncode != 0:
        raise WrkFailed(f"wrk ended with code {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")
    return parse_output(done.stdout)


def parse_output(output: str) -> Sample:
    """The sample in what wrk printed. Raises WrkFailed if its script did not finish."""
    lines = [line.removeprefix(MARK) for line in output.splitlines() if line.startswith(MARK)]
    if len(lines) != 1:
        raise WrkFailed(
            f"expected one line that starts with {MARK!r} in the output of wrk, got {len(lines)}: {output[-500:]}"
        )
    values = json.loads(lines[0])
    return Sample(
        requests=values["requests"],
        duration_s=values["duration_us"] / 1e6,
        wrong_status=values["wrong_status"],
        wrong_length=values["wrong_length"],
        socket_errors=values["socket_errors"],
        timeouts=values["timeouts"],
        p50_s=values["p50_us"] / 1e6,
        p99_s=values["p99_us"] / 1e6,
    )
