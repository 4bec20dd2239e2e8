"""The parts of the manifest for the task routes: a class for each kind of work."""

from model_store.pipelines.facts import GoldenRequest, Pipeline, Step
from model_store.tasks.classes import Classes
from model_store.tasks.detection import Detection, Embedding, Regions, Segmentation
from model_store.tasks.generation import Diffusion, Generation
from model_store.tasks.language import Tags, Tokens, Writing
from model_store.tasks.loop import Carry, Loop
from model_store.tasks.picture import Image, Picture
from model_store.tasks.reading import Reading
from model_store.tasks.reconstruction import Reconstruction, Span, Tile, Tiles
from model_store.tasks.sequences import Forecast, Text
from model_store.tasks.sounds import Sound
from model_store.tasks.tables import Column, Regression, Table

__all__ = [
    "Carry",
    "Classes",
    "Column",
    "Detection",
    "Diffusion",
    "Embedding",
    "Forecast",
    "Generation",
    "GoldenRequest",
    "Image",
    "Loop",
    "Picture",
    "Pipeline",
    "Reading",
    "Reconstruction",
    "Regions",
    "Regression",
    "Segmentation",
    "Sound",
    "Span",
    "Step",
    "Table",
    "Tags",
    "Text",
    "Tile",
    "Tiles",
    "Tokens",
    "Writing",
]
