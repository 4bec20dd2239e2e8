"""The prediction service. ``service:InferenceService`` is what BentoML serves and builds."""

from typing import Any


def __getattr__(name: str) -> Any:
    # BentoML is imported only when it serves: the engine and its tests do not need it.
    if name == "InferenceService":
        from service.app import InferenceService

        return InferenceService
    raise AttributeError(f"module 'service' has no attribute {name!r}")
