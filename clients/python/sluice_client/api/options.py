"""What calls may be asked for.

Written by ``make client-types`` from the OpenAPI document: do not edit.
"""

from collections.abc import Sequence
from typing import Literal, TypedDict

from sluice_client.wire.rows import Rows


class CallOptions(TypedDict, total=False):
    """What every call may have."""

    timeout_s: float | None
    """Seconds for this call, in place of the client's."""

    request_id: str
    """To find the request in the log of the server; default: its own."""


class Between(TypedDict, total=False):
    """The seeds of the two ends of an interpolation."""

    seeds: Sequence[int]


class ClassifyOptions(CallOptions, total=False):
    """The options of ``ClassifyRequest``."""

    model: str | None
    """Needed where several models do the task, unless one is the default."""

    version: str | int | None
    """A number or an alias; default: the newest that serves."""

    top_k: int | None
    """How many labels for each row."""

    threshold: float | None
    """Least probability of the labels of a row that may have several, and of parts of texts; default: that of the
    model.
    """

    explain: bool | Literal["saliency", "integrated_gradients", "occlusion"] | None
    """Why the label was chosen; true: the method that suits the model."""

    explanation_format: Literal["numbers", "picture"] | None
    """`picture`: over the row, as a PNG."""

    windows: bool | None
    """Answer with the label of each window of a sound too, and its times."""


class DetectOptions(CallOptions, total=False):
    """The options of ``DetectRequest``."""

    model: str | None
    """Needed where several models do the task, unless one is the default."""

    version: str | int | None
    """A number or an alias; default: the newest that serves."""

    threshold: float | None
    """Least score of a box; default: that of the model."""

    max_detections: int | None
    """The most boxes of a picture, the best ones; default: that of the model."""

    classes: Sequence[str | int] | None
    """The labels, or their positions from 0, of the boxes that are wanted; default: all."""

    masks: bool | None
    """Answer with the mask of each box, if the model gives masks."""


class SegmentOptions(CallOptions, total=False):
    """The options of ``SegmentRequest``."""

    model: str | None
    """Needed where several models do the task, unless one is the default."""

    version: str | int | None
    """A number or an alias; default: the newest that serves."""

    mask_format: Literal["numbers", "picture"] | None
    """`picture`: a PNG whose pixel values are positions of labels, with a colour for each; `numbers`: nested numbers.
    """


class RegressOptions(CallOptions, total=False):
    """The options of ``RegressRequest``."""

    model: str | None
    """Needed where several models do the task, unless one is the default."""

    version: str | int | None
    """A number or an alias; default: the newest that serves."""


class EmbedOptions(CallOptions, total=False):
    """The options of ``EmbedRequest``."""

    model: str | None
    """Needed where several models do the task, unless one is the default."""

    version: str | int | None
    """A number or an alias; default: the newest that serves."""

    encoding: Literal["float", "base64"] | None
    """`base64`: each vector as the bytes of its numbers, float32, little-endian."""

    dimensions: int | None
    """A shorter length of the vectors, if the model has it."""

    compare: Rows | None
    """Rows, or vectors as `{'embedding': ...}`: the answer says how similar each row is to each of these."""

    windows: bool | None
    """Answer with the vector of each window of a sound too, and its times."""


class SequenceOptions(CallOptions, total=False):
    """The options of ``SequenceRequest``."""

    model: str | None
    """Needed where several models do the task, unless one is the default."""

    version: str | int | None
    """A number or an alias; default: the newest that serves."""

    beams: int | None
    """Width of the beam search; 1, the default, takes the most probable character at each step."""

    pieces: bool | None
    """Where each symbol was read: its sides in the picture, or its seconds in the sound."""

    length_penalty: float | None
    """With beams: 0, the default, finds the likeliest text, 1 the one whose tokens are likeliest on the average; the
    higher it is, the longer are texts.
    """

    temperature: float | None
    """Above 0: tokens are drawn, the more evenly the higher it is; 0, the default, takes the likeliest token."""

    top_k: int | None
    """With a temperature: draws of so many of the likeliest tokens only."""

    top_p: float | None
    """With a temperature: draws of the likeliest tokens that together have this probability."""

    stop: Sequence[str] | None
    """A text ends before the first of these."""

    max_tokens: int | None
    """The most tokens of a text, or of each window of a sound; default: as many as the model can write."""

    windows: bool | None
    """Answer with the text of each window of a sound too, and its times."""

    horizon: int | None
    """Steps ahead; default: 12, or the model's own horizon."""

    quantiles: Sequence[float] | None
    """Between 0 and 1; those of a model that answers at once are fixed."""

    seed: int | None
    """The same seed gives the same bits, in any batch."""

    paths: int | None
    """How many paths are drawn for the quantiles of a series."""

    return_state: bool | None
    """Answer with a state too, which a later request can continue, on any replica with the same key."""


class ReconstructOptions(CallOptions, total=False):
    """The options of ``ReconstructRequest``."""

    model: str | None
    """Needed where several models do the task, unless one is the default."""

    version: str | int | None
    """A number or an alias; default: the newest that serves."""

    output_format: Literal["numbers", "picture", "sound"] | None
    """`picture`: each row as a PNG in base64; `sound`: as a WAV in base64."""

    graph: str | None
    """One of the graphs that the manifest names; default: the first."""

    error_map: bool | None
    """Answer with a map of the differences too."""


class PipelineOptions(CallOptions, total=False):
    """The options of ``PipelineRequest``."""

    model: str | None
    """Needed where several models do the task, unless one is the default."""

    version: str | int | None
    """A number or an alias; default: the newest that serves."""

    timings: bool | None
    """Answer with the rows and seconds of each step too."""


class GenerateOptions(CallOptions, total=False):
    """The options of ``GenerateRequest``."""

    model: str | None
    """Needed where several models do the task, unless one is the default."""

    version: str | int | None
    """A number or an alias; default: the newest that serves."""

    steps: int | None
    """Of a diffusion."""

    guidance: float | None
    """Of a diffusion: the strength of classifier-free guidance."""

    eta: float | None
    """Of a diffusion: noise between the steps, from 0 (none, DDIM) to 1 (all, DDPM)."""

    output_format: Literal["numbers", "picture", "sound"] | None
    """`picture`: each row as a PNG in base64; `sound`: as a WAV in base64."""

    count: int | None
    """How many rows; default: as many as labels, or 1."""

    seed: int | None
    """0 to 2^63 - 1; the same seed gives the same bits, in any batch."""

    labels: Sequence[str | int] | None
    """Texts or positions: one for all rows, or one for each; default: all in turn."""

    interpolate: Between | None
    """From the row of one seed to that of another, with one label; not for a diffusion."""


class InferParameters(TypedDict, total=False):
    """Unknown parameters have no effect; names that begin with `triton_` are refused. Null counts as absent."""

    sequence_id: int | str | None
    """0 or an empty text: no sequence."""

    sequence_start: bool | None
    sequence_end: bool | None
    priority: int | None
    """1 goes before the others."""

    timeout: int | None
    """Microseconds until 504."""

    binary_data_output: bool | None
    """Default of the outputs' `binary_data`."""


class OutputParameters(TypedDict, total=False):
    """The options of ``OutputParameters``."""

    binary_data: bool | None
    classification: int | None
    """So many highest values, as value:index:label."""

    shared_memory_region: str | None
    """A registered region that the output is written to."""

    shared_memory_offset: int | None
    """Where it is written in the region."""

    shared_memory_byte_size: int | None
    """Room for it there."""
