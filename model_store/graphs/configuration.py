"""What Triton's ``config.pbtxt`` changes of a plain model: shapes as callers see them, largest batch, labels."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from model_store.errors import BadConfig
from model_store.graphs.reshape import Dims, Reshape
from model_store.manifest import Batching, Graph, Tensor
from model_store.store import ModelVersion
from model_store.triton import CONFIG_FILE, TensorConfig, TritonConfig, VersionPolicy, read_config, refusal

logger = logging.getLogger("sluice.loading")


def read_default_filename(name: str, content: bytes) -> str | None:
    """What the configuration of a model calls its ONNX files. Raises BadConfig where it cannot be read or served."""
    return _read(name, content).default_model_filename or None


def choose_versions(versions: Sequence[ModelVersion]) -> list[int] | None:
    """The numbers of those that the version policy of a configuration lets serve; None where it says nothing of them.

    Raises StoreError.
    """
    content = versions[-1].read_beside(CONFIG_FILE) if versions and versions[-1].is_plain else None
    if content is None:
        return None
    policy = _read(versions[-1].name, content).version_policy
    return None if policy == VersionPolicy() else policy.choose([version.version for version in versions])


def read_configuration(version: ModelVersion) -> TritonConfig | None:
    """The configuration beside the versions of a model, None without one. Raises StoreError."""
    content = version.read_beside(CONFIG_FILE)
    if content is None:
        return None
    config = _read(version.name, content)
    for fields, what in ((config.speed_only, "concern speed only"), (config.left_out, "are not used here")):
        if fields:
            logger.info("%s: of its %s the fields %s %s", version.name, CONFIG_FILE, ", ".join(fields), what)
    if config.unknown:
        logger.warning("%s: %s", version.name, config.unknown)
    return config


def _read(name: str, content: bytes) -> TritonConfig:
    config = read_config(content, f"{name}/{CONFIG_FILE}", name)
    reason = refusal(config)
    if reason is not None:
        raise BadConfig(reason)
    return config


@dataclass(frozen=True, slots=True)
class Configured:
    """A graph as its configuration has it. ``reshape`` is None where callers and graph have the same shapes."""

    graph: Graph
    reshape: Reshape | None = None
    batching: Batching = field(default_factory=Batching)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By output."""


def configure_graph(graph: Graph, config: TritonConfig, version: ModelVersion) -> Configured:
    """Raises BadConfig where the configuration does not fit the graph, StoreError where a file of labels is missing."""
    finds_batch = _finds_batch(graph, config)
    has_batch = config.max_batch_size > 0 or finds_batch
    inputs, into = _configure(graph.inputs, config.inputs, has_batch, "input")
    outputs, out = _configure(graph.outputs, config.outputs, has_batch, "output")
    if config.inputs and (missing := {t.name for t in graph.inputs if not t.optional} - {t.name for t in inputs}):
        raise BadConfig(f"{CONFIG_FILE} leaves out the inputs {', '.join(sorted(missing))} of the graph: name them too")
    takes_batch = config.max_batch_size > 0 or _completes(config)
    if not takes_batch or _lose_batch((*graph.inputs, *graph.outputs), (*inputs, *outputs)):
        inputs, outputs = [_alone(t) for t in inputs], [_alone(t) for t in outputs]
    delay_s = config.batching.max_delay_s if config.batching is not None else 0.0
    return Configured(
        graph.model_copy(
            update={"inputs": tuple(inputs), "outputs": tuple(outputs), "leading_rows": config.max_batch_size}
        ),
        Reshape(into, out, has_batch) if into or out else None,
        Batching(max_rows=config.max_batch_size or None, max_wait_s=delay_s or None),
        {said.name: _read_labels(version, said.label_filename) for said in config.outputs if said.label_filename},
    )


def _completes(config: TritonConfig) -> bool:
    """Whether the graph says what the configuration leaves out: also, as in Triton, whether there is a batch."""
    return not config.says_max_batch_size and not (config.inputs and config.outputs)


def _finds_batch(graph: Graph, config: TritonConfig) -> bool:
    """Whether a configuration with neither a largest batch nor all tensors gives its dims without the batch."""
    said = [*_match(graph.inputs, config.inputs), *_match(graph.outputs, config.outputs)]
    dims = [(tensor, each.graph_dims) for tensor, each in said if each.graph_dims is not None]
    leaves_batch = all(t.shape and isinstance(t.shape[0], str) for t in (*graph.inputs, *graph.outputs))
    return _completes(config) and leaves_batch and bool(dims) and all(len(t.shape) == len(d) + 1 for t, d in dims)


def _match(tensors: tuple[Tensor, ...], said: tuple[TensorConfig, ...]) -> Iterator[tuple[Tensor, TensorConfig]]:
    """The tensors of a graph that a configuration says something of."""
    by_name = {config.name: config for config in said}
    yield from ((tensor, by_name[tensor.name]) for tensor in tensors if tensor.name in by_name)


def known_sizes(graph: Graph, config: TritonConfig) -> dict[str, int]:
    """Sizes of free axes that the configuration fixes, by name: what the graph is said to run at."""
    sizes: dict[str, int] = {}
    lead = 1 if config.max_batch_size > 0 else 0
    warm = config.warmups[0] if config.warmups else None
    for tensor in graph.inputs:
        said = next((t for t in config.inputs if t.name == tensor.name), None)
        dims = [] if said is None or said.graph_dims is None else [-1] * lead + list(said.graph_dims)
        if warm is not None and said is not None and said.reshape is None and tensor.name in warm.inputs:
            dims = [-1] * lead + list(warm.inputs[tensor.name].dims)
        if len(dims) == len(tensor.shape):
            fixed = zip(tensor.shape, dims, strict=True)
            sizes |= {name: size for name, size in fixed if isinstance(name, str) and size >= 0}
    return sizes


def _lose_batch(tensors: Iterable[Tensor], configured: Iterable[Tensor]) -> bool:
    """Whether callers see a tensor without the batch that it has in the graph."""
    axes = {tensor.name: tensor.batch_axis for tensor in tensors}
    return any(tensor.batch_axis is None and axes[tensor.name] is not None for tensor in configured)


def _alone(tensor: Tensor) -> Tensor:
    return tensor.model_copy(update={"batch_axis": None})


def _configure(
    tensors: tuple[Tensor, ...], said: tuple[TensorConfig, ...], has_batch: bool, kind: str
) -> tuple[list[Tensor], dict[str, tuple[Dims, Dims]]]:
    """The tensors with the shapes that callers see, and both shapes of those for which they differ."""
    by_name = {tensor.name: tensor for tensor in tensors}
    found, reshaped = [], {}
    for config in said or [TensorConfig(tensor.name) for tensor in tensors]:
        tensor = by_name.get(config.name)
        if tensor is None:
            raise BadConfig(
                f"{CONFIG_FILE} names an {kind} {config.name!r} that the graph has not: there are {', '.join(by_name)}"
            )
        if config.dims is None and (tensor.any_shape or tensor.optional):
            found.append(tensor)
            continue
        dims, inner = _find_dims(tensor, config, has_batch)
        _check(tensor, config, inner, has_batch, kind)
        if inner != dims:
            reshaped[tensor.name] = (inner, dims)
        found.append(_as_callers_see(tensor, dims, inner, has_batch))
    return found, reshaped


def _find_dims(tensor: Tensor, config: TensorConfig, has_batch: bool) -> tuple[Dims, Dims]:
    """The shapes that callers and the graph have. Callers see a scalar as [1], for no configuration has empty dims."""
    own = tuple(size if isinstance(size, int) else -1 for size in tensor.shape[1 if has_batch else 0 :])
    is_scalar = not own and not tensor.any_shape
    dims = (own or (1,)) if config.dims is None else config.dims
    if config.reshape is None:
        return dims, () if is_scalar and dims == (1,) else dims
    return dims, config.reshape


def _check(tensor: Tensor, config: TensorConfig, inner: Dims, has_batch: bool, kind: str) -> None:
    if config.datatype not in ("", tensor.datatype):
        raise BadConfig(
            f"{CONFIG_FILE}: {kind} {config.name!r}: expected data_type {tensor.datatype} like the graph's, got "
            f"{config.datatype}"
        )
    if tensor.any_shape:
        return
    sizes = tensor.shape[1:] if has_batch else tensor.shape
    fits = len(inner) == len(sizes) and (not has_batch or len(tensor.shape) > 0)
    if not fits or any(isinstance(own, int) and size not in (own, -1) for own, size in zip(sizes, inner, strict=True)):
        batch = " after the batch of max_batch_size" if has_batch else ""
        raise BadConfig(
            f"{CONFIG_FILE}: {kind} {config.name!r}: expected dims that fit the graph's {list(tensor.shape)}{batch}, "
            f"got {list(inner)}"
        )


def _as_callers_see(tensor: Tensor, dims: Dims, inner: Dims, has_batch: bool) -> Tensor:
    lead = tensor.shape[:1] if has_batch else ()
    if inner == dims and not tensor.any_shape:
        own = tensor.shape[len(lead) :]
        sizes = tuple(name if size == -1 else size for name, size in zip(own, dims, strict=True))
    else:
        sizes = tuple(f"{tensor.name}_{at}" if size == -1 else size for at, size in enumerate(dims, len(lead)))
    if has_batch and not (lead and isinstance(lead[0], str)):
        lead = ("batch",)
    shape, axis = (*lead, *sizes), tensor.batch_axis
    if axis is not None and not (axis == 0 if has_batch else inner == dims and isinstance(shape[axis], str)):
        axis = None
    return tensor.model_copy(update={"shape": shape, "any_shape": False, "batch_axis": axis})


def _read_labels(version: ModelVersion, file: str) -> tuple[str, ...]:
    content = version.read_beside(file)
    if content is None:
        raise BadConfig(f"{CONFIG_FILE} names the labels {file!r}, which is not in the folder of the model: add it")
    return tuple(content.decode("utf-8", "replace").splitlines())
