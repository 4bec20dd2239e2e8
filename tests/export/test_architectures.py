"""Architectures as people have them: networks of `transformers` with random weights go the whole way to a server."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from export import ExportSpec, publish
from model_store import Store
from model_store.tasks import Classes
from service.settings import Settings
from service.worker import Worker

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Scores(torch.nn.Module):
    """The network's logits alone; its inputs are called as the network calls them."""

    def __init__(self, network: Any, *names: str) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, first: Any, second: Any = None) -> Any:
        given = [first] if second is None else [first, second]
        return self.network(**dict(zip(self.names, given, strict=True))).logits


def make_resnet() -> ExportSpec:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=4)
    return make_picture_classifier("resnet", transformers.ResNetForImageClassification(config))


def make_vit() -> ExportSpec:
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        num_labels=4,
    )
    return make_picture_classifier("vit", transformers.ViTForImageClassification(config))


def make_picture_classifier(name: str, network: Any) -> ExportSpec:
    return ExportSpec(
        name=name,
        task="classify",
        module=Scores(network, "pixel_values"),
        inputs={"pixels": torch.rand(3, 3, 32, 32)},
        outputs=("logits",),
        labels=("a", "b", "c", "d"),
        classes=Classes(probabilities="logits"),
        batches=(1, 2, 5),
        seeds=(0,),
    )


def make_bert() -> ExportSpec:
    config = transformers.BertConfig(
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=4,
    )
    ids = torch.randint(0, 99, (3, 7))
    mask = torch.ones(3, 7, dtype=torch.int64)
    mask[1, 4:] = 0
    return ExportSpec(
        name="bert",
        task="tensors",
        module=Scores(transformers.BertForSequenceClassification(config), "input_ids", "attention_mask"),
        inputs={"ids": ids, "mask": mask},
        outputs=("logits",),
        dynamic={"ids": {0: "batch", 1: "time"}, "mask": {0: "batch", 1: "time"}},
        batches=(1, 2, 5),
        seeds=(0,),
    )


def make_gpt2() -> ExportSpec:
    config = transformers.GPT2Config(vocab_size=99, n_positions=64, n_embd=32, n_layer=2, n_head=4, use_cache=False)
    return ExportSpec(
        name="gpt2",
        task="tensors",
        module=Scores(transformers.GPT2LMHeadModel(config), "input_ids"),
        inputs={"ids": torch.randint(0, 99, (3, 7))},
        outputs=("logits",),
        dynamic={"ids": {0: "batch", 1: "time"}},
        batches=(1, 2, 5),
        seeds=(0,),
    )


@pytest.mark.parametrize("make", [make_resnet, make_vit, make_bert, make_gpt2])
@pytest.mark.filterwarnings("ignore")  # of the libraries, about themselves
def test_architecture_is_exported_proved_and_served(
    make: Callable[[], ExportSpec], store: Store, one_thread: None
) -> None:
    """Its parity holds at sizes that were not traced, and the engine gives what PyTorch gives."""
    spec = make()
    version = publish(spec, store)
    parity = version.read_manifest().parity
    assert parity is not None
    assert {case.rows for case in parity.rungs} == {1, 2, 5}
    golden = version.read_golden(version.read_manifest())
    assert golden is not None

    async def serve() -> dict[str, np.ndarray]:
        worker = Worker(Settings(store=store.root))
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
