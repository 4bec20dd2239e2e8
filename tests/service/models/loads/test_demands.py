"""Requests that wait for a load."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from service.errors import StillLoading
from service.metrics.meters import Metrics
from service.models.entry import ModelEntry
from service.models.lifecycle.demand import Demands


class Request:
    went_on = False

    def go_on(self) -> None:
        self.went_on = True


def test_nothing_is_kept_of_requests_that_wait_no_longer() -> None:
    """Callers who come and go during a long load do not fill the memory; those who wait are answered."""

    async def scenario() -> None:
        may_load = asyncio.Event()

        async def load(*_: Any) -> None:
            await may_load.wait()

        demands = Demands(True, Metrics(), lambda: 0.0, load, load, lambda: None)
        model_entry = ModelEntry()

        def wait(request: Request) -> Any:
            with pytest.raises(StillLoading) as refusal:
                demands.check("m", model_entry, None)
            return refusal.value.when_loaded(request.go_on)

        stays, goes = Request(), Request()
        wait(stays)
        withdraw = wait(goes)
        withdraw()
        left = weakref.ref(goes)
        del goes, withdraw
        gc.collect()
        assert left() is None
        may_load.set()
        await demands.end()
        await asyncio.sleep(0)
        assert stays.went_on

    asyncio.run(scenario())
