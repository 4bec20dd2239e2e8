"""The reference models in the store."""

from collections.abc import Mapping

import numpy as np

from export.runtime import Runtime
from model_store import DEFAULT_ROOT, Store


class Reference:
    """A verified model: its manifest, its files, and its graphs on ONNX Runtime."""

    def __init__(self, name: str) -> None:
        self.version = Store(DEFAULT_ROOT).find(name, 1)
        self.manifest, self.files = self.version.read_all()
        self.graphs = {graph: Runtime(self.files[facts.file]) for graph, facts in self.manifest.graphs.items()}

    def predict(self, inputs: Mapping[str, np.ndarray], graph: str = "main") -> dict[str, np.ndarray]:
        return self.graphs[graph].run(inputs)
