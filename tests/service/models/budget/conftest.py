import pytest

from service.models.lifecycle import versions


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version takes the bytes of its weights: how much a small one really takes depends on the machine."""
    monkeypatch.setattr(versions, "read_memory", lambda on_cpu: 0)
