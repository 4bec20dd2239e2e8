"""What Triton's ``config.pbtxt`` changes about a plain model: shapes that callers see, largest batch, labels."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from model_store.errors import BadConfig
from model_store.graph import Graph, Tensor
from model_store.graphs.reshape import Dims, Reshape
from model_store.graphs.sequences import Sequences, read_sequences
from model_store.manifest import Batching
from model_store.store import ModelVersion
from model_store.triton import CONFIG_FILE, TensorConfig, TritonConfig, VersionPolicy, read_config, refusal

logger = logging.getLogger("sluice.loading")


def read_default_filename(name: str, content: bytes) -> str | None:
    """The name that a configuration gives to ONNX files. Raises BadConfig if it cannot be read or served."""
    return _read(name, content).default_model_filename or None


def choose_versions(versions: Sequence[ModelVersion]) -> list[int] | None:
    """The version numbers that the configuration's version policy selects; None if it has no policy.

    Raises StoreError.
    """
    content = versions[-1].read_beside(CONFIG_FILE) if versions and versions[-1].is_plain else None
    if content is None:
        return None
    policy = _read(versions[-1].name, content).version_policy
    return None if policy == VersionPolicy() else policy.choose([version.version for version in versions])


def read_configuration(version: ModelVersion) -> TritonConfig | None:
    """The configuration of a model, None without one. Raises StoreError."""
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
    """A graph with its configuration applied. ``reshape`` is None if callers and graph use the same shapes."""

    graph: Graph
    reshape: Reshape | None = None
    batching: Batching = field(default_factory=Batching)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Labels by output."""
    may_batch: bool = True
    """Whether the configuration allows rows to share a batch."""
    sequences: Sequences | None = None


def configure_graph(graph: Graph, config: TritonConfig, version: ModelVersion) -> Configured:
    """Apply a configuration. Raises BadConfig if it does not fit the graph, StoreError if a file of labels is
    missing."""
    has_batch = config.max_batch_size > 0 or _finds_batch(graph, config)
    form = _Form(has_batch, config.sequence is not None)
    filled, kept = _internal_names(config)
    inputs, into = _configure(graph.inputs, config.inputs, filled, form, "input")
    outputs, out = _configure(graph.outputs, config.outputs, kept, form, "output")
    if config.inputs and (missing := {t.name for t in graph.inputs if not t.optional} - {t.name for t in inputs}):
        raise BadConfig(f"{CONFIG_FILE} leaves out the inputs {', '.join(sorted(missing))} of the graph: add them")
    may_batch = config.max_batch_size > 0 or _completes(config) or form.is_sequence
    if not may_batch or _lose_batch((*graph.inputs, *graph.outputs), (*inputs, *outputs)):
        may_batch, inputs, outputs = False, [_alone(t) for t in inputs], [_alone(t) for t in outputs]
    leading_rows: int | None = config.max_batch_size
    if _completes(config):
        leading_rows = int(has_batch) if form.is_sequence else None
    configured = graph.model_copy(
        update={"inputs": tuple(inputs), "outputs": tuple(outputs), "leading_rows": leading_rows}
    )
    delay_s = config.batching.max_delay_s if config.batching is not None else 0.0
    return Configured(
        configured,
        Reshape(into, out, has_batch) if into or out else None,
        Batching(max_rows=config.max_batch_size or None, max_wait_s=delay_s or None),
        {said.name: _read_labels(version, said.label_filename) for said in config.outputs if said.label_filename},
        may_batch,
        read_sequences(configured, config.sequence, version) if config.sequence is not None else None,
    )


class _Form(NamedTuple):
    """Whether callers' shapes begin with a batch axis, and whether requests belong to sequences."""

    has_batch: bool
    is_sequence: bool


def _internal_names(config: TritonConfig) -> tuple[set[str], set[str]]:
    """The inputs that the server fills for a sequence, and the outputs that it keeps from callers."""
    if config.sequence is None:
        return set(), set()
    states, seen = config.sequence.states, {output.name for output in config.outputs}
    filled = {control.name for control in config.sequence.controls} | {state.input_name for state in states}
    return filled, {state.output_name for state in states} - seen


def _completes(config: TritonConfig) -> bool:
    """Whether the graph supplies what the configuration leaves out, the batch included, as in Triton."""
    return not config.says_max_batch_size and not (config.inputs and config.outputs)


def _finds_batch(graph: Graph, config: TritonConfig) -> bool:
    """Whether dims leave the batch out in a configuration that has neither a largest batch nor all tensors."""
    given, wanted = _said_dims(config)
    said = [(t, given[t.name]) for t in graph.inputs if t.name in given]
    said += [(t, wanted[t.name]) for t in graph.outputs if t.name in wanted]
    leaves_batch = all(t.shape and isinstance(t.shape[0], str) for t in (*graph.inputs, *graph.outputs))
    fits = (said or config.sequence is not None) and all(len(t.shape) == len(dims) + 1 for t, dims in said)
    return _completes(config) and leaves_batch and bool(fits)


def _said_dims(config: TritonConfig) -> tuple[dict[str, Dims], dict[str, Dims]]:
    """The shapes that the configuration gives to inputs and outputs, without the batch."""
    given = {t.name: t.graph_dims for t in config.inputs if t.graph_dims is not None}
    wanted = {t.name: t.graph_dims for t in config.outputs if t.graph_dims is not None}
    if config.sequence is not None:
        given |= {state.input_name: state.dims for state in config.sequence.states}
        given |= {control.name: (1,) for control in config.sequence.controls}
    return given, wanted


def known_sizes(graph: Graph, config: TritonConfig) -> dict[str, int]:
    """Sizes of free axes that the configuration fixes, by name. The graph should run at these."""
    sizes: dict[str, int] = {}
    lead = 1 if config.max_batch_size > 0 else 0
    warm = config.warmups[0] if config.warmups else None
    given, _ = _said_dims(config)
    reshaped = {said.name for said in config.inputs if said.reshape is not None}
    for tensor in graph.inputs:
        dims = [-1] * lead + list(given.get(tensor.name, ()))
        if warm is not None and tensor.name in warm.inputs and tensor.name not in reshaped:
            dims = [-1] * lead + list(warm.inputs[tensor.name].dims)
        if len(dims) == len(tensor.shape):
            fixed = zip(tensor.shape, dims, strict=True)
            sizes |= {name: size for name, size in fixed if isinstance(name, str) and size >= 0}
    return sizes


def _lose_batch(tensors: Iterable[Tensor], configured: Iterable[Tensor]) -> bool:
    """Whether callers see a tensor without the batch axis that it has in the graph."""
    axes = {tensor.name: tensor.batch_axis for tensor in tensors}
    return any(tensor.batch_axis is None and axes[tensor.name] is not None for tensor in configured)


def _alone(tensor: Tensor) -> Tensor:
    return tensor.model_copy(update={"batch_axis": None})


def _configure(
    tensors: tuple[Tensor, ...], said: tuple[TensorConfig, ...], internal: Collection[str], form: _Form, kind: str
) -> tuple[list[Tensor], dict[str, tuple[Dims, Dims]]]:
    """The tensors with callers' shapes, and both shapes of each tensor for which they differ."""
    by_name = {tensor.name: tensor for tensor in tensors}
    found, reshaped = [t.model_copy(update={"internal": True}) for t in tensors if t.name in internal], {}
    for config in said or [TensorConfig(tensor.name) for tensor in tensors]:
        if config.name in internal:
            continue
        tensor = by_name.get(config.name)
        if tensor is None:
            raise BadConfig(
                f"{CONFIG_FILE} names an {kind} {config.name!r} that the graph does not have: expected one of "
                f"{', '.join(by_name)}"
            )
        if config.dims is None and (tensor.any_shape or tensor.optional):
            found.append(tensor)
            continue
        dims, inner = _find_dims(tensor, config, form.has_batch)
        _check(tensor, config, inner, form.has_batch, kind)
        if inner != dims:
            reshaped[tensor.name] = (inner, dims)
        found.append(_as_callers_see(tensor, dims, inner, form))
    return found, reshaped


def _find_dims(tensor: Tensor, config: TensorConfig, has_batch: bool) -> tuple[Dims, Dims]:
    """The shapes of callers and of the graph. Callers see a scalar as [1], because dims cannot be empty."""
    own = tuple(size if isinstance(size, int) else -1 for size in tensor.shape[1 if has_batch else 0 :])
    is_scalar = not own and not tensor.any_shape
    dims = (own or (1,)) if config.dims is None else config.dims
    if config.reshape is None:
        return dims, () if is_scalar and dims == (1,) else dims
    return dims, config.reshape


def _check(tensor: Tensor, config: TensorConfig, inner: Dims, has_batch: bool, kind: str) -> None:
    if has_batch and kind == "input" and tensor.shape and isinstance(tensor.shape[0], int):
        raise BadConfig(
            f"{CONFIG_FILE}: max_batch_size needs a free first axis, but that of input {config.name!r} is fixed at "
            f"{tensor.shape[0]}: set max_batch_size to 0, or export the model with a dynamic batch"
        )
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


def _as_callers_see(tensor: Tensor, dims: Dims, inner: Dims, form: _Form) -> Tensor:
    lead = tensor.shape[:1] if form.has_batch else ()
    if inner == dims and not tensor.any_shape:
        own = tensor.shape[len(lead) :]
        sizes = tuple(name if size == -1 else size for name, size in zip(own, dims, strict=True))
    else:
        sizes = tuple(f"{tensor.name}_{at}" if size == -1 else size for at, size in enumerate(dims, len(lead)))
    if form.has_batch and not (lead and isinstance(lead[0], str)):
        lead = ("batch",)
    shape, axis = (*lead, *sizes), tensor.batch_axis
    if axis is not None and not (axis == 0 if form.has_batch else inner == dims and _may_vary(shape[axis], form)):
        axis = None
    return tensor.model_copy(update={"shape": shape, "any_shape": False, "batch_axis": axis})


def _may_vary(size: int | str, form: _Form) -> bool:
    """Whether an axis may be a batch axis. In sequences, whole shapes of one row can share batches too."""
    return isinstance(size, str) or (size == 1 and form.is_sequence)


def _read_labels(version: ModelVersion, file: str) -> tuple[str, ...]:
    content = version.read_beside(file)
    if content is None:
        raise BadConfig(f"{CONFIG_FILE} names the labels {file!r}, which are not in the model's folder: add the file")
    return tuple(content.decode("utf-8", "replace").splitlines())
