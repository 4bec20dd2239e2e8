"""Networks as people have them, small and with random weights, and their ONNX files by both of PyTorch's exporters."""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch.export._patches import (  # noqa: E402  # behind the check that torch is there
    register_gru_while_loop_decomposition,
    register_lstm_while_loop_decomposition,
)

from tests.support.rows.networks import Detector, Tagger, UNet  # noqa: E402

BATCH, LENGTH, HEIGHT, WIDTH = "batch", "length", "height", "width"
_ROWS = {0: BATCH}
_TEXT = {0: BATCH, 1: LENGTH}
_PICTURE = {0: BATCH, 2: HEIGHT, 3: WIDTH}
_TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_VOCABULARY = 99


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


def call(
    network: Any, inputs: dict[str, Any], dynamic: dict[str, dict[int, str]], *outputs: str, **fixed: Any
) -> Architecture:
    module = Call(network, tuple(inputs), outputs, **fixed)
    return Architecture(module=module, inputs=inputs, outputs=outputs, dynamic=dynamic)


def _pixels(size: int = 64) -> dict[str, Any]:
    return {"pixel_values": torch.rand(3, 3, size, size + 32 if size == 64 else size)}


def _square(size: int = 64) -> dict[str, Any]:
    return {"pixel_values": torch.rand(3, 3, size, size)}


def _picture(network: Any, *outputs: str, free: bool = True, size: int = 64, **fixed: Any) -> Architecture:
    """``free``: height and width may vary too."""
    inputs = _pixels(size) if free else _square(size)
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


# Pictures


def make_resnet(free: bool = True) -> Architecture:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=4)
    return _picture(transformers.ResNetForImageClassification(config), free=free)


def make_regnet() -> Architecture:
    config = transformers.RegNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=4, num_labels=4
    )
    return _picture(transformers.RegNetForImageClassification(config))


def make_mobilenet_v1(free: bool = True) -> Architecture:
    config = transformers.MobileNetV1Config(depth_multiplier=0.25, num_labels=4)
    return _picture(transformers.MobileNetV1ForImageClassification(config), free=free)


def make_mobilenet_v2(free: bool = True) -> Architecture:
    config = transformers.MobileNetV2Config(depth_multiplier=0.25, num_labels=4)
    return _picture(transformers.MobileNetV2ForImageClassification(config), free=free)


def make_efficientnet() -> Architecture:
    config = transformers.EfficientNetConfig(
        image_size=64,
        width_coefficient=0.25,
        depth_coefficient=0.25,
        hidden_dim=320,
        initializer_range=0.5,
        num_labels=4,
    )
    return _picture(transformers.EfficientNetForImageClassification(config), free=False)


def make_convnext(free: bool = True) -> Architecture:
    config = transformers.ConvNextConfig(hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], num_labels=4)
    return _picture(transformers.ConvNextForImageClassification(config), free=free)


def make_vit() -> Architecture:
    config = transformers.ViTConfig(**_TINY, image_size=32, patch_size=8, num_labels=4)
    return _picture(transformers.ViTForImageClassification(config), free=False, size=32)


def make_vit_of_any_size() -> Architecture:
    config = transformers.ViTConfig(**_TINY, image_size=32, patch_size=8, num_labels=4)
    network = transformers.ViTForImageClassification(config)
    return _picture(network, interpolate_pos_encoding=True)


def make_dinov2() -> Architecture:
    config = transformers.Dinov2Config(**_TINY, image_size=32, patch_size=8)
    return _picture(transformers.Dinov2Model(config), "last_hidden_state", "pooler_output", free=False, size=32)


def make_swin(free: bool = False) -> Architecture:
    config = transformers.SwinConfig(
        image_size=64,
        patch_size=4,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
        num_labels=4,
        attn_implementation="eager",
    )
    return _picture(transformers.SwinForImageClassification(config), free=free)


def make_segformer(free: bool = True) -> Architecture:
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 16, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 2, 4],
        decoder_hidden_size=16,
        num_labels=4,
    )
    return _picture(transformers.SegformerForSemanticSegmentation(config), free=free)


def make_detr(masked: bool = False) -> Architecture:
    backbone = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"])
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_queries=5,
        num_labels=4,
    )
    inputs = _square() | ({"pixel_mask": torch.ones(3, 64, 64, dtype=torch.int64)} if masked else {})
    network = transformers.DetrForObjectDetection(config)
    return call(network, inputs, dict.fromkeys(inputs, _ROWS), "logits", "pred_boxes")


def make_yolos() -> Architecture:
    config = transformers.YolosConfig(**_TINY, image_size=[32, 32], patch_size=8, num_detection_tokens=5, num_labels=4)
    return _picture(transformers.YolosForObjectDetection(config), "logits", "pred_boxes", free=False, size=32)


def make_clip() -> Architecture:
    vision = {**_TINY, "image_size": 32, "patch_size": 8, "projection_dim": 16}
    config = transformers.CLIPVisionConfig(**vision)
    return _picture(transformers.CLIPVisionModelWithProjection(config), "image_embeds", free=False, size=32)


# Texts


def make_bert(**how: bool) -> Architecture:
    config = transformers.BertConfig(**_TINY, vocab_size=_VOCABULARY, max_position_embeddings=64, num_labels=4)
    return _text(transformers.BertForSequenceClassification(config), **how)


def make_distilbert(**how: bool) -> Architecture:
    config = transformers.DistilBertConfig(
        vocab_size=_VOCABULARY, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64, num_labels=4
    )
    return _text(transformers.DistilBertForSequenceClassification(config), **how)


def make_roberta(**how: bool) -> Architecture:
    config = transformers.RobertaConfig(**_TINY, vocab_size=_VOCABULARY, max_position_embeddings=64, num_labels=4)
    return _text(transformers.RobertaForTokenClassification(config), **how)


def make_albert() -> Architecture:
    config = transformers.AlbertConfig(**_TINY, embedding_size=16, vocab_size=_VOCABULARY, max_position_embeddings=64)
    return _text(transformers.AlbertModel(config), "last_hidden_state")


def make_mpnet() -> Architecture:
    config = transformers.MPNetConfig(**_TINY, vocab_size=_VOCABULARY, max_position_embeddings=64)
    return _text(transformers.MPNetModel(config), "last_hidden_state")


def make_gpt2(**how: bool) -> Architecture:
    config = transformers.GPT2Config(
        vocab_size=_VOCABULARY,
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=4,
        use_cache=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    return _text(transformers.GPT2LMHeadModel(config), **how)


def make_llama(**how: bool) -> Architecture:
    config = transformers.LlamaConfig(
        **_TINY, num_key_value_heads=2, vocab_size=_VOCABULARY, max_position_embeddings=64, use_cache=False
    )
    return _text(transformers.LlamaForCausalLM(config), **how)


def _t5() -> Any:
    return transformers.T5Config(
        vocab_size=_VOCABULARY,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        use_cache=False,
        attn_implementation="eager",
    )


def make_t5_encoder() -> Architecture:
    return _text(transformers.T5EncoderModel(_t5()), "last_hidden_state")


def make_t5_decoder() -> Architecture:
    """A step of translation: the tokens so far, and what the encoder gave."""
    network = transformers.T5ForConditionalGeneration(_t5())

    class Decoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *tensors: Any) -> Any:
            tokens, states, mask = tensors
            outputs = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=states)
            answer = self.network(decoder_input_ids=tokens, encoder_outputs=outputs, attention_mask=mask)
            return answer.logits

    inputs = {
        "decoder_input_ids": _ids(length=5),
        "encoder_hidden_states": torch.randn(3, 9, 32),
        "encoder_attention_mask": _mask(length=9),
    }
    source = {0: BATCH, 1: "source"}
    dynamic = {"decoder_input_ids": _TEXT, "encoder_hidden_states": source, "encoder_attention_mask": source}
    return Architecture(module=Decoder(), inputs=inputs, outputs=("logits",), dynamic=dynamic)


# Sound and series


def make_wav2vec2(masked: bool = False, free: bool = True) -> Architecture:
    config = transformers.Wav2Vec2Config(
        **_TINY,
        vocab_size=20,
        conv_dim=(16, 16),
        conv_stride=(5, 2),
        conv_kernel=(10, 3),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4,
    )
    inputs = {"input_values": torch.randn(3, 400)} | ({"attention_mask": _mask(length=400)} if masked else {})
    axes = _TEXT if free else _ROWS
    return call(transformers.Wav2Vec2ForCTC(config), inputs, dict.fromkeys(inputs, axes), "logits")


def make_whisper_encoder() -> Architecture:
    config = transformers.WhisperConfig(
        vocab_size=_VOCABULARY,
        d_model=32,
        num_mel_bins=16,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        max_source_positions=40,
        max_target_positions=20,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    network = transformers.WhisperModel(config).get_encoder()
    return call(network, {"input_features": torch.randn(3, 16, 80)}, {"input_features": _ROWS}, "last_hidden_state")


def make_audio_spectrogram_transformer() -> Architecture:
    config = transformers.ASTConfig(
        **_TINY, patch_size=8, frequency_stride=8, time_stride=8, max_length=32, num_mel_bins=16
    )
    network = transformers.ASTForAudioClassification(config)
    return call(network, {"input_values": torch.randn(3, 32, 16)}, {"input_values": _ROWS}, "logits")


def make_patchtst() -> Architecture:
    config = transformers.PatchTSTConfig(
        num_input_channels=2,
        context_length=32,
        patch_length=8,
        patch_stride=8,
        prediction_length=4,
        d_model=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=64,
        share_embedding=True,
    )
    network = transformers.PatchTSTForPrediction(config)
    return call(network, {"past_values": torch.randn(3, 32, 2)}, {"past_values": _ROWS}, "prediction_outputs")


# Networks of our own


def make_tagger(kind: str, layers: int = 1, both: bool = False) -> Architecture:
    module = Tagger(kind, _VOCABULARY, layers, both)
    return Architecture(module=module, inputs={"ids": _ids(length=9)}, outputs=("scores",), dynamic={"ids": _TEXT})


def make_unet() -> Architecture:
    picture = {"picture": torch.rand(3, 3, 32, 48)}
    return Architecture(module=UNet(), inputs=picture, outputs=("mask",), dynamic={"picture": _PICTURE})


def make_yolo(free: bool = True) -> Architecture:
    picture = {"images": torch.rand(3, 3, 64, 96)}
    dynamic = {"images": _PICTURE if free else _ROWS}
    return Architecture(module=Detector(), inputs=picture, outputs=("detections",), dynamic=dynamic)


ARCHITECTURES: dict[str, Callable[[], Architecture]] = {
    "resnet": make_resnet,
    "resnet-fixed": lambda: make_resnet(free=False),
    "regnet": make_regnet,
    "mobilenet-v1": make_mobilenet_v1,
    "mobilenet-v1-fixed": lambda: make_mobilenet_v1(free=False),
    "mobilenet-v2": make_mobilenet_v2,
    "mobilenet-v2-fixed": lambda: make_mobilenet_v2(free=False),
    "efficientnet": make_efficientnet,
    "convnext": make_convnext,
    "convnext-fixed": lambda: make_convnext(free=False),
    "vit": make_vit,
    "vit-of-any-size": make_vit_of_any_size,
    "dinov2": make_dinov2,
    "swin": make_swin,
    "swin-of-any-size": lambda: make_swin(free=True),
    "segformer": make_segformer,
    "segformer-fixed": lambda: make_segformer(free=False),
    "detr": make_detr,
    "detr-mask": lambda: make_detr(masked=True),
    "yolos": make_yolos,
    "clip-vision": make_clip,
    "bert": make_bert,
    "bert-no-mask": lambda: make_bert(masked=False),
    "bert-fixed": lambda: make_bert(free=False),
    "distilbert": make_distilbert,
    "distilbert-no-mask": lambda: make_distilbert(masked=False),
    "roberta": make_roberta,
    "roberta-no-mask": lambda: make_roberta(masked=False),
    "albert": make_albert,
    "mpnet": make_mpnet,
    "gpt2": make_gpt2,
    "gpt2-no-mask": lambda: make_gpt2(masked=False),
    "llama": make_llama,
    "llama-no-mask": lambda: make_llama(masked=False),
    "t5-encoder": make_t5_encoder,
    "t5-decoder": make_t5_decoder,
    "wav2vec2": make_wav2vec2,
    "wav2vec2-mask": lambda: make_wav2vec2(masked=True),
    "wav2vec2-fixed": lambda: make_wav2vec2(free=False),
    "whisper-encoder": make_whisper_encoder,
    "audio-spectrogram-transformer": make_audio_spectrogram_transformer,
    "patchtst": make_patchtst,
    "lstm": lambda: make_tagger("LSTM"),
    "lstm-two-layers-both-ways": lambda: make_tagger("LSTM", layers=2, both=True),
    "gru": lambda: make_tagger("GRU"),
    "gru-two-layers-both-ways": lambda: make_tagger("GRU", layers=2, both=True),
    "unet": make_unet,
    "yolo": make_yolo,
    "yolo-fixed": lambda: make_yolo(free=False),
}


UNSUPPORTED = {
    ("gpt2-no-mask", "script"): "this exporter has no aten::diff, which finds texts that share a row",
    ("llama-no-mask", "script"): "this exporter has no aten::diff, which finds texts that share a row",
    ("patchtst", "script"): "ONNX Runtime refuses the file: this exporter writes shapes that do not fit",
}
"""What cannot be had, and why."""


def make(name: str) -> Architecture:
    """The architecture with weights that are the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        architecture = ARCHITECTURES[name]()
    architecture.module.eval()
    _settle(architecture)
    return architecture


def _settle(architecture: Architecture) -> None:
    """Batch norms know what comes, as after training: else deep networks with random weights give all rows the same."""
    norms = [m for m in architecture.module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    if norms:
        with torch.no_grad():
            architecture.module(*architecture.inputs.values())
    for norm in norms:
        norm.eval()


def export_dynamo(architecture: Architecture, opset: int) -> bytes:
    """``torch.onnx.export(dynamo=True)``: the model as one file."""
    given = architecture.module.forward.__code__.co_flags & 4  # has *tensors
    axes = tuple(architecture.dynamic[name] for name in architecture.inputs)
    for operator in (torch.ops.aten.lstm.input, torch.ops.aten.gru.input):
        operator._dispatch_cache.clear()  # else the second recurrent network of a process takes the first one's kernel
    with _quiet(), register_lstm_while_loop_decomposition(), register_gru_while_loop_decomposition():
        program = torch.onnx.export(
            architecture.module,
            tuple(architecture.inputs.values()),
            dynamo=True,
            dynamic_shapes=(axes,) if given else axes,
            input_names=list(architecture.inputs),
            output_names=list(architecture.outputs),
            opset_version=opset,
            verbose=False,
        )
    content: bytes = program.model_proto.SerializeToString()
    return content


def export_script(architecture: Architecture, opset: int) -> bytes:
    """``torch.onnx.export(dynamo=False)``, which traces: the model as one file."""
    axes = dict(architecture.dynamic) | {name: {0: BATCH} for name in architecture.outputs}
    file = io.BytesIO()
    with _quiet():
        torch.onnx.export(
            architecture.module,
            tuple(architecture.inputs.values()),
            file,
            dynamo=False,
            dynamic_axes=axes,
            input_names=list(architecture.inputs),
            output_names=list(architecture.outputs),
            opset_version=opset,
        )
    return file.getvalue()


EXPORTERS: dict[str, Callable[[Architecture], bytes]] = {
    "dynamo": lambda architecture: export_dynamo(architecture, 20),
    "dynamo18": lambda architecture: export_dynamo(architecture, 18),
    "script": lambda architecture: export_script(architecture, 17),
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters print their progress and warn about themselves."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch", "onnxscript", "transformers")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


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
