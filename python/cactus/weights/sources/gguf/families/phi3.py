"""Phi-3 and Phi-4-mini: projections merged as their checkpoints have them."""

from __future__ import annotations

import math
from typing import Any

from cactus.weights.sources.gguf.facts import Facts
from cactus.weights.sources.gguf.families import rope
from cactus.weights.sources.gguf.families.base import (
    MAX_CONTEXT,
    ROTARY_DIM,
    Described,
    common,
    decimal,
    epsilon,
    kv_heads,
    linear,
    model,
    vector,
)
from cactus.weights.sources.gguf.file import GGUFFile

LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"


def phi3(facts: Facts, gguf: GGUFFile) -> Described:
    """A part of each head may rotate, with divisors of its own for short and long texts."""
    config: dict[str, Any] = {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3"}
    config |= common(facts, gguf, partly=True)
    config |= {
        "num_key_value_heads": kv_heads(facts, config),
        "rms_norm_eps": epsilon(facts),
        "hidden_act": "silu",
        "sliding_window": facts.integer("{arch}.attention.sliding_window", 0, MAX_CONTEXT, 0)
        or None,
    }
    config |= _rotary(facts, gguf, config)
    hidden, inner, head_dim = (
        config[key] for key in ("hidden_size", "intermediate_size", "head_dim")
    )
    heads = config["num_attention_heads"] + 2 * config["num_key_value_heads"]
    layer = [
        vector("attn_norm", "input_layernorm", hidden),
        vector("ffn_norm", "post_attention_layernorm", hidden),
        *linear("attn_qkv", "self_attn.qkv_proj", heads * head_dim, hidden),
        *linear(
            "attn_output", "self_attn.o_proj", hidden, config["num_attention_heads"] * head_dim
        ),
        *linear("ffn_up", "mlp.gate_up_proj", 2 * inner, hidden),
        *linear("ffn_down", "mlp.down_proj", hidden, inner),
    ]
    return Described(config, model(config, layer), (LONG, SHORT))


def _rotary(facts: Facts, gguf: GGUFFile, config: dict[str, Any]) -> dict[str, Any]:
    head_dim, context = config["head_dim"], config["max_position_embeddings"]
    width = facts.integer(ROTARY_DIM, 2, head_dim, head_dim, multiple=2)
    key = "{arch}.rope.scaling.original_context_length"
    original = facts.integer(key, 1, MAX_CONTEXT, context)
    part = width / head_dim
    if int(head_dim * part) < width:  # a quotient rounded down would lose a pair
        part = math.nextafter(part, 1)
    keys = {
        "partial_rotary_factor": part,
        "original_max_position_embeddings": original,
    }
    if LONG not in gguf.tensors and SHORT not in gguf.tensors:
        return keys | rope.scaling(facts, gguf, config)
    scaling: dict[str, Any] = {"rope_type": "longrope"}
    for name, tensor in (("short_factor", SHORT), ("long_factor", LONG)):
        scaling[name] = rope.factors(gguf, tensor, width // 2, 1e-3).tolist()
    # Files without it have the one that follows from the two contexts.
    scale = facts.number("{arch}.rope.scaling.attn_factor", 0.0, 1e3, 0.0)
    if scale and not math.isclose(scale, _usual_scale(context / original, original), rel_tol=1e-6):
        scaling["attention_factor"] = decimal(scale)
    return keys | {"rope_scaling": scaling}


def _usual_scale(growth: float, original: int) -> float:
    return math.sqrt(1 + math.log(growth) / math.log(original)) if growth > 1 < original else 1.0
