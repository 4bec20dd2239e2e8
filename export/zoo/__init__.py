"""The reference models, one file each, with its data, its training and the bar that it must reach."""

import importlib
from typing import Protocol, cast

from export.errors import UnknownRecipe
from export.spec import ExportSpec, Progress

RECIPES: dict[str, str] = {
    "date-translator": "export.zoo.date_translator",
    "diabetes-regressor": "export.zoo.diabetes_regressor",
    "digits-captioner": "export.zoo.scenes.digits_captioner",
    "digits-classifier": "export.zoo.digits_classifier",
    "digits-denoiser": "export.zoo.digits_denoiser",
    "digits-detector": "export.zoo.scenes.digits_detector",
    "digits-diffusion": "export.zoo.digits_diffusion",
    "digits-gan": "export.zoo.digits_gan",
    "digits-matcher": "export.zoo.digits_matcher",
    "digits-segmenter": "export.zoo.scenes.digits_segmenter",
    "digits-style": "export.zoo.digits_style",
    "digits-vae": "export.zoo.digits_vae",
    "elnino-forecaster": "export.zoo.elnino_forecaster",
    "language-classifier": "export.zoo.language_classifier",
    "photo-restorer": "export.zoo.photo_restorer",
    "sunspots-forecaster": "export.zoo.sunspots_forecaster",
}
"""Recipe name -> module, imported on demand."""


class Recipe(Protocol):
    """What the module of a recipe provides."""

    def train(self, seed: int, progress: Progress) -> ExportSpec:
        """Train the model. The same seed gives the same weights. ``progress`` receives each step in words."""


def load_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises UnknownRecipe, which lists the known names."""
    if name not in RECIPES:
        raise UnknownRecipe(f"no reference model {name!r}: there are {', '.join(sorted(RECIPES))}")
    return cast(Recipe, importlib.import_module(RECIPES[name]))
