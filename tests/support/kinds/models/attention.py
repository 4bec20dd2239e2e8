"""Kinds: masks, causal attention, and transformers whose inputs come in another order than forward's."""

import math

import torch
from torch import nn
from torch.nn import functional

from tests.support.kinds.case import ROWS, TIME, Kind, ids, mask, normal


class KeyMask(nn.Module):
    """Scaled dot products with a boolean mask of the keys."""

    def forward(self, x, mask):
        h = x.unflatten(-1, (2, 4)).transpose(1, 2)
        h = functional.scaled_dot_product_attention(h, h, h, attn_mask=mask[:, None, None, :])
        return h.transpose(1, 2).flatten(2)


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.qkv(x).split(8, -1))
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


class Triangle(nn.Module):
    """A stored triangle for 40 places, cut to the length."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("tril", torch.tril(torch.ones(40, 40)))
        self.qk = nn.Linear(8, 16)

    def forward(self, x):
        q, k = self.qk(x).chunk(2, -1)
        length = x.shape[1]
        scores = (q @ k.transpose(1, 2) / math.sqrt(8)).masked_fill(self.tril[:length, :length] == 0, float("-inf"))
        return scores.softmax(-1) @ x


class Padding(nn.Module):
    """nn.MultiheadAttention, whose mask says what does not count."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x, mask):
        return self.attention(x, x, x, key_padding_mask=~mask, need_weights=False)[0]


class Additive(nn.Module):
    """A mask of ones and zeros becomes the least number there is."""

    def forward(self, x, attention_mask):
        bias = (1.0 - attention_mask[:, None, :].float()) * torch.finfo(torch.float32).min
        return (x @ x.transpose(1, 2) + bias).softmax(-1) @ x


class Encoder(nn.Module):
    """torch's own encoder, which has a fast path that is not traced."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=False)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, src, mask):
        return self.encoder(src, src_key_padding_mask=~mask) * mask[..., None].float()


class Decoder(nn.Module):
    """nn.Transformer, with a causal mask made in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)

    def forward(self, src, tgt):
        causal = nn.Transformer.generate_square_subsequent_mask(tgt.shape[1])
        return self.net(src, tgt, tgt_mask=causal)


class Local(nn.Module):
    """Nobody sees further than three places."""

    def forward(self, x):
        places = torch.arange(x.shape[1])
        near = (places[:, None] - places[None, :]).abs() <= 3
        scores = (x @ x.transpose(1, 2)).masked_fill(~near, -1e4)
        return scores.softmax(-1) @ x


class Relative(nn.Module):
    """Buckets of distances, as in T5: logarithms that become integers."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Embedding(16, 2)

    def forward(self, x):
        places = torch.arange(x.shape[1])
        far = (places[None, :] - places[:, None]).abs()
        steps = 4 + (torch.log(far.float().clamp(min=1) / 4) / math.log(32) * 12).long().clamp(max=11)
        bias = self.bias(torch.where(far < 4, far, steps)).permute(2, 0, 1)
        h = x.unflatten(-1, (2, 4)).transpose(1, 2)
        return ((h @ h.transpose(2, 3) + bias).softmax(-1) @ h).transpose(1, 2).flatten(2)


class Rotary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", 1.0 / 100 ** (torch.arange(0, 8, 2).float() / 8), persistent=False)

    def forward(self, x):
        angles = torch.arange(x.shape[1]).float()[:, None] * self.frequencies
        sin, cos = torch.cat([angles, angles], -1).sin(), torch.cat([angles, angles], -1).cos()
        first, second = x[..., :4], x[..., 4:]
        turned = x * cos + torch.cat([-second, first], -1) * sin
        return (turned @ turned.transpose(1, 2) / 3).softmax(-1) @ x


class MaskedMean(nn.Module):
    """The mean over what counts, of unit length."""

    def forward(self, hidden, attention_mask):
        weights = attention_mask.unsqueeze(-1).float()
        pooled = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-6)
        return functional.normalize(pooled, dim=-1, eps=1e-6)


class Bert(nn.Module):
    """Three inputs, two of which may be left out; a dictionary comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds = nn.Embedding(50, 8), nn.Embedding(2, 8)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        hidden = self.words(input_ids)
        if token_type_ids is not None:
            hidden = hidden + self.kinds(token_type_ids)
        weights = 1.0 if attention_mask is None else attention_mask.float()[..., None]
        return {"last": hidden[:, 0], "pooled": (hidden * weights).mean(1)}


def make_bert():
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return BertModel(BertConfig(vocab_size=60, max_position_embeddings=80, **sizes))


def make_distilbert():
    from transformers import DistilBertConfig, DistilBertForTokenClassification

    config = DistilBertConfig(vocab_size=60, dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=80)
    return DistilBertForTokenClassification(config)


def make_t5():
    from transformers import T5Config, T5Model

    config = T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, use_cache=False)
    return T5Model(config)


def make_whisper():
    from transformers import WhisperConfig, WhisperModel

    config = WhisperConfig(
        vocab_size=60,
        num_mel_bins=8,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=12,
        max_target_positions=80,
        use_cache=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return WhisperModel(config)


_TWO = {"x": TIME, "mask": TIME}
_TEXT = {"input_ids": ids(3, 10, table=50), "token_type_ids": ids(3, 10, table=2)}

KINDS = (
    Kind(
        name="mask-keys",
        module=KeyMask,
        inputs={"x": normal(3, 4, 8), "mask": mask(3, 4)},
        dynamic=_TWO,
        refused=False,
        fast=True,
    ),
    Kind(name="mask-causal", module=Causal, inputs={"x": normal(3, 7, 8)}, dynamic={"x": TIME}),
    Kind(name="mask-triangle", module=Triangle, inputs={"x": normal(3, 7, 8)}, dynamic={"x": TIME}),
    Kind(name="mask-padding", module=Padding, inputs={"x": normal(3, 7, 8), "mask": mask(3, 7)}, dynamic=_TWO),
    Kind(
        name="mask-additive",
        module=Additive,
        inputs={"x": normal(3, 7, 8), "attention_mask": mask(3, 7, dtype="int64")},
        dynamic={"x": TIME, "attention_mask": TIME},
    ),
    Kind(
        name="mask-encoder",
        module=Encoder,
        inputs={"src": normal(3, 7, 8), "mask": mask(3, 7)},
        dynamic={"src": TIME, "mask": TIME},
    ),
    Kind(
        name="mask-decoder",
        module=Decoder,
        inputs={"src": normal(3, 7, 8), "tgt": normal(3, 5, 8)},
        dynamic={"src": TIME, "tgt": {0: "batch", 1: "target"}},
    ),
    Kind(name="mask-local", module=Local, inputs={"x": normal(3, 7, 8)}, dynamic={"x": TIME}),
    Kind(name="mask-relative", module=Relative, inputs={"x": normal(3, 7, 8)}, dynamic={"x": TIME}),
    Kind(name="mask-rotary", module=Rotary, inputs={"x": normal(3, 7, 8)}, dynamic={"x": TIME}),
    Kind(
        name="mask-mean",
        module=MaskedMean,
        inputs={"attention_mask": mask(3, 7, dtype="int64"), "hidden": normal(3, 7, 8)},
        dynamic={"hidden": TIME, "attention_mask": TIME},
    ),
    Kind(
        name="order-swapped",
        module=Bert,
        inputs={**_TEXT, "attention_mask": mask(3, 10, dtype="int64")},
        outputs=("last", "pooled"),
        dynamic={"input_ids": TIME, "attention_mask": TIME, "token_type_ids": TIME},
        refused=False,
        fast=True,
    ),
    Kind(
        name="order-skipped",
        module=Bert,
        inputs=_TEXT,
        outputs=("last", "pooled"),
        dynamic={"input_ids": TIME, "token_type_ids": TIME},
    ),
    Kind(
        name="order-outputs",
        module=Bert,
        inputs={"input_ids": ids(3, 10, table=50)},
        outputs=("pooled", "last"),
        dynamic={"input_ids": TIME},
    ),
    Kind(
        name="order-bert",
        module=make_bert,
        inputs={
            "input_ids": ids(3, 10, table=60),
            "token_type_ids": ids(3, 10, table=2),
            "attention_mask": mask(3, 10, dtype="int64"),
        },
        outputs=("pooler_output", "last_hidden_state"),
        dynamic={"input_ids": TIME, "attention_mask": TIME, "token_type_ids": TIME},
        needs="transformers",
    ),
    Kind(
        name="order-distilbert",
        module=make_distilbert,
        inputs={"attention_mask": mask(3, 10, dtype="int64"), "input_ids": ids(3, 10, table=60)},
        outputs=("logits",),
        dynamic={"input_ids": TIME, "attention_mask": TIME},
        needs="transformers",
    ),
    Kind(
        name="order-t5",
        module=make_t5,
        inputs={
            "decoder_input_ids": ids(3, 5, table=60),
            "input_ids": ids(3, 10, table=60),
            "attention_mask": mask(3, 10, dtype="int64"),
        },
        outputs=("last_hidden_state", "encoder_last_hidden_state"),
        dynamic={"input_ids": TIME, "attention_mask": TIME, "decoder_input_ids": {0: "batch", 1: "target"}},
        needs="transformers",
    ),
    Kind(
        name="order-whisper",
        module=make_whisper,
        inputs={"decoder_input_ids": ids(3, 5, table=60), "input_features": normal(3, 8, 24)},
        outputs=("last_hidden_state", "encoder_last_hidden_state"),
        dynamic={"input_features": ROWS, "decoder_input_ids": TIME},
        needs="transformers",
    ),
)
