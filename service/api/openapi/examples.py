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

DIGITS = "digits-classifier"

EXAMPLES: Mapping[str, Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "classify": {
        "digit": ("Which digit is this?", {"model": DIGITS, "inputs": [_ZERO]}),
        "why": (
            "The same as a picture, the three likeliest labels, and what counts for the first",
            {"model": DIGITS, "inputs": [_ZERO_PNG], "top_k": 3, "explain": "integrated_gradients"},
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

_IMAGE = {"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [_ZERO]}
_STEP = {"value": 0.2, "noise": 0.0, "steps": 3}

MODELS: Mapping[str, str] = {
    **dict.fromkeys(
        ("/v2/models/{model}/generate", "/v2/models/{model}/generate_stream"),
        "sunspots-forecaster",
    ),
    **dict.fromkeys(
        ("/v2/repository/models/{model}/load", "/v2/repository/models/{model}/unload"),
        "digits-style",  # which no other example needs
    ),
}
"""Path of the protocol -> the model of its examples, where that is not the classifier of digits."""

PROTOCOL: Mapping[str, Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "/v2/models/{model}/infer": {
        "digit": ("All outputs for a digit", {"id": "1", "inputs": [_IMAGE]}),
        "classes": (
            "The three likeliest digits, as value:index:label",
            {
                "inputs": [_IMAGE],
                "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}],
                "parameters": {"priority": 1, "timeout": 10_000_000},
            },
        ),
        "binary": (
            "The answer as JSON with the bytes of the outputs behind it",
            {"inputs": [_IMAGE], "parameters": {"binary_data_output": True}},
        ),
    },
    "/v2/models/{model}/generate": {
        "steps": ("Three steps through the loop of a forecaster, on its own scale", _STEP),
    },
    "/v2/models/{model}/generate_stream": {
        "steps": ("Each step as it is done", _STEP),
    },
    "/v2/repository/index": {
        "ready": ("Only versions that serve", {"ready": True}),
        "all": ("All versions", {}),
    },
    "/v2/repository/models/{model}/load": {
        "newest": ("The newest version", {}),
        "version": ("This version, or what an alias points to", {"parameters": {"version": "1"}}),
    },
    "/v2/repository/models/{model}/unload": {
        "all": ("All versions", {}),
    },
    "/v2/trace/setting": {
        "on": ("One request in a hundred", {"trace_level": ["TIMESTAMPS"], "trace_rate": "100"}),
        "off": ("No more", {"trace_level": ["OFF"]}),
    },
    "/v2/models/{model}/trace/setting": {
        "on": ("Ten requests", {"trace_level": ["TIMESTAMPS"], "trace_rate": "1", "trace_count": "10"}),
        "back": ("As all other models", {"trace_level": None, "trace_rate": None, "trace_count": None}),
    },
    "/v2/logging": {
        "verbose": ("Debug messages too", {"log_verbose_level": 1}),
        "usual": ("As usual", {"log_verbose_level": 0, "log_info": True}),
    },
    "/v1/models/{model}:predict": {
        "digit": ("All outputs for a digit", {"instances": [_ZERO]}),
    },
    "/v1/models/{model}:explain": {
        "digit": ("What counts for the likeliest label", {"instances": [_ZERO]}),
    },
    "/v1/timeseries/forecast": {
        "intervals": (
            "Sunspots of the next five years, with an interval of 80 %",
            {
                "model": "sunspots-forecaster",
                "inputs": [
                    {
                        "type": "univariate_time_series",
                        "name": "sunspots",
                        "series": _SUNSPOTS,
                        "frequency": "Y",
                        "start_timestamp": "1996-07-01",
                    }
                ],
                "options": {"horizon": 5, "quantiles": [0.1, 0.9], "seed": 7},
            },
        ),
    },
}
"""Path of the protocol -> name of an example -> (what it shows, the body)."""
