"""Requests that make the server fetch an address.

Published for TorchServe: CVE-2023-43654, CVE-2024-35198 (models and workflows by address); for BentoML: CVE-2025-54381
(an address in place of a file); for Ray: CVE-2023-48023 (its proxy of logs).
"""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.vulnerabilities.conftest import Target


class Bait:
    """A port that counts who comes."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/model.mar"

    def has_callers(self) -> bool:
        try:
            self._socket.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def bait() -> Iterator[Bait]:
    bait = Bait()
    yield bait
    bait.close()


def addresses(bait: Bait, folder: Path) -> list[str]:
    secret = folder / "secret.txt"
    return [bait.url, f"file://{secret}", f"file://{folder}/store/../secret.txt", str(secret), f"s3://{secret}"]


def test_a_bait_sees_who_comes(bait: Bait) -> None:
    """A connection to the bait of these tests counts."""
    assert not bait.has_callers()
    host, port = bait.url.removeprefix("http://").partition("/")[0].split(":")
    socket.create_connection((host, int(port))).close()
    assert bait.has_callers()


def test_an_address_in_place_of_a_picture_is_not_fetched(target: Target, bait: Bait) -> None:
    """An address as a row, as a field of a form or as the body is no picture."""
    for url in addresses(bait, target.folder):
        bodies = ([url], [{"b64": url}], [{"url": url}], [{"image": url}], url, {"url": url}, {"uri": url})
        for inputs in bodies:
            body = {"model": "digits-classifier", "inputs": inputs}
            target.check(target.client.post("/classify", json=body))
        for kind in ({"data": {"inputs": url}}, {"files": {"inputs": (None, url)}}, {"files": {"inputs": ("a", url)}}):
            target.check(target.client.post("/classify?model=digits-classifier", **kind))
        for media_type in ("text/uri-list", "message/external-body", "image/png", "image/svg+xml"):
            reply = target.client.post("/classify", content=url.encode(), headers={"content-type": media_type})
            target.check(reply)
    assert not bait.has_callers()


def test_a_model_is_not_fetched(changeable: Target, bait: Bait) -> None:
    """No route takes the address of a model, also where callers may load models."""
    client = changeable.client
    for url in addresses(bait, changeable.folder):
        for path in ("/models", "/workflows", "/v2/repository/models/new/load"):
            changeable.check(client.post(path, params={"url": url, "model_name": "new"}))
        for path in ("/v2/repository/models/double/load", "/v2/repository/models/new/load"):
            changeable.check(client.post(path, json={"url": url}))
        for name in ("url", "uri", "location", "file:1/model.onnx", "config"):
            path = "/v2/repository/models/double/load"
            changeable.check(client.post(path, json={"parameters": {name: url}}))
        changeable.check(client.get("/log_proxy", params={"url": url}))
    assert not bait.has_callers()
