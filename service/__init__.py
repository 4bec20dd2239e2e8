"""The prediction service. ``service:InferenceService`` is what BentoML serves and builds."""

from typing import Any


def __getattr__(name: str) -> Any:
    # BentoML is imported only when it is about to serve: the engine and its tests do without.
    if name == "InferenceService":
        from service.app import InferenceService

        return InferenceService
    raise AttributeError(f"module 'service' has no attribute {name!r}")
