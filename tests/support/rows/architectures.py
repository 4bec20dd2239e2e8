"""Common networks, small and with random weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.support.rows.networks import Detector, Tagger, UNet  # noqa: E402

BATCH, LENGTH, HEIGHT, WIDTH = "batch", "length", "height", "width"
_ROWS = {0: BATCH}
_TEXT = {0: BATCH, 1: LENGTH}
_PICTURE = {0: BATCH, 2: HEIGHT, 3: WIDTH}
_VOCABULARY = 99
_TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_WORDS = {"vocab_size": _VOCABULARY, "max_position_embeddings": 64}
_PATCHES = {"image_size": 32, "patch_size": 8}
_LABELS = {"num_labels": 4}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A module, example inputs for it in the order of its arguments, and which axes of each input may vary."""

    module: Any
    inputs: dict[str, Any]
    outputs: tuple[str, ...]
    dynamic: dict[str, dict[int, str]]


class Call(torch.nn.Module):
    """A network of `transformers` that is called by the names of its arguments and gives some of its outputs."""

    def __init__(self, network: Any, names: Sequence[str], outputs: Sequence[str], **fixed: Any) -> None:
        super().__init__()
        self.network, self.names, self.outputs, self.fixed = network, tuple(names), tuple(outputs), fixed

    def forward(self, *tensors: Any) -> Any:
        given = dict(zip(self.names, tensors, strict=True))
        answer = self.network(**given, **self.fixed)
        picked = tuple(getattr(answer, name) for name in self.outputs)
        return picked[0] if len(picked) == 1 else picked


def _build(name: str, **sizes: Any) -> Any:
    """A network of `transformers`, of which the configuration has these sizes."""
    network = getattr(transformers, name)
    return network(network.config_class(**sizes))


def call(
    network: Any, inputs: dict[str, Any], dynamic: dict[str, dict[int, str]], *outputs: str, **fixed: Any
) -> Architecture:
    module = Call(network, tuple(inputs), outputs, **fixed)
    return Architecture(module=module, inputs=inputs, outputs=outputs, dynamic=dynamic)


def _picture(network: Any, *outputs: str, free: bool = True, size: int = 64, **fixed: Any) -> Architecture:
    """``free``: height and width may vary too."""
    inputs = {"pixel_values": torch.rand(3, 3, size, 96 if free else size)}
    return call(network, inputs, {"pixel_values": _PICTURE if free else _ROWS}, *(outputs or ("logits",)), **fixed)


def _ids(rows: int = 3, length: int = 7) -> Any:
    return torch.randint(3, _VOCABULARY, (rows, length))


def _mask(rows: int = 3, length: int = 7) -> Any:
    mask = torch.ones(rows, length, dtype=torch.int64)
    mask[1, length - 3 :] = 0
    return mask


def _text(network: Any, *outputs: str, masked: bool = True, free: bool = True, **fixed: Any) -> Architecture:
    """``masked``: the caller gives the attention mask; ``free``: the length may vary."""
    inputs = {"input_ids": _ids()} | ({"attention_mask": _mask()} if masked else {})
    axes = _TEXT if free else _ROWS
    return call(network, inputs, dict.fromkeys(inputs, axes), *(outputs or ("logits",)), **fixed)


def _detr(masked: bool = False) -> Architecture:
    backbone = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"])
    source = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
    network = _build(
        "DetrForObjectDetection", **source, backbone_config=backbone, **_coder(1, "ffn_dim"), num_queries=5, **_LABELS
    )
    inputs = {"pixel_values": torch.rand(3, 3, 64, 64)}
    inputs |= {"pixel_mask": torch.ones(3, 64, 64, dtype=torch.int64)} if masked else {}
    return call(network, inputs, dict.fromkeys(inputs, _ROWS), "logits", "pred_boxes")


def _coder(layers: int, width: str) -> Mapping[str, Any]:
    """Sizes of an encoder of so many layers and a decoder of one."""
    sizes = {
        f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("attention_heads", 4), (width, 64))
    }
    return {"d_model": 32, "encoder_layers": layers, "decoder_layers": 1, **sizes}


class Translator(torch.nn.Module):
    """A step of a translation: the tokens so far, and what the encoder gave."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, *tensors: Any) -> Any:
        tokens, states, mask = tensors
        outputs = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=states)
        return self.network(decoder_input_ids=tokens, encoder_outputs=outputs, attention_mask=mask).logits


def _translator() -> Architecture:
    module = Translator(_build("T5ForConditionalGeneration", **_T5))
    inputs = {
        "decoder_input_ids": _ids(length=5),
        "encoder_hidden_states": torch.randn(3, 9, 32),
        "encoder_attention_mask": _mask(length=9),
    }
    source = {0: BATCH, 1: "source"}
    dynamic = {"decoder_input_ids": _TEXT, "encoder_hidden_states": source, "encoder_attention_mask": source}
    return Architecture(module=module, inputs=inputs, outputs=("logits",), dynamic=dynamic)


def _sound(masked: bool = False, free: bool = True) -> Architecture:
    network = _build(
        "Wav2Vec2ForCTC", **_TINY, vocab_size=20, conv_dim=(16, 16), conv_stride=(5, 2), conv_kernel=(10, 3),
        num_feat_extract_layers=2, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    inputs = {"input_values": torch.randn(3, 400)} | ({"attention_mask": _mask(length=400)} if masked else {})
    return call(network, inputs, dict.fromkeys(inputs, _TEXT if free else _ROWS), "logits")


def _one(network: Any, name: str, shape: Sequence[int], output: str) -> Architecture:
    """One input of random numbers, of which only the rows may vary."""
    return call(network, {name: torch.randn(*shape)}, {name: _ROWS}, output)


def _tagger(kind: str, layers: int = 1, both: bool = False) -> Architecture:
    module = Tagger(kind, _VOCABULARY, layers, both)
    return Architecture(module=module, inputs={"ids": _ids(length=9)}, outputs=("scores",), dynamic={"ids": _TEXT})


def _yolo(free: bool = True) -> Architecture:
    dynamic = {"images": _PICTURE if free else _ROWS}
    images = {"images": torch.rand(3, 3, 64, 96)}
    return Architecture(module=Detector(), inputs=images, outputs=("detections",), dynamic=dynamic)


def _unet() -> Architecture:
    picture = {"picture": torch.rand(3, 3, 32, 48)}
    return Architecture(module=UNet(), inputs=picture, outputs=("mask",), dynamic={"picture": _PICTURE})


def _classifier(
    family: str, free: bool = True, size: int = 64, how: Mapping[str, Any] | None = None, **sizes: Any
) -> Any:
    """A classifier of pictures. ``how`` says how it is called."""
    return lambda: _picture(
        _build(f"{family}ForImageClassification", **sizes, **_LABELS), free=free, size=size, **(how or {})
    )


def _reader(name: str, *outputs: str, masked: bool = True, free: bool = True, **sizes: Any) -> Any:
    """A network of texts."""
    return lambda: _text(_build(name, **sizes), *outputs, masked=masked, free=free)


_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
_STAGES = {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}
_EFFICIENT = {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320}
_SWIN = {
    "image_size": 64, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4,
    "attn_implementation": "eager",
}  # fmt: skip
_SEGFORMER = {**_STAGES, "num_attention_heads": [1, 2, 2, 4], "decoder_hidden_size": 16}
_BERT = {**_TINY, **_WORDS, **_LABELS}
_DISTILBERT = {**_WORDS, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, **_LABELS}
_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
_GPT2 = {"vocab_size": _VOCABULARY, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, **_SPECIAL}
_LLAMA = {**_TINY, **_WORDS, "num_key_value_heads": 2}
_T5 = {
    "vocab_size": _VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
    "use_cache": False, "attn_implementation": "eager",
}  # fmt: skip
_WHISPER = {
    **_coder(2, "ffn_dim"), "vocab_size": _VOCABULARY, "num_mel_bins": 16, "max_source_positions": 40,
    "max_target_positions": 20, "pad_token_id": 0, **_SPECIAL, "decoder_start_token_id": 1,
}  # fmt: skip
_AST = {**_TINY, "patch_size": 8, "frequency_stride": 8, "time_stride": 8, "max_length": 32, "num_mel_bins": 16}
_PATCHTST = {
    "num_input_channels": 2, "context_length": 32, "patch_length": 8, "patch_stride": 8, "prediction_length": 4,
    "d_model": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64, "share_embedding": True,
}  # fmt: skip


def _segformer(free: bool) -> Architecture:
    return _picture(_build("SegformerForSemanticSegmentation", **_SEGFORMER, **_LABELS), free=free)


ARCHITECTURES: dict[str, Callable[[], Architecture]] = {
    "resnet": _classifier("ResNet", **_RESNET),
    "resnet-fixed": _classifier("ResNet", free=False, **_RESNET),
    "regnet": _classifier("RegNet", **_RESNET, groups_width=4),
    "mobilenet-v1": _classifier("MobileNetV1", depth_multiplier=0.25),
    "mobilenet-v1-fixed": _classifier("MobileNetV1", free=False, depth_multiplier=0.25),
    "mobilenet-v2": _classifier("MobileNetV2", depth_multiplier=0.25),
    "mobilenet-v2-fixed": _classifier("MobileNetV2", free=False, depth_multiplier=0.25),
    "efficientnet": _classifier("EfficientNet", free=False, **_EFFICIENT, initializer_range=0.5),
    "convnext": _classifier("ConvNext", **_STAGES),
    "convnext-fixed": _classifier("ConvNext", free=False, **_STAGES),
    "vit": _classifier("ViT", free=False, size=32, **_TINY, **_PATCHES),
    "vit-of-any-size": _classifier("ViT", how={"interpolate_pos_encoding": True}, **_TINY, **_PATCHES),
    "dinov2": lambda: _picture(
        _build("Dinov2Model", **_TINY, **_PATCHES), "last_hidden_state", "pooler_output", free=False, size=32
    ),
    "swin": _classifier("Swin", free=False, **_SWIN),
    "swin-of-any-size": _classifier("Swin", **_SWIN),
    "segformer": lambda: _segformer(free=True),
    "segformer-fixed": lambda: _segformer(free=False),
    "detr": _detr,
    "detr-mask": lambda: _detr(masked=True),
    "yolos": lambda: _picture(
        _build(
            "YolosForObjectDetection", **_TINY, image_size=[32, 32], patch_size=8, num_detection_tokens=5, **_LABELS
        ),
        "logits", "pred_boxes", free=False, size=32,
    ),
    "clip-vision": lambda: _picture(
        _build("CLIPVisionModelWithProjection", **_TINY, **_PATCHES, projection_dim=16),
        "image_embeds", free=False, size=32,
    ),
    "bert": _reader("BertForSequenceClassification", **_BERT),
    "bert-no-mask": _reader("BertForSequenceClassification", masked=False, **_BERT),
    "bert-fixed": _reader("BertForSequenceClassification", free=False, **_BERT),
    "distilbert": _reader("DistilBertForSequenceClassification", **_DISTILBERT),
    "distilbert-no-mask": _reader("DistilBertForSequenceClassification", masked=False, **_DISTILBERT),
    "roberta": _reader("RobertaForTokenClassification", **_BERT),
    "roberta-no-mask": _reader("RobertaForTokenClassification", masked=False, **_BERT),
    "albert": _reader("AlbertModel", "last_hidden_state", **_TINY, **_WORDS, embedding_size=16),
    "mpnet": _reader("MPNetModel", "last_hidden_state", **_TINY, **_WORDS),
    "gpt2": _reader("GPT2LMHeadModel", **_GPT2, use_cache=False),
    "gpt2-no-mask": _reader("GPT2LMHeadModel", masked=False, **_GPT2, use_cache=False),
    "llama": _reader("LlamaForCausalLM", **_LLAMA, use_cache=False),
    "llama-no-mask": _reader("LlamaForCausalLM", masked=False, **_LLAMA, use_cache=False),
    "t5-encoder": _reader("T5EncoderModel", "last_hidden_state", **_T5),
    "t5-decoder": _translator,
    "wav2vec2": _sound,
    "wav2vec2-mask": lambda: _sound(masked=True),
    "wav2vec2-fixed": lambda: _sound(free=False),
    "whisper-encoder": lambda: _one(
        _build("WhisperModel", **_WHISPER).get_encoder(), "input_features", (3, 16, 80), "last_hidden_state"
    ),
    "audio-spectrogram-transformer": lambda: _one(
        _build("ASTForAudioClassification", **_AST), "input_values", (3, 32, 16), "logits"
    ),
    "patchtst": lambda: _one(
        _build("PatchTSTForPrediction", **_PATCHTST), "past_values", (3, 32, 2), "prediction_outputs"
    ),
    "lstm": lambda: _tagger("LSTM"),
    "lstm-two-layers-both-ways": lambda: _tagger("LSTM", layers=2, both=True),
    "gru": lambda: _tagger("GRU"),
    "gru-two-layers-both-ways": lambda: _tagger("GRU", layers=2, both=True),
    "unet": _unet,
    "yolo": _yolo,
    "yolo-fixed": lambda: _yolo(free=False),
}  # fmt: skip


def make(name: str) -> Architecture:
    """The architecture with weights that are the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        architecture = ARCHITECTURES[name]()
    architecture.module.eval()
    _settle(architecture)
    return architecture


def _settle(architecture: Architecture) -> None:
    """Give batch norms statistics as after training. Without them deep random networks give all rows the same."""
    norms = [m for m in architecture.module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    if norms:
        with torch.no_grad():
            architecture.module(*architecture.inputs.values())
    for norm in norms:
        norm.eval()


def draw(architecture: Architecture, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """``rows`` different rows of inputs, of the sizes of the examples."""
    generator = np.random.default_rng(seed)
    drawn = {}
    for name, example in architecture.inputs.items():
        shape = (rows, *example.shape[1:])
        if example.is_floating_point():
            drawn[name] = generator.standard_normal(shape).astype(np.float32)
        elif "mask" in name:
            drawn[name] = np.ones(shape, np.int64)
        else:
            drawn[name] = generator.integers(3, _VOCABULARY, shape)
    return drawn
