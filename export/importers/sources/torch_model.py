"""Makes a ``TorchModel`` of a loaded PyTorch model."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from export.importers.sources.source import Publication, TorchModel
from export.spec import ExportSpec
from model_store.graph import Graph, Tensor

_DATATYPES = {torch.float32: "FP32", torch.int64: "INT64"}


def make_example(*shape: int) -> torch.Tensor:
    """Random pictures, the same at each call."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def make_torch_model(
    module: torch.nn.Module,
    name: str,
    example: torch.Tensor,
    outputs: Mapping[str, torch.Tensor],
    free: Mapping[int, str],
) -> TorchModel:
    """The model with its input ``name``. ``outputs`` are its results for the example; axis 0 of each is the batch.

    ``free`` names the axes of the input that have no fixed size.
    """
    shape = tuple(free.get(axis, size) for axis, size in enumerate(example.shape))
    graph = Graph(
        file="main.onnx",
        inputs=(Tensor(name=name, datatype=_DATATYPES[example.dtype], shape=shape),),
        outputs=tuple(_describe(output, value) for output, value in outputs.items()),
    )
    return TorchModel(graph=graph, make_spec=prepare_spec(module, {name: example}, tuple(outputs), {name: free}))


def prepare_spec(
    module: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    outputs: tuple[str, ...],
    dynamic: Mapping[str, Mapping[int, str]],
    **more: Any,
) -> Callable[[Publication], ExportSpec]:
    """A function that makes the spec of a model from its description. ``more`` are further fields of the spec."""

    def make_spec(publication: Publication) -> ExportSpec:
        samples = publication.samples
        return ExportSpec(
            **publication.description.as_fields(),
            module=module,
            inputs=inputs,
            outputs=outputs,
            dynamic=dynamic,
            samples=None if samples is None else {key: torch.from_numpy(array) for key, array in samples.items()},
            quality=publication.quality,
            golden_rows=publication.golden_rows,
            **more,
        )

    return make_spec


def _describe(name: str, value: torch.Tensor) -> Tensor:
    return Tensor(name=name, datatype=_DATATYPES[value.dtype], shape=("batch", *value.shape[1:]))
