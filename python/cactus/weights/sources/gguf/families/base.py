"""What all families share: the numbers that every decoder has, and lists of tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.weights.sources.gguf.facts import Facts, show
from cactus.weights.sources.gguf.file import GGUFFile

MAX_LAYERS = 1024
MAX_HEADS = 1024
MAX_WIDTH = 1 << 18
MAX_VOCABULARY = 1 << 21
MAX_CONTEXT = 1 << 24
MAX_NAME = 64


@dataclass(frozen=True)
class MappedTensor:
    """One tensor: its name in the GGUF file, in the checkpoint, and the shape it has to have.

    `rotary_head_dim` > 0: the rows of each head of this size are stored pairwise interleaved for
    rotary embedding and have to be put back into two halves. `first`: where its rows (a vector's
    values) begin in a file's tensor of `rows` rows; 0 rows for a tensor of its own.
    """

    source: str
    name: str
    shape: tuple[int, ...]
    rotary_head_dim: int = 0
    first: int = 0
    rows: int = 0

    @property
    def source_shape(self) -> tuple[int, ...]:
        """The shape that the file's tensor has to have."""
        return (self.rows or self.shape[0], *self.shape[1:])


@dataclass(frozen=True)
class Described:
    """What a family makes of a file: config.json and all tensors of the model.

    `consumed` names tensors that are not weights: the config says what they said.
    """

    config: dict[str, Any]
    tensors: list[MappedTensor]
    consumed: tuple[str, ...] = field(default=())


Family = Callable[[Facts, GGUFFile], Described]
"""Reads the files of one `general.architecture`."""


ROTARY_DIM = "{arch}.rope.dimension_count"


def common(facts: Facts, gguf: GGUFFile, *, partly: bool = False) -> dict[str, Any]:
    """The config keys that every decoder has; `partly`: less than a whole head may rotate."""
    layers = facts.integer("{arch}.block_count", 1, MAX_LAYERS)
    hidden = facts.integer("{arch}.embedding_length", 16, MAX_WIDTH, multiple=16)
    heads = facts.integer("{arch}.attention.head_count", 1, MAX_HEADS)
    words = vocabulary(facts, gguf)
    default_dim = hidden // heads if hidden % heads == 0 else None
    head_dim = facts.integer("{arch}.attention.key_length", 2, MAX_WIDTH, default_dim, multiple=2)
    facts.integer("{arch}.attention.value_length", head_dim, head_dim, head_dim)
    facts.integer(ROTARY_DIM, 2 if partly else head_dim, head_dim, head_dim, multiple=2)
    if facts.integer("{arch}.expert_count", 0, 1 << 16, 0):
        raise UnsupportedModel(f"{facts.key('{arch}.expert_count')}: experts are not supported")
    if facts.get("{arch}.attention.causal") is False:
        raise UnsupportedModel(
            f"{facts.key('{arch}.attention.causal')} is false: models that read a text from both "
            "sides are not supported"
        )
    return {
        "vocab_size": words,
        "hidden_size": hidden,
        "intermediate_size": facts.integer("{arch}.feed_forward_length", 16, 1 << 20, multiple=16),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "head_dim": head_dim,
        "max_position_embeddings": facts.integer("{arch}.context_length", 1, MAX_CONTEXT),
        "rope_theta": decimal(facts.number("{arch}.rope.freq_base", 1.0, 1e12, 10000.0)),
        "tie_word_embeddings": "output.weight" not in gguf.tensors,
    }


def vocabulary(facts: Facts, gguf: GGUFFile) -> int:
    """The number of tokens; the token list, the metadata and the embedding have to agree."""
    tokens = facts.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens or not isinstance(tokens[0], str):
        raise ModelFormatError(f"tokenizer.ggml.tokens is {show(tokens)}, expected strings")
    if len(tokens) > MAX_VOCABULARY:
        raise ModelFormatError(
            f"tokenizer.ggml.tokens has {len(tokens)} entries, at most {MAX_VOCABULARY}"
        )
    return facts.integer("{arch}.vocab_size", len(tokens), len(tokens), len(tokens))


KV_HEADS = "{arch}.attention.head_count_kv"


def kv_heads(facts: Facts, config: dict[str, Any]) -> int:
    """Key and value heads of a model that has the same number in all layers."""
    heads = config["num_attention_heads"]
    counts = facts.per_layer(KV_HEADS, config["num_hidden_layers"], 1, heads)
    if len(set(counts)) > 1:
        raise UnsupportedModel(f"{facts.key(KV_HEADS)} differs by layer")
    return dividing(facts, counts[0], heads)


def dividing(facts: Facts, value: int, heads: int) -> int:
    """`value` key and value heads, which have to divide the heads."""
    if value < 1 or heads % value:
        raise ModelFormatError(
            f"{facts.key(KV_HEADS)} is {value}, which does not divide {heads} heads"
        )
    return value


def epsilon(facts: Facts) -> float:
    """The epsilon of all norms."""
    return decimal(facts.number("{arch}.attention.layer_norm_rms_epsilon", 0.0, 1.0))


def decimal(value: float) -> float:
    """The decimal that was meant by what was stored as f32: 1e-05 for 9.999999747378752e-06."""
    return float(str(np.float32(value)))


# Lists of tensors. Within a layer names are relative to "blk.N." and, of most models,
# "model.layers.N.".


def vector(source: str, name: str, size: int) -> MappedTensor:
    """A norm's weight."""
    return MappedTensor(f"{source}.weight", f"{name}.weight", (size,))


def linear(
    source: str, name: str, rows: int, cols: int, *, bias: bool = False, rotary: int = 0
) -> list[MappedTensor]:
    """A projection's matrix, and its bias; `rotary` as in `MappedTensor`."""
    tensors = [MappedTensor(f"{source}.weight", f"{name}.weight", (rows, cols), rotary)]
    if bias:
        tensors.append(MappedTensor(f"{source}.bias", f"{name}.bias", (rows,), rotary))
    return tensors


def attention(
    config: dict[str, Any],
    *,
    interleaved: bool = False,
    bias: bool = False,
    out: str = "o_proj",
    out_bias: bool = False,
    norms: tuple[str, str] | None = None,
) -> list[MappedTensor]:
    """The four projections of attention, and the `norms` of query and key heads by their names.

    `interleaved`: the file keeps the two halves of a rotated head interleaved.
    """
    hidden, head_dim = config["hidden_size"], config["head_dim"]
    queries = config["num_attention_heads"] * head_dim
    keys = config["num_key_value_heads"] * head_dim
    rotary = head_dim if interleaved else 0
    tensors = [
        *linear("attn_q", "self_attn.q_proj", queries, hidden, bias=bias, rotary=rotary),
        *linear("attn_k", "self_attn.k_proj", keys, hidden, bias=bias, rotary=rotary),
        *linear("attn_v", "self_attn.v_proj", keys, hidden, bias=bias),
        *linear("attn_output", f"self_attn.{out}", hidden, queries, bias=out_bias),
    ]
    for source, name in zip(("attn_q_norm", "attn_k_norm"), norms or (), strict=False):
        tensors.append(vector(source, f"self_attn.{name}", head_dim))
    return tensors


def gated(
    config: dict[str, Any],
    *,
    gate: str = "mlp.gate_proj",
    up: str = "mlp.up_proj",
    down: str = "mlp.down_proj",
    bias: bool = False,
) -> list[MappedTensor]:
    """The three projections of a gated feed-forward under their names in the checkpoint."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    return [
        *linear("ffn_gate", gate, inner, hidden, bias=bias),
        *linear("ffn_up", up, inner, hidden, bias=bias),
        *linear("ffn_down", down, hidden, inner, bias=bias),
    ]


def in_layer(
    index: int, tensors: Iterable[MappedTensor], place: str = "model.layers"
) -> list[MappedTensor]:
    """The tensors of a layer under their full names; `place` is where the model has its layers."""
    return [
        replace(
            tensor, source=f"blk.{index}.{tensor.source}", name=f"{place}.{index}.{tensor.name}"
        )
        for tensor in tensors
    ]


def model(
    config: dict[str, Any],
    layer: list[MappedTensor],
    norm: tuple[str, str] = ("output_norm", "model.norm"),
) -> list[MappedTensor]:
    """A model of equal layers: its outer tensors, then `layer` as often as the config has it."""
    tensors = outer(config, norm)
    for index in range(config["num_hidden_layers"]):
        tensors += in_layer(index, layer)
    return tensors


def outer(config: dict[str, Any], norm: tuple[str, str]) -> list[MappedTensor]:
    """Embedding, last norm and, when it is not the embedding again, the output matrix."""
    vocabulary, hidden = config["vocab_size"], config["hidden_size"]
    tensors = linear("token_embd", "model.embed_tokens", vocabulary, hidden)
    tensors.append(vector(*norm, hidden))
    if not config["tie_word_embeddings"]:
        tensors += linear("output", "lm_head", vocabulary, hidden)
    return tensors


def unmerged(gguf: GGUFFile, tensors: list[MappedTensor]) -> list[MappedTensor]:
    """The tensors, with queries, keys and values out of one where a file has them merged.

    Converters do so on request, whatever the family.
    """
    merged: dict[str, list[int]] = {}
    for index, tensor in enumerate(tensors):
        source = re.sub(r"\.attn_[qkv]\.", ".attn_qkv.", tensor.source)
        if tensor.source not in gguf.tensors and source in gguf.tensors:
            merged.setdefault(source, []).append(index)
    result = list(tensors)
    for source, indices in merged.items():
        rows, first = sum(tensors[index].shape[0] for index in indices), 0
        for index in indices:
            result[index] = replace(tensors[index], source=source, first=first, rows=rows)
            first += tensors[index].shape[0]
    return result
