"""Example requests for the API's documentation. Tests send each of them to the reference models."""

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
    "image": "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAARklEQVR42gXBYRVAMBgAwHt7/vsiaGCaLIJGIqyCBp4EI4E1III7lLYFa"
    "G99i0Gelh55T+LqbpI4GUm+WeQP01PqAdZW8QOg+BHx1aT2vAAAAABJRU5ErkJggg=="
}
"""The same zero as a PNG."""

_ZERO_ON_PAPER_PNG = {
    "image": "iVBORw0KGgoAAAANSUhEUgAAABgAAAAYCAAAAADFHGIkAAAAUElEQVR42mNgGHbA/3w/P1aJ8+/nv/eH81jgLH0Fg4cCBhthXCa4"
    "hMCFhwwXEPqRJA4wMAhgk/hgwMBv8AGL3fL3/efvx+qq+PPzh18cMAAATIwR62xQD2oAAAAASUVORK5CYII="
}
"""The same zero in the middle of 24 x 24 pixels."""

_SUNSPOTS = [8.6, 21.5, 64.3, 93.3, 119.6, 111.0, 104.0, 63.7, 40.4, 29.8, 15.2, 7.5, 2.9]
"""Yearly means, 1996 to 2008. NOAA, public domain."""

_SEA_CELSIUS = [
    *(24.24, 26.39, 26.91, 25.68, 24.43, 23.19, 23.02, 22.14, 21.6, 21.39, 21.54, 22.73),
    *(24.39, 25.53, 25.48, 25.84, 24.95, 24.09, 23.09, 22.03, 21.48, 21.64, 21.99, 23.21),
]
"""Monthly means off Peru, 2008 and 2009. NOAA, public domain."""

_MEASUREMENTS = {
    "age": 59,
    "sex": 2,
    "body_mass_index": 32.1,
    "blood_pressure": 101,
    "cholesterol": 157,
    "ldl": 93.2,
    "hdl": 38,
    "cholesterol_per_hdl": 4,
    "log_triglycerides": 4.86,
    "glucose": 87,
}
"""The first row of the data (Efron et al. 2004)."""

DIGITS = "digits-classifier"
LANGUAGES = "language-classifier"
_SAME_DAY = ["Friday, March 13, 2026", "piątek, 13 marca 2026"]
_BASE64 = {"encoding_format": "base64"}
_YEARS = {"model": "sunspots-forecaster", "inputs": [_SUNSPOTS]}
_INTERVALS = {"horizon": 5, "quantiles": [0.1, 0.9], "seed": 7}
_OF_INTERVALS = "Sunspots of the next five years, with an interval of 80 %"
_PICTURES = {"output_format": "picture"}

EXAMPLES: Mapping[str, Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "classify": {
        "digit": ("Which digit is this?", {"model": DIGITS, "inputs": [_ZERO]}),
        "why": (
            "The three most probable labels of a picture, and why the first was chosen",
            {"model": DIGITS, "inputs": [_ZERO_PNG], "top_k": 3, "explain": "integrated_gradients"},
        ),
        "language": (
            "In which languages are these texts?",
            {"model": LANGUAGES, "inputs": [*_SAME_DAY, "Denmark, Norway, and Sweden"], "top_k": 2},
        ),
    },
    "detect": {
        "digits": (
            "Digits in a picture, with boxes in its pixels",
            {"model": "digits-detector", "inputs": [_ZERO_ON_PAPER_PNG], "threshold": 0.3, "max_detections": 10},
        ),
    },
    "segment": {
        "ink": (
            "Which pixels are ink? A mask as a picture, and its share",
            {"model": "digits-segmenter", "inputs": [_ZERO_ON_PAPER_PNG]},
        ),
    },
    "embed": {
        "same": (
            "Are two pictures the same digit?",
            {"model": "digits-matcher", "inputs": [_ZERO_PNG], "compare": [_ZERO], "encoding": "base64"},
        ),
        "same language": (
            "Are two texts in one language?",
            {"model": LANGUAGES, "inputs": ["vendredi 13 mars 2026"], "compare": ["trois heures et demie"]},
        ),
    },
    "regress": {
        "progression": (
            "How much diabetes will progress, from ten measurements by name",
            {"model": "diabetes-regressor", "inputs": [_MEASUREMENTS]},
        ),
    },
    "predict_sequence": {
        "intervals": (_OF_INTERVALS, {**_YEARS, **_INTERVALS}),
        "further inputs": (
            "Sea temperatures of the next six months; month 11 is December, counted from 0",
            {"model": "elnino-forecaster", "inputs": [{"values": _SEA_CELSIUS, "month": 11}]},
        ),
        "text": (
            "A date from English into German",
            {"model": "date-translator", "inputs": ["Saturday, December 31, 2022"]},
        ),
        "caption": (
            "Which digits are where in a picture? A sentence, the likeliest of three",
            {"model": "digits-captioner", "inputs": [_ZERO_ON_PAPER_PNG], "beams": 3},
        ),
        "stream": ("An event for each forecast year", {**_YEARS, "horizon": 3, "stream": True}),
    },
    "reconstruct": {
        "denoise": ("Remove the noise from a digit", {"model": "digits-denoiser", "inputs": [_ZERO]}),
        "anomaly": (
            "Is this a digit, and where does it look wrong? In pictures",
            {"model": "digits-vae", "inputs": [_ZERO_PNG], "error_map": True, **_PICTURES},
        ),
    },
    "pipeline": {
        "read": (
            "Find the digits of a picture, cut each out and classify it",
            {"model": "digits-reader", "inputs": [_ZERO_ON_PAPER_PNG]},
        ),
    },
    "generate": {
        "labels": ("Three digits", {"model": "digits-gan", "labels": ["3", "1", "4"], "seed": 1}),
        "diffusion": (
            "A seven by a diffusion of twenty steps",
            {"model": "digits-diffusion", "labels": ["7"], "steps": 20, "guidance": 1.0, "seed": 1},
        ),
        "interpolate": (
            "From one eight to another, in pictures",
            {"model": "digits-vae", "count": 5, "labels": ["8"], "interpolate": {"seeds": [1, 2]}, **_PICTURES},
        ),
        "stream": (
            "Previews of a running diffusion",
            {"model": "digits-diffusion", "labels": ["5"], "steps": 4, "seed": 1, "stream": True},
        ),
    },
}
"""Task -> name of an example -> (what it shows, the body)."""

_IMAGE = {"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [_ZERO]}
_STEPS = {"value": 0.2, "noise": 0.0, "steps": 3}
_SERIES = {"type": "univariate_time_series", "name": "sunspots", "series": _SUNSPOTS, "frequency": "Y"}

MODELS: Mapping[str, str] = {
    "/v2/models/{model}/generate": "sunspots-forecaster",
    "/v2/models/{model}/generate_stream": "sunspots-forecaster",
    "/v2/repository/models/{model}/load": "digits-style",  # which no other example needs
    "/v2/repository/models/{model}/unload": "digits-style",
}
"""Path -> the model of its examples, where that is not the classifier of digits."""

PROTOCOL: Mapping[str, Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "/v2/models/{model}/infer": {
        "digit": ("All outputs for a digit", {"id": "1", "inputs": [_IMAGE]}),
        "classes": (
            "The three most probable digits, as value:index:label",
            {
                "inputs": [_IMAGE],
                "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}],
                "parameters": {"priority": 1, "timeout": 10_000_000},
            },
        ),
        "binary": (
            "The answer as JSON, followed by the bytes of the outputs",
            {"inputs": [_IMAGE], "parameters": {"binary_data_output": True}},
        ),
    },
    "/v2/models/{model}/generate": {"steps": ("Three steps of a forecaster, on its own scale", _STEPS)},
    "/v2/models/{model}/generate_stream": {"steps": ("An event for each step", _STEPS)},
    "/v2/repository/index": {
        "ready": ("Only versions that serve", {"ready": True}),
        "all": ("All versions", {}),
    },
    "/v2/repository/models/{model}/load": {
        "newest": ("The newest version", {}),
        "version": ("This version, or the one of an alias", {"parameters": {"version": "1"}}),
    },
    "/v2/repository/models/{model}/unload": {"all": ("All versions", {})},
    "/v2/trace/setting": {
        "on": ("One request in a hundred", {"trace_level": ["TIMESTAMPS"], "trace_rate": "100"}),
        "off": ("No more", {"trace_level": ["OFF"]}),
    },
    "/v2/models/{model}/trace/setting": {
        "on": ("Ten requests", {"trace_level": ["TIMESTAMPS"], "trace_rate": "1", "trace_count": "10"}),
        "back": ("As the server", {"trace_level": None, "trace_rate": None, "trace_count": None}),
    },
    "/v2/logging": {
        "verbose": ("Debug messages too", {"log_verbose_level": 1}),
        "usual": ("The default", {"log_verbose_level": 0, "log_info": True}),
    },
    "/v2/systemsharedmemory/region/{region}/register": {
        "frames": ("The first 256 bytes of /dev/shm/frames-1", {"key": "/frames-1", "offset": 0, "byte_size": 256})
    },
    "/v1/models/{model}:predict": {"digit": ("All outputs for a digit", {"instances": [_ZERO]})},
    "/v1/models/{model}:explain": {"digit": ("Why the label was chosen", {"instances": [_ZERO]})},
    "/v1/embeddings": {
        "texts": ("A vector for each text, as base64", {"model": LANGUAGES, "input": _SAME_DAY, **_BASE64})
    },
    "/v1/timeseries/forecast": {
        "intervals": (
            _OF_INTERVALS,
            {
                "model": "sunspots-forecaster",
                "inputs": [{**_SERIES, "start_timestamp": "1996-07-01"}],
                "options": _INTERVALS,
            },
        )
    },
}
"""Path of the protocols -> name of an example -> (what it shows, the body)."""
