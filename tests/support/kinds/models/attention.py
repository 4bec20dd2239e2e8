"""Kinds: masks, causal attention, and transformers whose inputs come in another order than forward's."""

import math
from importlib import import_module

import torch
from torch import nn
from torch.nn import functional

from tests.support.kinds.case import Axis, Kind, Kinds, ids, mask, normal, time, uniform

KINDS = Kinds()


@KINDS.add({"x": normal(3, time(4), 8), "mask": mask(3, time(4))}, fast=True)
def mask_keys(self, x, mask):
    """Scaled dot products with a boolean mask of the keys."""
    h = x.unflatten(-1, (2, 4)).transpose(1, 2)
    h = functional.scaled_dot_product_attention(h, h, h, attn_mask=mask[:, None, None, :])
    return h.transpose(1, 2).flatten(2)


@KINDS.add({"x": normal(3, time(7), 8)}, lambda: {"qkv": nn.Linear(8, 24)})
def mask_causal(self, x):
    q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.qkv(x).split(8, -1))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


@KINDS.add(
    {"x": normal(3, time(7), 8)}, lambda: {"tril": nn.Buffer(torch.tril(torch.ones(40, 40))), "qk": nn.Linear(8, 16)}
)
def mask_triangle(self, x):
    """A stored triangle for 40 places, cut to the length."""
    q, k = self.qk(x).chunk(2, -1)
    length = x.shape[1]
    scores = (q @ k.transpose(1, 2) / math.sqrt(8)).masked_fill(self.tril[:length, :length] == 0, float("-inf"))
    return scores.softmax(-1) @ x


@KINDS.add(
    {"x": normal(3, time(7), 8), "mask": mask(3, time(7))},
    lambda: {"attention": nn.MultiheadAttention(8, 2, batch_first=True)},
)
def mask_padding(self, x, mask):
    """nn.MultiheadAttention, whose mask says what does not count."""
    return self.attention(x, x, x, key_padding_mask=~mask, need_weights=False)[0]


@KINDS.add({"x": normal(3, time(7), 8), "attention_mask": mask(3, time(7), dtype="int64")})
def mask_additive(self, x, attention_mask):
    """A mask of ones and zeros becomes the least number there is."""
    bias = (1.0 - attention_mask[:, None, :].float()) * torch.finfo(torch.float32).min
    return (x @ x.transpose(1, 2) + bias).softmax(-1) @ x


def _encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=False)
    return {"encoder": nn.TransformerEncoder(layer, 2)}


@KINDS.add({"src": normal(3, time(7), 8), "mask": mask(3, time(7))}, _encoder)
def mask_encoder(self, src, mask):
    """torch's own encoder, which has a fast path that is not traced."""
    return self.encoder(src, src_key_padding_mask=~mask) * mask[..., None].float()


@KINDS.add(
    {"src": normal(3, time(7), 8), "tgt": normal(3, Axis(5, "target"), 8)},
    lambda: {"net": nn.Transformer(8, 2, 1, 1, 16, batch_first=True)},
)
def mask_decoder(self, src, tgt):
    """nn.Transformer, with a causal mask made in forward."""
    causal = nn.Transformer.generate_square_subsequent_mask(tgt.shape[1])
    return self.net(src, tgt, tgt_mask=causal)


@KINDS.add({"x": normal(3, time(7), 8)})
def mask_local(self, x):
    """Nobody sees further than three places."""
    places = torch.arange(x.shape[1])
    near = (places[:, None] - places[None, :]).abs() <= 3
    scores = (x @ x.transpose(1, 2)).masked_fill(~near, -1e4)
    return scores.softmax(-1) @ x


@KINDS.add({"x": normal(3, time(7), 8)}, lambda: {"bias": nn.Embedding(16, 2)})
def mask_relative(self, x):
    """Buckets of distances, as in T5: logarithms that become integers."""
    places = torch.arange(x.shape[1])
    far = (places[None, :] - places[:, None]).abs()
    steps = 4 + (torch.log(far.float().clamp(min=1) / 4) / math.log(32) * 12).long().clamp(max=11)
    bias = self.bias(torch.where(far < 4, far, steps)).permute(2, 0, 1)
    h = x.unflatten(-1, (2, 4)).transpose(1, 2)
    return ((h @ h.transpose(2, 3) + bias).softmax(-1) @ h).transpose(1, 2).flatten(2)


@KINDS.add(
    {"x": normal(3, time(7), 8)},
    lambda: {"frequencies": nn.Buffer(1.0 / 100 ** (torch.arange(0, 8, 2).float() / 8), persistent=False)},
)
def mask_rotary(self, x):
    angles = torch.arange(x.shape[1]).float()[:, None] * self.frequencies
    sin, cos = torch.cat([angles, angles], -1).sin(), torch.cat([angles, angles], -1).cos()
    first, second = x[..., :4], x[..., 4:]
    turned = x * cos + torch.cat([-second, first], -1) * sin
    return (turned @ turned.transpose(1, 2) / 3).softmax(-1) @ x


@KINDS.add({"attention_mask": mask(3, time(7), dtype="int64"), "hidden": normal(3, time(7), 8)})
def mask_mean(self, hidden, attention_mask):
    """The mean over what counts, of unit length."""
    weights = attention_mask.unsqueeze(-1).float()
    pooled = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-6)
    return functional.normalize(pooled, dim=-1, eps=1e-6)


_WORDS = {"layers": lambda: {"words": nn.Embedding(50, 8), "kinds": nn.Embedding(2, 8)}}
_TEXT = {"input_ids": ids(3, time(10), table=50), "token_type_ids": ids(3, time(10), table=2)}


@KINDS.add(
    {**_TEXT, "attention_mask": mask(3, time(10), dtype="int64")}, outputs=("last", "pooled"), fast=True, **_WORDS
)
@KINDS.add(_TEXT, name="order-skipped", outputs=("last", "pooled"), fast=True, **_WORDS)
@KINDS.add({"input_ids": ids(3, time(10), table=50)}, name="order-outputs", outputs=("pooled", "last"), **_WORDS)
def order_swapped(self, input_ids, attention_mask=None, token_type_ids=None):
    """Three inputs, two of which may be left out; a dictionary comes back."""
    hidden = self.words(input_ids)
    if token_type_ids is not None:
        hidden = hidden + self.kinds(token_type_ids)
    weights = 1.0 if attention_mask is None else attention_mask.float()[..., None]
    return {"last": hidden[:, 0], "pooled": (hidden * weights).mean(1)}


def _network(name: str, **sizes):
    """A network of `transformers` of these sizes, with 60 words."""

    def make():
        network = getattr(import_module("transformers"), name)
        return network(network.config_class(vocab_size=60, **sizes))

    return make


_BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_DISTILBERT = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "use_cache": False}
_WHISPER = {
    "num_mel_bins": 8, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_source_positions": 12,
    "max_target_positions": 80, "use_cache": False, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1,
}  # fmt: skip


_NETWORKS = {
    "bert": (
        _network("BertModel", max_position_embeddings=80, **_BERT),
        {**_TEXT, "attention_mask": mask(3, time(10), dtype="int64")},
        ("pooler_output", "last_hidden_state"),
    ),
    "distilbert": (
        _network("DistilBertForTokenClassification", max_position_embeddings=80, **_DISTILBERT),
        {"attention_mask": mask(3, time(10), dtype="int64"), "input_ids": ids(3, time(10), table=60)},
        ("logits",),
    ),
    "gpt2": (
        _network("GPT2LMHeadModel", n_positions=80, n_embd=16, n_layer=2, n_head=2, use_cache=False),
        {"input_ids": ids(3, time(10), table=60)},
        ("logits",),
    ),
    "resnet": (
        _network("ResNetForImageClassification", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]),
        {"pixel_values": uniform(3, 3, 64, 64)},
        ("logits",),
    ),
    "t5": (
        _network("T5Model", **_T5),
        {
            "decoder_input_ids": ids(3, Axis(5, "target"), table=60),
            "input_ids": ids(3, time(10), table=60),
            "attention_mask": mask(3, time(10), dtype="int64"),
        },
        ("last_hidden_state", "encoder_last_hidden_state"),
    ),
    "vit": (
        _network("ViTForImageClassification", image_size=32, patch_size=8, **_BERT),
        {"pixel_values": uniform(3, 3, 32, 32)},
        ("logits",),
    ),
    "whisper": (
        _network("WhisperModel", **_WHISPER),
        {"decoder_input_ids": ids(3, time(5), table=60), "input_features": normal(3, 8, 24)},
        ("last_hidden_state", "encoder_last_hidden_state"),
    ),
}
KINDS += [
    Kind(name=f"order-{name}", module=module, inputs=inputs, outputs=outputs, needs="transformers")
    for name, (module, inputs, outputs) in _NETWORKS.items()
]
