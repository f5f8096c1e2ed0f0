"""Gemma 3: norms around both halves of a layer, most of which attend to a window only."""

from __future__ import annotations

from typing import Any

from cactus.weights.sources.gguf.facts import Facts
from cactus.weights.sources.gguf.families import rope
from cactus.weights.sources.gguf.families.base import (
    MAX_CONTEXT,
    Described,
    attention,
    common,
    decimal,
    epsilon,
    gated,
    kv_heads,
    model,
    vector,
)
from cactus.weights.sources.gguf.file import GGUFFile

_LAYERS_OF_27B = 62


def gemma3(facts: Facts, gguf: GGUFFile) -> Described:
    """The weights of norms are stored with the one that a checkpoint leaves out."""
    config: dict[str, Any] = {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text"}
    config |= common(facts, gguf)
    config |= {
        "num_key_value_heads": kv_heads(facts, config),
        "rms_norm_eps": epsilon(facts),
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "query_pre_attn_scalar": _query_scalar(config),
        "rope_local_base_freq": decimal(
            facts.number("{arch}.rope.freq_base_swa", 1.0, 1e12, 10000.0)
        ),
        "final_logit_softcapping": _cap(facts),
    }
    config |= _windows(facts, config["num_hidden_layers"]) | rope.scaling(facts, gguf, config)
    hidden = config["hidden_size"]
    layer = [
        vector("attn_norm", "input_layernorm", hidden),
        vector("post_attention_norm", "post_attention_layernorm", hidden),
        vector("ffn_norm", "pre_feedforward_layernorm", hidden),
        vector("post_ffw_norm", "post_feedforward_layernorm", hidden),
        *attention(config, norms=("q_norm", "k_norm")),
        *gated(config),
    ]
    return Described(config, model(config, layer))


def _query_scalar(config: dict[str, Any]) -> float:
    """What scores are divided by the root of: no file says it, only the largest model differs."""
    if config["num_hidden_layers"] == _LAYERS_OF_27B:
        return float(config["hidden_size"] / config["num_attention_heads"])
    return float(config["head_dim"])


def _cap(facts: Facts) -> float | None:
    cap = facts.number("{arch}.final_logit_softcapping", 0.0, 1e6, 0.0)
    return decimal(cap) if cap else None


def _windows(facts: Facts, layers: int) -> dict[str, Any]:
    """Which layers attend to a window: all but every sixth, unless the file says otherwise."""
    window = facts.integer("{arch}.attention.sliding_window", 0, MAX_CONTEXT, 0)
    key = "{arch}.attention.sliding_window_pattern"
    if isinstance(facts.get(key), list):
        sliding = facts.flags(key, layers)
    else:
        period = facts.integer(key, 1, 1 << 16, 6)
        sliding = [(index + 1) % period != 0 for index in range(layers)]
    kinds = ("full_attention", "sliding_attention")
    return {
        "sliding_window": window or None,
        "layer_types": [kinds[bool(window and slides)] for slides in sliding],
    }
