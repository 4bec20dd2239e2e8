"""What KServe's clients get from a server, as JSON. Run in an environment of its own: kserve_calls.py HTTP GRPC ROW."""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.inference_client import InferenceGRPCClient

MODEL = "digits-classifier"


def request_of(row: np.ndarray, binary: bool) -> InferRequest:
    tensor = InferInput("image", [*row.shape], "FP32")
    tensor.set_data_from_numpy(row, binary_data=binary)
    parameters = {"binary_data_output": True} if binary else {}
    return InferRequest(MODEL, [tensor], parameters=parameters)


async def ask_rest(url: str, row: np.ndarray) -> dict[str, object]:
    v1, v2 = (InferenceRESTClient(RESTConfig(protocol=version)) for version in ("v1", "v2"))
    found: dict[str, object] = {
        "v1 live": await v1.is_server_live(url),
        "live": await v2.is_server_live(url),
        "ready": await v2.is_server_ready(url),
        "model ready": await v2.is_model_ready(url, MODEL),
        "v1 model ready": await v1.is_model_ready(url, MODEL),
    }
    for name, binary in (("json", False), ("binary", True)):
        answer = await v2.infer(url, request_of(row, binary), model_name=MODEL)
        found[name] = {output.name: output.as_numpy().tolist() for output in answer.outputs}
    found["v1"] = (await v1.infer(url, {"instances": row.tolist()}, model_name=MODEL))["predictions"]
    for client, model in ((v1, "nobody"), (v2, "nobody")):
        try:
            await client.infer(url, {"instances": [], "inputs": []}, model_name=model)
        except httpx.HTTPStatusError as error:
            found.setdefault("unknown", []).append(error.response.status_code)  # type: ignore[attr-defined]
    return found


async def ask_grpc(url: str, row: np.ndarray) -> dict[str, object]:
    client = InferenceGRPCClient(url)
    answer = await client.infer(request_of(row, True))
    found = {
        "grpc live": await client.is_server_live(),
        "grpc ready": await client.is_server_ready(),
        "grpc model ready": await client.is_model_ready(MODEL),
        "grpc": {output.name: output.as_numpy().tolist() for output in answer.outputs},
    }
    await client.close()
    return found


async def main(http_url: str, grpc_url: str, row: str) -> None:
    array = np.array(json.loads(row), np.float32)
    print("RESULT" + json.dumps({**await ask_rest(http_url, array), **await ask_grpc(grpc_url, array)}))


asyncio.run(main(*sys.argv[1:]))
