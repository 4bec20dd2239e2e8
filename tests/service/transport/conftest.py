from collections.abc import Iterator

import pytest

from tests.support.connections.turns import Turn, turns
from tests.support.servers import Serving


@pytest.fixture
def turn(server: Serving) -> Iterator[Turn]:
    with turns(server) as turn:
        yield turn
