"""Asks a server all that it documents: the examples of its routes, and those of its models."""

from collections.abc import Iterator
from typing import Any

import httpx

JSON = "application/json"
PAGES = ("/", "/docs", "/live")


def find_failures(client: httpx.Client) -> dict[str, str]:
    """What was not answered with 200, and the answer. The server needs SLUICE_CONTROL=true and the reference models."""
    failures = {}
    asked = 0
    # Routes last: one of their examples unloads a model.
    for method, path, body in [*_models(client), *(("get", page, None) for page in PAGES), *_routes(client)]:
        answer = client.request(method, path, json=body, headers={"accept": "text/html" if path in PAGES else "*/*"})
        asked += 1
        if answer.status_code != 200:
            failures[f"{method} {path} {body!s:.100}"] = f"{answer.status_code} {answer.text:.200}"
    assert asked > 100
    return failures


def _routes(client: httpx.Client) -> Iterator[tuple[str, str, Any]]:
    for path, methods in client.get("/docs.json").json()["paths"].items():
        if "/systemsharedmemory/" in path:
            continue  # its examples need a region that their caller has made
        for method, described in methods.items():
            given = {each["name"]: each["example"] for each in described.get("parameters", ()) if each["in"] == "path"}
            body = described.get("requestBody", {"content": {JSON: {"examples": {"": {"value": None}}}}})
            for example in body["content"][JSON]["examples"].values():
                yield method, path.replace("{file:path}", "style.css").format(**given), example["value"]


def _models(client: httpx.Client) -> Iterator[tuple[str, str, Any]]:
    for model in client.get("/models").json()["models"]:
        for example in client.get(f"/v2/models/{model['name']}/example").json()["examples"]:
            task = example["task"]
            path = f"/v2/models/{model['name']}/infer" if task == "tensors" else f"/{task}"
            yield "post", path, example["body"]
