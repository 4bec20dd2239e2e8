"""Networks of `transformers` with random weights are exported, proved and served."""

import asyncio
from typing import Any

import numpy as np
import pytest

from export import ExportSpec, publish
from model_store import Store
from model_store.tasks import Classes
from service.settings import Settings
from tests.support.servers import ClosingWorker

torch = pytest.importorskip("torch")
architectures = pytest.importorskip("tests.support.rows.architectures", exc_type=ImportError)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PICTURES = {"task": "classify", "labels": ("a", "b", "c", "d"), "classes": Classes(probabilities="logits")}
TEXTS = {"task": "tensors"}


@pytest.mark.parametrize(
    ("name", "fields"), [("resnet-fixed", PICTURES), ("vit", PICTURES), ("bert", TEXTS), ("gpt2-no-mask", TEXTS)]
)
@pytest.mark.filterwarnings("ignore")  # of the libraries, about themselves
def test_architecture_is_exported_proved_and_served(
    store: Store, one_thread: None, name: str, fields: dict[str, Any]
) -> None:
    """Parity holds at sizes that were not traced, and the engine gives what PyTorch gives."""
    made = architectures.make(name)
    known = {"module": made.module, "inputs": made.inputs, "outputs": made.outputs, "dynamic": made.dynamic}
    spec = ExportSpec(name=name, **known, **fields, batches=(1, 2, 5), seeds=(0,))
    version = publish(spec, store)
    parity = version.read_manifest().parity
    assert parity is not None
    assert {case.rows for case in parity.rungs} == {1, 2, 5}
    golden = version.read_golden(version.read_manifest())
    assert golden is not None

    async def serve() -> dict[str, np.ndarray]:
        worker = ClosingWorker(Settings(store=store.root))
        await worker.registry.load_all()
        model = worker.registry.find(spec.name)
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        model.dispatcher.submit(model.signature.check(golden.inputs), answered.set_result)
        answer = await answered
        await worker.stop()
        return dict(answer.outputs)

    served = asyncio.run(serve())
    with torch.no_grad():
        expected = spec.module.eval()(*(torch.from_numpy(a) for a in golden.inputs.values()))
    assert np.allclose(served["logits"], expected.numpy(), atol=1e-5)
