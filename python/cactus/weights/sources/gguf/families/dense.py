"""Llama and the families of its shape: equal layers of attention and a gated feed-forward."""

from __future__ import annotations

from typing import Any

from cactus.weights.sources.gguf.facts import Facts
from cactus.weights.sources.gguf.families import rope
from cactus.weights.sources.gguf.families.base import (
    Described,
    MappedTensor,
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


def llama(facts: Facts, gguf: GGUFFile) -> Described:
    """Llama, SmolLM2, TinyLlama: query and key rows are interleaved."""
    return _llama(gguf, _config(facts, gguf, "llama", "LlamaForCausalLM"))


def granite(facts: Facts, gguf: GGUFFile) -> Described:
    """Granite 3: Llama with factors; one that is not there, or 0, changes nothing."""
    config = _config(facts, gguf, "granite", "GraniteForCausalLM")
    for key, source, default in (
        ("embedding_multiplier", "embedding_scale", 1.0),
        ("attention_multiplier", "attention.scale", config["head_dim"] ** -0.5),
        ("residual_multiplier", "residual_scale", 1.0),
        ("logits_scaling", "logit_scale", 1.0),
    ):
        factor = facts.number(f"{{arch}}.{source}", 0.0, 1e6, 0.0)
        config[key] = decimal(factor) if factor else default
    return _llama(gguf, config)


def _llama(gguf: GGUFFile, config: dict[str, Any]) -> Described:
    config["attention_bias"] = bias = "blk.0.attn_q.bias" in gguf.tensors
    config["mlp_bias"] = mlp_bias = "blk.0.ffn_up.bias" in gguf.tensors
    heads = attention(config, interleaved=True, bias=bias, out_bias=bias)
    return _described(config, [*heads, *gated(config, bias=mlp_bias)])


def qwen2(facts: Facts, gguf: GGUFFile) -> Described:
    """Qwen2 and 2.5: queries, keys and values have a bias."""
    config = _config(facts, gguf, "qwen2", "Qwen2ForCausalLM")
    config["use_sliding_window"] = False
    return _described(config, [*attention(config, bias=True), *gated(config)])


def qwen3(facts: Facts, gguf: GGUFFile) -> Described:
    """Qwen3: a norm on each query and key head."""
    config = _config(facts, gguf, "qwen3", "Qwen3ForCausalLM")
    config["attention_bias"] = bias = "blk.0.attn_q.bias" in gguf.tensors
    config["use_sliding_window"] = False
    heads = attention(config, bias=bias, out_bias=bias, norms=("q_norm", "k_norm"))
    return _described(config, [*heads, *gated(config)])


def smollm3(facts: Facts, gguf: GGUFFile) -> Described:
    """SmolLM3: as Llama; that every fourth layer does not rotate is implied by the name."""
    config = _config(facts, gguf, "smollm3", "SmolLM3ForCausalLM")
    layers = range(config["num_hidden_layers"])
    config |= {
        "attention_bias": False,
        "mlp_bias": False,
        "use_sliding_window": False,
        "no_rope_layers": [int((index + 1) % 4 != 0) for index in layers],
    }
    return _described(config, [*attention(config, interleaved=True), *gated(config)])


def _config(facts: Facts, gguf: GGUFFile, kind: str, name: str) -> dict[str, Any]:
    config: dict[str, Any] = {"architectures": [name], "model_type": kind}
    config |= common(facts, gguf)
    config |= {
        "num_key_value_heads": kv_heads(facts, config),
        "rms_norm_eps": epsilon(facts),
        "hidden_act": "silu",
    }
    return config | rope.scaling(facts, gguf, config)


def _described(config: dict[str, Any], layer: list[MappedTensor]) -> Described:
    norms = [
        vector("attn_norm", "input_layernorm", config["hidden_size"]),
        vector("ffn_norm", "post_attention_layernorm", config["hidden_size"]),
    ]
    return Described(config, model(config, [*norms, *layer]), (rope.TABLE,))
