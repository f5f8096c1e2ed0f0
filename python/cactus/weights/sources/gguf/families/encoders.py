"""Text encoders: BERT and Nomic's; every token sees the whole text, and states are pooled."""

from __future__ import annotations

from typing import Any

from cactus.errors import UnsupportedModel
from cactus.weights.sources.gguf.facts import Facts
from cactus.weights.sources.gguf.families.base import (
    MAX_CONTEXT,
    MAX_HEADS,
    MAX_LAYERS,
    MAX_WIDTH,
    Described,
    MappedTensor,
    decimal,
    in_layer,
    linear,
    vector,
    vocabulary,
)
from cactus.weights.sources.gguf.file import GGUFFile


def bert(facts: Facts, gguf: GGUFFile) -> Described:
    """BERT, and XLM-RoBERTa, whose table of positions has no rows before the first token's."""
    config = _common(facts, gguf) | {"model_type": "bert", "architectures": ["BertModel"]}
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    layer = [
        *linear("attn_q", "attention.self.query", hidden, hidden, bias=True),
        *linear("attn_k", "attention.self.key", hidden, hidden, bias=True),
        *linear("attn_v", "attention.self.value", hidden, hidden, bias=True),
        *linear("attn_output", "attention.output.dense", hidden, hidden, bias=True),
        *_norm("attn_output_norm", "attention.output.LayerNorm", hidden),
        *linear("ffn_up", "intermediate.dense", inner, hidden, bias=True),
        *linear("ffn_down", "output.dense", hidden, inner, bias=True),
        *_norm("layer_output_norm", "output.LayerNorm", hidden),
    ]
    places = config["max_position_embeddings"]
    tensors = _embeddings(config)
    tensors += linear("position_embd", "embeddings.position_embeddings", places, hidden)
    return Described(config, tensors + _layers(config, "encoder.layer", layer))


def nomic_bert(facts: Facts, gguf: GGUFFile) -> Described:
    """Rotary positions and a gated feed-forward, no biases."""
    config = _common(facts, gguf) | {
        "model_type": "nomic_bert",
        "architectures": ["NomicBertModel"],
        "rope_theta": decimal(facts.number("{arch}.rope.freq_base", 1.0, 1e12, 1000.0)),
    }
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    layer = [
        *linear("attn_q", "self_attn.q_proj", hidden, hidden),
        *linear("attn_k", "self_attn.k_proj", hidden, hidden),
        *linear("attn_v", "self_attn.v_proj", hidden, hidden),
        *linear("attn_output", "self_attn.o_proj", hidden, hidden),
        *_norm("attn_output_norm", "post_attention_layernorm", hidden),
        *linear("ffn_gate", "mlp.gate_proj", inner, hidden),
        *linear("ffn_up", "mlp.up_proj", inner, hidden),
        *linear("ffn_down", "mlp.down_proj", hidden, inner),
        *_norm("layer_output_norm", "post_mlp_layernorm", hidden),
    ]
    return Described(config, _embeddings(config) + _layers(config, "layers", layer))


def _common(facts: Facts, gguf: GGUFFile) -> dict[str, Any]:
    heads = facts.integer("{arch}.attention.head_count", 1, MAX_HEADS)
    if facts.get("{arch}.attention.causal") is True:
        raise UnsupportedModel(f"{facts.key('{arch}.attention.causal')} is true in an encoder")
    types = gguf.tensors.get("token_types.weight")
    return {
        "vocab_size": vocabulary(facts, gguf),
        "hidden_size": facts.integer("{arch}.embedding_length", 16, MAX_WIDTH, multiple=16),
        "intermediate_size": facts.integer("{arch}.feed_forward_length", 16, 1 << 20, multiple=16),
        "num_hidden_layers": facts.integer("{arch}.block_count", 1, MAX_LAYERS),
        "num_attention_heads": heads,
        "max_position_embeddings": facts.integer("{arch}.context_length", 1, MAX_CONTEXT),
        "layer_norm_eps": decimal(
            facts.number("{arch}.attention.layer_norm_epsilon", 0.0, 1.0, 1e-12)
        ),
        "type_vocab_size": types.shape[0] if types is not None else 1,
    }


def _embeddings(config: dict[str, Any]) -> list[MappedTensor]:
    hidden, types = config["hidden_size"], config["type_vocab_size"]
    return [
        *linear("token_embd", "embeddings.word_embeddings", config["vocab_size"], hidden),
        *linear("token_types", "embeddings.token_type_embeddings", types, hidden),
        *_norm("token_embd_norm", "embeddings.LayerNorm", hidden),
    ]


def _norm(source: str, name: str, size: int) -> list[MappedTensor]:
    bias = MappedTensor(f"{source}.bias", f"{name}.bias", (size,))
    return [vector(source, name, size), bias]


def _layers(config: dict[str, Any], place: str, layer: list[MappedTensor]) -> list[MappedTensor]:
    layers = range(config["num_hidden_layers"])
    return [tensor for index in layers for tensor in in_layer(index, layer, place)]
