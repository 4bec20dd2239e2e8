"""A client of Sluice servers: pictures, texts, sounds, tables and arrays in, dataclasses out.

``Client`` is for programs without asyncio, ``AsyncClient`` for those with it. Answers are in ``sluice_client.answers``,
errors in ``sluice_client.errors``.
"""

from sluice_client.async_client import AsyncClient
from sluice_client.calls import Tensors
from sluice_client.client import Client
from sluice_client.errors import Refused, SluiceError
from sluice_client.files import Picture, Sound
from sluice_client.retry import Retry

__all__ = ["AsyncClient", "Client", "Picture", "Refused", "Retry", "SluiceError", "Sound", "Tensors"]
__version__ = "0.2.0"
