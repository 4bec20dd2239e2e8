"""Requests to the models of a store that a test serves: each doubles rows of three numbers."""

from typing import Any

import httpx

X = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
Y = [2.0, 4.0, 6.0]


def infer(client: httpx.Client, name: str = "double", version: str = "", **parameters: Any) -> httpx.Response:
    path = f"{name}/versions/{version}" if version else name
    return client.post(f"/v2/models/{path}/infer", json={"inputs": [X], "parameters": parameters})


def load(client: httpx.Client, name: str, **parameters: Any) -> httpx.Response:
    return client.post(f"/v2/repository/models/{name}/load", json={"parameters": parameters})


def index(client: httpx.Client, **body: Any) -> dict[tuple[str, str | None], tuple[str, str]]:
    """State and reason by model and version."""
    lines = client.post("/v2/repository/index", json=body).raise_for_status().json()
    return {(line["name"], line.get("version")): (line["state"], line.get("reason", "")) for line in lines}
