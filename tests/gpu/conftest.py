"""Tests that need a CUDA device: ``pytest -m gpu``. Without one each is skipped, with the reason."""

import onnxruntime as ort
import pytest

from service.metrics.devices import find_lacking_gpu


@pytest.fixture(autouse=True)
def _cuda() -> None:
    lacking = find_lacking_gpu(ort.get_available_providers())
    if lacking:
        pytest.skip(lacking)
