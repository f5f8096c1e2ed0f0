"""SmolLM3 (Hugging Face 2025): Llama's shape; some layers know no positions (NoPE)."""

from __future__ import annotations

from dataclasses import dataclass

from cactus.inputs.fields import Fields

from .. import nn
from . import base

ABILITIES = ("chat", "complete")


@dataclass(frozen=True)
class Config(base.Config):
    """``rotates`` tells for each layer whether it has rotary positions; ``windows`` as in Qwen2."""

    rotates: tuple[bool, ...]
    windows: tuple[int, ...]

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        fields.choice("hidden_act", ("silu",), "silu")
        fields.refuse("attention_bias", "attention layers with a bias are not supported")
        fields.refuse("mlp_bias", "feed-forward layers with a bias are not supported")
        common = base.common(fields, theta=2_000_000.0, eps_key="rms_norm_eps", tied=True)
        rotates = _rotates(fields, common["layers"])
        if not fields.flag("use_sliding_window", False):
            fields = fields.updated({"sliding_window": None})
        slides = fields.has("sliding_window")
        windows = base.windows(fields, [slides and not rotary for rotary in rotates])
        return cls(**common, rotates=rotates, windows=windows)


def _rotates(fields: Fields, layers: int) -> tuple[bool, ...]:
    flags = fields.raw.get("no_rope_layers")
    if flags is None:
        interval = fields.integer("no_rope_layer_interval", 1, base.MAX_LAYERS, 4)
        return tuple((layer + 1) % interval != 0 for layer in range(layers))
    right = isinstance(flags, list) and len(flags) >= layers
    if not right or any(type(flag) is not int or flag not in (0, 1) for flag in flags):
        want = f"a list of num_hidden_layers = {layers} times 1 (rotary positions) or 0 (none)"
        raise fields.error("no_rope_layers", want, flags)
    return tuple(flag == 1 for flag in flags[:layers])


class Model(base.Decoder):
    """Attention with and without rotary positions."""

    def __init__(self, c: Config) -> None:
        heads = (c.hidden_size, c.heads, c.kv_heads, c.head_dim)
        attention = (
            nn.Attention(*heads, c.rope if rotates else None, window=window)
            for rotates, window in zip(c.rotates, c.windows, strict=True)
        )
        super().__init__(c, (base.Layer(c, each) for each in attention))
