"""The dataclasses of all answers: of tasks and what is in them, model cards, metadata."""

from sluice_client.api.answers import *  # noqa: F403
from sluice_client.api.details import *  # noqa: F403
from sluice_client.api.protocol import *  # noqa: F403
from sluice_client.calls import Tensors as Tensors
from sluice_client.meta import Meta as Meta
