"""Requests of the API's documentation. They run as they stand against the reference models."""

from collections.abc import Mapping
from typing import Any

_ZERO = [
    [
        [0, 0, 5, 13, 9, 1, 0, 0],
        [0, 0, 13, 15, 10, 15, 5, 0],
        [0, 3, 15, 2, 0, 11, 8, 0],
        [0, 4, 12, 0, 0, 8, 8, 0],
        [0, 5, 8, 0, 0, 9, 8, 0],
        [0, 4, 11, 0, 1, 12, 7, 0],
        [0, 2, 14, 5, 10, 12, 0, 0],
        [0, 0, 6, 13, 10, 0, 0, 0],
    ]
]
"""A handwritten zero: grey values 0..16, [1, 8, 8]."""

_ZERO_PNG = {
    "image": (
        "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAARklEQVR42gXBYRVAMBgAwHt7/vsiaGCaLIJGIqyCBp4EI4E1III7lLYFaG99i0Ge"
        "lh55T+LqbpI4GUm+WeQP01PqAdZW8QOg+BHx1aT2vAAAAABJRU5ErkJggg=="
    )
}
"""The same zero."""

_SUNSPOTS = [8.6, 21.5, 64.3, 93.3, 119.6, 111.0, 104.0, 63.7, 40.4, 29.8, 15.2, 7.5, 2.9]
"""Yearly means, 1996 to 2008. NOAA, public domain."""

_SEA_CELSIUS = [
    *(24.24, 26.39, 26.91, 25.68, 24.43, 23.19, 23.02, 22.14, 21.6, 21.39, 21.54, 22.73),
    *(24.39, 25.53, 25.48, 25.84, 24.95, 24.09, 23.09, 22.03, 21.48, 21.64, 21.99, 23.21),
]
"""Monthly means off Peru, 2008 and 2009. NOAA, public domain."""

EXAMPLES: Mapping[str, Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "classify": {
        "digit": ("Which digit is this?", {"model": "digits-classifier", "inputs": [_ZERO]}),
        "why": (
            "The same as a picture, the three likeliest labels, and what counts for the first",
            {"model": "digits-classifier", "inputs": [_ZERO_PNG], "top_k": 3, "explain": "integrated_gradients"},
        ),
    },
    "predict_sequence": {
        "intervals": (
            "Sunspots of the next five years, with an interval of 80 %",
            {"model": "sunspots-forecaster", "inputs": [_SUNSPOTS], "horizon": 5, "quantiles": [0.1, 0.9], "seed": 7},
        ),
        "further inputs": (
            "Sea temperatures of the next six months; month 11 is December, counted from 0",
            {"model": "elnino-forecaster", "inputs": [{"values": _SEA_CELSIUS, "month": 11}]},
        ),
        "text": (
            "A date from English into German",
            {"model": "date-translator", "inputs": ["Saturday, December 31, 2022"]},
        ),
        "stream": (
            "Each year as soon as it is forecast",
            {"model": "sunspots-forecaster", "inputs": [_SUNSPOTS], "horizon": 3, "stream": True},
        ),
    },
    "reconstruct": {
        "denoise": ("Take the noise from a digit", {"model": "digits-denoiser", "inputs": [_ZERO]}),
        "anomaly": (
            "Is this a digit, and where is it odd? In pictures",
            {"model": "digits-vae", "inputs": [_ZERO_PNG], "error_map": True, "output_format": "picture"},
        ),
    },
    "generate": {
        "labels": ("Three digits, drawn at once", {"model": "digits-gan", "labels": ["3", "1", "4"], "seed": 1}),
        "diffusion": (
            "A seven, drawn step by step",
            {"model": "digits-diffusion", "labels": ["7"], "steps": 20, "guidance": 1.0, "seed": 1},
        ),
        "interpolate": (
            "From one eight to another, in pictures",
            {
                "model": "digits-vae",
                "count": 5,
                "labels": ["8"],
                "interpolate": {"seeds": [1, 2]},
                "output_format": "picture",
            },
        ),
        "stream": (
            "Previews of a running diffusion",
            {"model": "digits-diffusion", "labels": ["5"], "steps": 4, "seed": 1, "stream": True},
        ),
    },
}
"""Task -> name of an example -> (what it shows, the body)."""
