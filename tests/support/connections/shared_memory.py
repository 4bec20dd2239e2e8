"""Regions of shared memory as tritonclient makes them, and its two clients."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import tritonclient.grpc
import tritonclient.http
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

from service.shared_memory.files import FOLDER
from tests.support.grpc_servers import GrpcServing

PATTERN = f"sluice-test-{os.getpid()}-*"
"""What the servers of the tests allow."""
READ_ONLY = f"{PATTERN}-in"
"""The part of it whose regions may be for inputs only."""
FORMS = ("http", "grpc")
_numbers = itertools.count()


class Region:
    """``name`` is that of its registration, ``key`` that of its file."""

    def __init__(self, size_bytes: int, pattern: str = PATTERN) -> None:
        number = next(_numbers)
        self.name, self.key = f"region {number}", pattern.replace("*", str(number))
        self.path: Path = FOLDER / self.key
        self.size_bytes = size_bytes
        self.handle = shm.create_shared_memory_region(self.name, f"/{self.key}", size_bytes, create_only=True)

    def fill(self, array: np.ndarray, offset: int = 0) -> None:
        shm.set_shared_memory_region(self.handle, [array], offset)

    def read(self, dtype: Any, shape: list[int], offset: int = 0) -> np.ndarray:
        found: np.ndarray = shm.get_contents_as_numpy(self.handle, dtype, shape, offset)
        return found.copy()  # a view would keep the region open


@contextmanager
def made_region(size_bytes: int, pattern: str = PATTERN) -> Iterator[Region]:
    region = Region(size_bytes, pattern)
    try:
        yield region
    finally:
        shm.destroy_shared_memory_region(region.handle)


def register_example(client: httpx.Client, region: Region) -> None:
    """Register a region under the name that the examples of the document use."""
    about = {"key": f"/{region.key}", "byte_size": region.size_bytes}
    client.post("/v2/systemsharedmemory/region/frames/register", json=about).raise_for_status()


class ShmClient:
    """tritonclient's client of one form, for requests whose tensors are in regions."""

    def __init__(self, server: GrpcServing, form: str) -> None:
        self._server, self._form = server, form
        self.module: Any = tritonclient.http if form == "http" else tritonclient.grpc
        url = server.url.removeprefix("http://") if form == "http" else server.grpc_url
        self.client = self.module.InferenceServerClient(url)

    @contextmanager
    def registered(self, size_bytes: int, pattern: str = PATTERN) -> Iterator[Region]:
        """A new region that is registered within the block."""
        with made_region(size_bytes, pattern) as region:
            self.client.register_system_shared_memory(region.name, f"/{region.key}", size_bytes)
            try:
                yield region
            finally:
                self.client.unregister_system_shared_memory(region.name)

    def input_of(self, name: str, datatype: str, shape: list[int], region: Region, size: int, offset: int = 0) -> Any:
        found = self.module.InferInput(name, shape, datatype)
        found.set_shared_memory(region.name, size, offset)
        return found

    def sent(self, name: str, datatype: str, array: np.ndarray) -> Any:
        """An input in the body."""
        found = self.module.InferInput(name, list(array.shape), datatype)
        found.set_data_from_numpy(array)
        return found

    def output_to(self, name: str, region: Region, size: int, offset: int = 0) -> Any:
        found = self.module.InferRequestedOutput(name)
        found.set_shared_memory(region.name, size, offset)
        return found

    def described(self, result: Any, name: str) -> dict[str, Any]:
        """What an answer says of an output."""
        output = result.get_output(name)
        if isinstance(output, dict):
            return output
        return {"name": output.name, "datatype": output.datatype, "shape": list(output.shape), **output.parameters}

    def infer_elsewhere(self, *args: Any, **kwargs: Any) -> str:
        """What a request is refused with. In any thread: tritonclient's client of HTTP is bound to one."""
        other = ShmClient(self._server, self._form)
        try:
            return refusal(lambda: other.client.infer(*args, **kwargs))
        finally:
            other.close()

    def close(self) -> None:
        self.client.close()


def refusal(call: Callable[[], object]) -> str:
    """What a call is refused with: its status, and the text."""
    try:
        call()
    except InferenceServerException as error:
        return f"{error.status()}: {error.message()}"
    return "answered"
