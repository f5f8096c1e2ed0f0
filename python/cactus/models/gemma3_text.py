"""Gemma 3, text only (Google 2025): norms around each operator, mostly local attention."""

from __future__ import annotations

from dataclasses import dataclass

from cactus.inputs.fields import Fields

from .. import nn
from ..errors import UnsupportedModel
from . import base

ABILITIES = ("chat", "complete")

NORM_OFFSET = 1.0
"""The norms multiply with 1 + w."""


@dataclass(frozen=True)
class Config(base.Config):
    """``windows`` has the number of positions that each layer sees, 0 for all.

    Layers with a window rotate by ``local_rope``. ``score_scale`` multiplies attention's scores. A
    ``bidirectional`` model, as EmbeddingGemma, has half of each window on either side.
    """

    windows: tuple[int, ...]
    local_rope: nn.RoPE
    score_scale: float
    bidirectional: bool

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        fields.choice("hidden_activation", ("gelu_pytorch_tanh",), "gelu_pytorch_tanh")
        fields.refuse("attention_bias", "attention layers with a bias are not supported")
        for name in ("attn_logit_softcapping", "final_logit_softcapping"):
            if fields.has(name):
                raise UnsupportedModel(f"{fields.where}: {name} is set, but is not supported")
        for name, value in (("head_dim", 256), ("sliding_window", 4096)):
            if name not in fields.raw:
                fields = fields.updated({name: value})
        local, everywhere = _rotary(fields)
        common = base.common(everywhere, theta=1e6, eps_key="rms_norm_eps", tied=True)
        pattern = fields.integer("sliding_window_pattern", 1, base.MAX_LAYERS, 6)
        sliding = [(layer + 1) % pattern != 0 for layer in range(common["layers"])]
        return cls(
            **common,
            windows=base.windows(fields, sliding),
            local_rope=base.rope(local, common["head_dim"], 1e4),
            score_scale=fields.number("query_pre_attn_scalar", 1e-3, 1e6, 256) ** -0.5,
            bidirectional=fields.flag("use_bidirectional_attention", False),
        )


def _rotary(fields: Fields) -> tuple[Fields, Fields]:
    """The config as layers with a window should read it, and as the others should."""
    by_kind = fields.object("rope_parameters")
    if by_kind is None:
        theta = fields.number("rope_local_base_freq", 1.0, 1e12, 1e4)
        return fields.updated({"rope_theta": theta, "rope_scaling": None}), fields
    kinds = [by_kind.raw.get(kind) for kind in ("sliding_attention", "full_attention")]
    if not all(isinstance(kind, dict) for kind in kinds):
        want = "an object for each of sliding_attention and full_attention"
        raise fields.error("rope_parameters", want, by_kind.raw)
    local, everywhere = (fields.updated({"rope_parameters": kind}) for kind in kinds)
    return local, everywhere


class Layer(nn.Module):
    """Attention, then feed-forward, each between two norms beside the residual stream."""

    def __init__(self, c: Config, window: int, *, blocks: bool = False) -> None:
        def norm() -> nn.RMSNorm:
            return nn.RMSNorm(c.hidden_size, c.norm_eps, NORM_OFFSET)

        self.self_attn = nn.Attention(
            *(c.hidden_size, c.heads, c.kv_heads, c.head_dim),
            c.local_rope if window else c.rope,
            c.norm_eps,
            norm_offset=NORM_OFFSET,
            scale=c.score_scale,
            window=window,
            reach=window // 2 if c.bidirectional else None,
            blocks=blocks,
        )
        self.mlp = nn.GatedMLP(c.hidden_size, c.intermediate_size, nn.gelu)
        self.input_layernorm, self.post_attention_layernorm = norm(), norm()
        self.pre_feedforward_layernorm, self.post_feedforward_layernorm = norm(), norm()

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x)))
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


class Model(base.Decoder):
    """Embeddings times sqrt(hidden_size), then layers with and without a window.

    With ``blocks`` the features of an image see each other.
    """

    def __init__(self, c: Config, *, blocks: bool = False) -> None:
        layers = (Layer(c, window, blocks=blocks) for window in c.windows)
        scale = c.hidden_size**0.5
        super().__init__(c, layers, embedding_scale=scale, norm_offset=NORM_OFFSET)


class Encoder(nn.Module):
    """Tokens to the states of the output rows, each of which has seen the whole text."""

    def __init__(self, c: Config) -> None:
        self.model = Model(c)

    def forward(self) -> nn.Tensor:
        return self.model.states()


def build(c: Config) -> nn.Module:
    """The model for a config, not yet traced."""
    return Encoder(c) if c.bidirectional else base.CausalLM(Model(c), c)
