"""What both clients share: one call on its way, its tries and its deadline, and the errors of httpx in our words."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from sluice_client.calls import EVENTS, Call, Reply, read_error
from sluice_client.errors import BadAnswer, Busy, NoAnswer, NotReady, SluiceError, TimedOut, Unreachable
from sluice_client.meta import Meta, read_timing
from sluice_client.retry import Retry

AGAIN = (Unreachable, Busy, NotReady)
"""After these a call is tried again: the server has not worked on it."""


class Sending:
    """One call: ``left_s`` until its deadline, and what to do after an error."""

    def __init__(self, call: Call[Any], timeout_s: float, retry: Retry) -> None:
        self.call = call
        self.timeout_s = timeout_s if call.timeout_s is None else call.timeout_s
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s: expected seconds above 0, got {self.timeout_s}")
        self._retry = retry
        self._began = time.monotonic()
        self._tries = 0

    @property
    def left_s(self) -> float:
        return self.timeout_s - (time.monotonic() - self._began)

    def make_request(
        self, http: httpx.Client | httpx.AsyncClient, base: str, headers: Mapping[str, str]
    ) -> httpx.Request:
        """The next try. ``base`` is the server's address, without a slash at its end. Raises TimedOut, ValueError."""
        self._tries += 1
        self.check_time()
        timeout = None if math.isinf(self.timeout_s) else self.left_s
        call = self.call
        url, sent = f"{base}/{call.path}", {**headers, **call.headers}
        for name, value in sent.items():
            check_header(name, value)
        return http.build_request(call.method, url, content=call.body or None, headers=sent, timeout=timeout)

    def choose_wait(self, error: SluiceError) -> float:
        """Seconds until the next try. Raises the error where there is none."""
        wait_s = self._retry.choose_wait(self._tries, self.left_s, getattr(error, "retry_after_s", None))
        if wait_s is None:
            raise error
        return wait_s

    def check_time(self) -> None:
        """Raises TimedOut."""
        if self.left_s <= 0:
            raise TimedOut(f"{self.call.path}: no whole answer within {self.timeout_s:g} s")

    def reply(self, response: httpx.Response, body: bytes) -> Reply:
        return Reply(response.status_code, response.headers, body, self.meta(response))

    def meta(self, response: httpx.Response) -> Meta:
        headers = response.headers
        seconds = time.monotonic() - self._began
        timing_ms, rows = read_timing(headers.get("server-timing", ""))
        return Meta(headers.get("x-request-id", ""), seconds, self._tries, timing_ms, rows)

    def check_events(self, response: httpx.Response) -> None:
        """Raises BadAnswer where something else than events comes, as from a proxy."""
        got = response.headers.get("content-type", "no content type")
        if got.partition(";")[0] != EVENTS:
            raise BadAnswer(f"{self.call.path}: expected {EVENTS}, got {got}: is this the address of Sluice?")

    def refuse(self, response: httpx.Response, body: bytes) -> SluiceError:
        return read_error(self.reply(response, body), self.call)

    @contextlib.contextmanager
    def in_our_words(self) -> Iterator[None]:
        """The errors of httpx as ours."""
        path = self.call.path
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(f"{path}: no connection: {error}") from error
        except httpx.TimeoutException as error:
            raise TimedOut(f"{path}: no answer within {self.timeout_s:g} s") from error
        except httpx.TransportError as error:
            raise NoAnswer(f"{path}: the connection broke: {error}") from error
        except httpx.DecodingError as error:
            raise BadAnswer(f"{path}: the answer cannot be decompressed: {error}") from error


def check_url(url: str) -> str:
    """Raises ValueError for what is no address of a server."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url: expected http://… or https://…, got {url!r}")
    return url


def with_key(headers: Mapping[str, str] | None, api_key: str | None) -> dict[str, str]:
    """The headers of every request. Raises ValueError, without its value, for a key that cannot be in a header."""
    found = dict(headers or {})
    if api_key is not None:
        if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise ValueError("api_key: expected printable ASCII characters without blanks, got another value")
        found["Authorization"] = f"Bearer {api_key}"
    return found


def check_header(name: str, value: object) -> None:
    """Raises ValueError, without the value: it may be a secret."""
    if not (isinstance(value, str) and value.isascii() and value.replace("\t", " ").isprintable()):
        raise ValueError(f"header {name}: expected a text of ASCII characters on one line, got another value")


def verifies(url: str) -> bool:
    """Plain HTTP verifies nothing, and reading all root certificates takes longer than a request."""
    return url.startswith("https://")
