"""LFM2: short convolutions where a layer has no key and value heads."""

from __future__ import annotations

from typing import Any

from cactus.errors import UnsupportedModel
from cactus.weights.sources.gguf.facts import Facts
from cactus.weights.sources.gguf.families import rope
from cactus.weights.sources.gguf.families.base import (
    KV_HEADS,
    MAX_CONTEXT,
    Described,
    MappedTensor,
    attention,
    common,
    dividing,
    epsilon,
    gated,
    in_layer,
    linear,
    outer,
    vector,
)
from cactus.weights.sources.gguf.file import GGUFFile


def lfm2(facts: Facts, gguf: GGUFFile) -> Described:
    """The feed-forward size of the file is the adjusted one."""
    config: dict[str, Any] = {"architectures": ["Lfm2ForCausalLM"], "model_type": "lfm2"}
    config |= common(facts, gguf)
    window = "{arch}.attention.sliding_window"
    if facts.integer(window, 0, MAX_CONTEXT, 0):
        raise UnsupportedModel(f"{facts.key(window)}: windows are not supported in this family")
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    counts = facts.per_layer(KV_HEADS, layers, 0, heads)
    used = set(counts) - {0}
    if len(used) > 1:
        raise UnsupportedModel(f"{facts.key(KV_HEADS)} has several sizes: {sorted(used)}")
    config |= {
        "num_key_value_heads": dividing(facts, used.pop(), heads) if used else heads,
        "norm_eps": epsilon(facts),
        "conv_L_cache": facts.integer("{arch}.shortconv.l_cache", 2, 64),
        "conv_bias": False,
        "block_auto_adjust_ff_dim": False,
        "layer_types": ["full_attention" if count else "conv" for count in counts],
    }
    config |= rope.scaling(facts, gguf, config)
    # The norm before the output has the embedding's name in files of the first converters.
    norm = "output_norm" if "output_norm.weight" in gguf.tensors else "token_embd_norm"
    tensors = outer(config, (norm, "model.embedding_norm"))
    for index, count in enumerate(counts):
        tensors += in_layer(index, _layer(config, convolution=not count))
    return Described(config, tensors, (rope.TABLE,))


def _layer(config: dict[str, Any], *, convolution: bool) -> list[MappedTensor]:
    hidden, taps = config["hidden_size"], config["conv_L_cache"]
    if convolution:
        operator = [
            *linear("shortconv.in_proj", "conv.in_proj", 3 * hidden, hidden),
            *linear("shortconv.out_proj", "conv.out_proj", hidden, hidden),
            *linear("shortconv.conv", "conv.conv", hidden, taps),
        ]
    else:
        operator = attention(config, out="out_proj", norms=("q_layernorm", "k_layernorm"))
    w1, w2, w3 = (f"feed_forward.w{index}" for index in (1, 2, 3))
    return [
        vector("attn_norm", "operator_norm", hidden),
        vector("ffn_norm", "ffn_norm", hidden),
        *operator,
        *gated(config, gate=w1, up=w3, down=w2),
    ]
