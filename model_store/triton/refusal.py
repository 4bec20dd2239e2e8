"""The reasons why this server cannot serve a model that Triton may serve."""

from pathlib import PurePosixPath

from model_store.triton.config import TritonConfig

_OURS = ("", "onnxruntime", "onnxruntime_onnx")
_OTHER_FILES = {
    ".plan": "TensorRT",
    ".pt": "PyTorch",
    ".pt2": "PyTorch",
    ".py": "Python",
    ".xml": "OpenVINO",
    ".savedmodel": "TensorFlow",
    ".graphdef": "TensorFlow",
}
"""The runner that Triton infers from the file name, for a model without platform and backend."""


def refusal(config: TritonConfig) -> str | None:
    """Why this server cannot serve the model; None if it can."""
    return refuse_runner(config) or _refuse_tensors(config) or _refuse_requests(config)


def refuse_runner(config: TritonConfig) -> str | None:
    """The reason, if something else than ONNX Runtime runs the model."""
    if config.is_ensemble:
        steps = ", ".join(config.ensemble_steps) or "none"
        return f"the model is an ensemble of other models ({steps}): pipelines of models are not served yet"
    for field, name in (("backend", config.backend), ("platform", config.platform)):
        if name not in _OURS:
            return f"{field} {name!r}: this server runs ONNX files only, expected onnxruntime or onnxruntime_onnx"
    runner = _OTHER_FILES.get(PurePosixPath(config.default_model_filename).suffix)
    if runner is not None and not (config.backend or config.platform):
        name = config.default_model_filename
        return f"default_model_filename {name!r}: this server runs ONNX files only, but {runner} runs this one"
    return None


def _refuse_tensors(config: TritonConfig) -> str | None:
    for tensor in (*config.inputs, *config.outputs):
        if tensor.ragged:
            return f"{tensor.name!r} has allow_ragged_batch: batches with rows of different sizes are not served"
        if tensor.is_shape_tensor:
            return f"{tensor.name!r} has is_shape_tensor, which only TensorRT has"
        if tensor.is_non_linear:
            return f"{tensor.name!r} has is_non_linear_format_io, which only TensorRT has"
    if config.batch_tensors:
        names = ", ".join(map(repr, config.batch_tensors))
        return f"batch_input or batch_output ({names}): tensors about the requests of a batch are not served"
    return None


def _refuse_requests(config: TritonConfig) -> str | None:
    if config.decoupled:
        return "model_transaction_policy is decoupled: here a request has exactly one answer"
    if config.sequence is not None and config.sequence.is_iterative:
        return "sequence_batching has iterative_sequence: requests that run several times are not served"
    return None
