"""The task routes as methods.

Written by ``make client-types`` from the OpenAPI document: do not edit.
"""

from __future__ import annotations  # so that `help` shows the names of the types

from abc import ABC, abstractmethod
from typing import TypeVar, Unpack

from sluice_client.api.answers import (
    ClassifyAnswer,
    DetectAnswer,
    EmbedAnswer,
    GenerateAnswer,
    GenerateEvent,
    PipelineAnswer,
    PipelineEvent,
    ReconstructAnswer,
    RegressAnswer,
    SegmentAnswer,
    SequenceAnswer,
    SequenceEvent,
)
from sluice_client.api.options import (
    ClassifyOptions,
    DetectOptions,
    EmbedOptions,
    GenerateOptions,
    PipelineOptions,
    ReconstructOptions,
    RegressOptions,
    SegmentOptions,
    SequenceOptions,
)
from sluice_client.calls import (
    Call,
    StreamCall,
    call_for_events,
    call_for_picture,
    call_for_sound,
    call_task,
)
from sluice_client.files import Picture, Sound
from sluice_client.streams import Stream
from sluice_client.wire.rows import Rows

A = TypeVar("A")
E = TypeVar("E")


class SyncTasks(ABC):
    """The task routes as methods."""

    @abstractmethod
    def _ask(self, call: Call[A]) -> A:
        """Send a call, and read its answer."""

    @abstractmethod
    def _open(self, call: StreamCall[E, A]) -> Stream[E, A]:
        """The stream of a call, which is sent when its first event is asked for."""

    def classify(self, inputs: Rows, **options: Unpack[ClassifyOptions]) -> ClassifyAnswer:
        """Rows to labels, and why.

        inputs: one row or a list of rows, as ``Rows`` says
        model: needed where several models do the task, unless one is the default
        version: a number or an alias; default: the newest that serves
        top_k: how many labels for each row
        threshold: least probability of the labels of a row that may have several, and of parts of texts; default: that
            of the model
        explain: why the label was chosen; true: the method that suits the model
        explanation_format: `picture`: over the row, as a PNG
        windows: answer with the label of each window of a sound too, and its times
        """
        return self._ask(call_task("classify", inputs, options, ClassifyOptions, ClassifyAnswer))

    def classify_as_picture(self, inputs: Rows, **options: Unpack[ClassifyOptions]) -> Picture:
        """The explanation over the row, as one file. It takes what ``classify`` takes."""
        return self._ask(call_for_picture("classify", inputs, options, ClassifyOptions))

    def detect(self, inputs: Rows, **options: Unpack[DetectOptions]) -> DetectAnswer:
        """Pictures to boxes with labels.

        inputs: one row or a list of rows, as ``Rows`` says
        model: needed where several models do the task, unless one is the default
        version: a number or an alias; default: the newest that serves
        threshold: least score of a box; default: that of the model
        max_detections: the most boxes of a picture, the best ones; default: that of the model
        classes: the labels, or their positions from 0, of the boxes that are wanted; default: all
        masks: answer with the mask of each box, if the model gives masks
        """
        return self._ask(call_task("detect", inputs, options, DetectOptions, DetectAnswer))

    def detect_as_picture(self, inputs: Rows, **options: Unpack[DetectOptions]) -> Picture:
        """The boxes over the picture, as one file. It takes what ``detect`` takes."""
        return self._ask(call_for_picture("detect", inputs, options, DetectOptions))

    def segment(self, inputs: Rows, **options: Unpack[SegmentOptions]) -> SegmentAnswer:
        """Pictures to a label for each pixel.

        inputs: one row or a list of rows, as ``Rows`` says
        model: needed where several models do the task, unless one is the default
        version: a number or an alias; default: the newest that serves
        mask_format: `picture`: a PNG whose pixel values are positions of labels, with a colour for each; `numbers`:
            nested numbers
        """
        return self._ask(call_task("segment", inputs, options, SegmentOptions, SegmentAnswer))

    def segment_as_picture(self, inputs: Rows, **options: Unpack[SegmentOptions]) -> Picture:
        """The labels as colours over the picture, as one file. It takes what ``segment`` takes."""
        return self._ask(call_for_picture("segment", inputs, options, SegmentOptions))

    def regress(self, inputs: Rows, **options: Unpack[RegressOptions]) -> RegressAnswer:
        """Rows to numbers.

        inputs: one row or a list of rows, as ``Rows`` says
        model: needed where several models do the task, unless one is the default
        version: a number or an alias; default: the newest that serves
        """
        return self._ask(call_task("regress", inputs, options, RegressOptions, RegressAnswer))

    def embed(self, inputs: Rows, **options: Unpack[EmbedOptions]) -> EmbedAnswer:
        """Rows to vectors, and how similar they are.

        inputs: one row or a list of rows, as ``Rows`` says
        model: needed where several models do the task, unless one is the default
        version: a number or an alias; default: the newest that serves
        encoding: `base64`: each vector as the bytes of its numbers, float32, little-endian
        dimensions: a shorter length of the vectors, if the model has it
        compare: rows, or vectors as `{'embedding': ...}`: the answer says how similar each row is to each of these
        windows: answer with the vector of each window of a sound too, and its times
        """
        return self._ask(call_task("embed", inputs, options, EmbedOptions, EmbedAnswer))

    def predict_sequence(self, inputs: Rows, **options: Unpack[SequenceOptions]) -> SequenceAnswer:
        """Series to their forecasts; texts, pictures and sounds to texts.

        inputs: one row or a list of rows, as ``Rows`` says
        model: needed where several models do the task, unless one is the default
        version: a number or an alias; default: the newest that serves
        beams: width of the beam search; 1, the default, takes the most probable character at each step
        pieces: where each symbol was read: its sides in the picture, or its seconds in the sound
        length_penalty: with beams: 0, the default, finds the likeliest text, 1 the one whose tokens are likeliest on
            the average; the higher it is, the longer are texts
        temperature: above 0: tokens are drawn, the more evenly the higher it is; 0, the default, takes the likeliest
            token
        top_k: with a temperature: draws of so many of the likeliest tokens only
        top_p: with a temperature: draws of the likeliest tokens that together have this probability
        stop: a text ends before the first of these
        max_tokens: the most tokens of a text, or of each window of a sound; default: as many as the model can write
        windows: answer with the text of each window of a sound too, and its times
        horizon: steps ahead; default: 12, or the model's own horizon
        quantiles: between 0 and 1; those of a model that answers at once are fixed
        seed: the same seed gives the same bits, in any batch
        paths: how many paths are drawn for the quantiles of a series
        return_state: answer with a state too, which a later request can continue, on any replica with the same key
        """
        return self._ask(call_task("predict_sequence", inputs, options, SequenceOptions, SequenceAnswer))

    def predict_sequence_as_stream(
        self, inputs: Rows, **options: Unpack[SequenceOptions]
    ) -> Stream[SequenceEvent, SequenceAnswer]:
        """An event for each step, then the answer. It takes what ``predict_sequence`` takes."""
        return self._open(
            call_for_events("predict_sequence", inputs, options, SequenceOptions, SequenceEvent, SequenceAnswer)
        )

    def reconstruct(self, inputs: Rows, **options: Unpack[ReconstructOptions]) -> ReconstructAnswer:
        """Rows to similar rows.

        inputs: one row or a list of rows, as ``Rows`` says
        model: needed where several models do the task, unless one is the default
        version: a number or an alias; default: the newest that serves
        output_format: `picture`: each row as a PNG in base64; `sound`: as a WAV in base64
        graph: one of the graphs that the manifest names; default: the first
        error_map: answer with a map of the differences too
        """
        return self._ask(call_task("reconstruct", inputs, options, ReconstructOptions, ReconstructAnswer))

    def reconstruct_as_picture(self, inputs: Rows, **options: Unpack[ReconstructOptions]) -> Picture:
        """The outputs in a grid, as one file. It takes what ``reconstruct`` takes."""
        return self._ask(call_for_picture("reconstruct", inputs, options, ReconstructOptions))

    def reconstruct_as_sound(self, inputs: Rows, **options: Unpack[ReconstructOptions]) -> Sound:
        """The output, as one file. It takes what ``reconstruct`` takes."""
        return self._ask(call_for_sound("reconstruct", inputs, options, ReconstructOptions))

    def pipeline(self, inputs: Rows, **options: Unpack[PipelineOptions]) -> PipelineAnswer:
        """Rows through several models.

        inputs: one row or a list of rows, as ``Rows`` says
        model: needed where several models do the task, unless one is the default
        version: a number or an alias; default: the newest that serves
        timings: answer with the rows and seconds of each step too
        """
        return self._ask(call_task("pipeline", inputs, options, PipelineOptions, PipelineAnswer))

    def pipeline_as_stream(
        self, inputs: Rows, **options: Unpack[PipelineOptions]
    ) -> Stream[PipelineEvent, PipelineAnswer]:
        """An event for each step, then the answer. It takes what ``pipeline`` takes."""
        return self._open(call_for_events("pipeline", inputs, options, PipelineOptions, PipelineEvent, PipelineAnswer))

    def generate(self, **options: Unpack[GenerateOptions]) -> GenerateAnswer:
        """New rows from noise.

        model: needed where several models do the task, unless one is the default
        version: a number or an alias; default: the newest that serves
        steps: of a diffusion
        guidance: of a diffusion: the strength of classifier-free guidance
        eta: of a diffusion: noise between the steps, from 0 (none, DDIM) to 1 (all, DDPM)
        output_format: `picture`: each row as a PNG in base64; `sound`: as a WAV in base64
        count: how many rows; default: as many as labels, or 1
        seed: 0 to 2^63 - 1; the same seed gives the same bits, in any batch
        labels: texts or positions: one for all rows, or one for each; default: all in turn
        interpolate: from the row of one seed to that of another, with one label; not for a diffusion
        """
        return self._ask(call_task("generate", None, options, GenerateOptions, GenerateAnswer))

    def generate_as_picture(self, **options: Unpack[GenerateOptions]) -> Picture:
        """The rows in a grid, as one file. It takes what ``generate`` takes."""
        return self._ask(call_for_picture("generate", None, options, GenerateOptions))

    def generate_as_stream(self, **options: Unpack[GenerateOptions]) -> Stream[GenerateEvent, GenerateAnswer]:
        """An event for each step, then the answer. It takes what ``generate`` takes."""
        return self._open(call_for_events("generate", None, options, GenerateOptions, GenerateEvent, GenerateAnswer))
