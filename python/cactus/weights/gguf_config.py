"""From the metadata and tensor names of a GGUF file to those of its Hugging Face checkpoint.

Nothing in the metadata is believed: each number is checked for its range and against the others,
and each tensor's shape against all of them, so that what follows may divide and index freely.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.weights.facts import Facts, show
from cactus.weights.gguf import GGUFFile

ROPE_TABLE = "rope_freqs.weight"

MAX_LAYERS = 1024
MAX_HEADS = 1024
MAX_WIDTH = 1 << 18
MAX_VOCABULARY = 1 << 21
MAX_CONTEXT = 1 << 24
MAX_NAME = 64
MAX_TEMPLATE = 1 << 18


@dataclass(frozen=True)
class MappedTensor:
    """One tensor: its name in the GGUF file, in the checkpoint, and the shape it has to have.

    `rotary_head_dim` > 0: the rows of each head of this size are stored pairwise interleaved for
    rotary embedding and have to be put back into two halves.
    """

    source: str
    name: str
    shape: tuple[int, ...]
    rotary_head_dim: int = 0


@dataclass(frozen=True)
class GGUFModel:
    """A GGUF model that keeps its word: config.json, generation_config.json, and the tensors."""

    config: dict[str, Any]
    generation: dict[str, Any]
    chat_template: str | None
    tensors: tuple[MappedTensor, ...]
    ignored: tuple[str, ...] = field(default=())


def read_model(gguf: GGUFFile) -> GGUFModel:
    """The checked config and tensor list of a GGUF file.

    Raises `UnsupportedModel` for an architecture or feature that is not read, and
    `ModelFormatError` for metadata or tensors that contradict each other.
    """
    architecture = gguf.metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise ModelFormatError(
            f"general.architecture is {show(architecture)}, expected one of {_known()}"
        )
    kind = gguf.metadata.get("general.type", "model")
    if kind != "model":
        raise UnsupportedModel(f"general.type is {show(kind)}, expected a whole model")
    if gguf.metadata.get("split.count", 1) not in (0, 1):
        raise UnsupportedModel(
            f"split.count is {show(gguf.metadata['split.count'])}: this file is one of several; "
            "join them first (llama-gguf-split --merge)"
        )
    if architecture not in _ARCHITECTURES:
        raise UnsupportedModel(
            f"architecture {architecture[:80]!r} is not supported in GGUF; supported: {_known()}"
        )
    facts = Facts(gguf.metadata, architecture)
    for name in ("tokenizer.ggml.model", "tokenizer.ggml.pre"):
        facts.text(name, MAX_NAME)
    config, tensors = _ARCHITECTURES[architecture](facts, gguf)
    generation = _token_ids(facts, config)
    ignored = _check_tensors(gguf, tensors)
    return GGUFModel(
        config,
        generation,
        facts.text("tokenizer.chat_template", MAX_TEMPLATE),
        tuple(tensors),
        ignored,
    )


def _known() -> str:
    return ", ".join(sorted(_ARCHITECTURES))


def _check_tensors(gguf: GGUFFile, tensors: list[MappedTensor]) -> tuple[str, ...]:
    """Every expected tensor is there in its shape; returns the names nobody asked for."""
    for tensor in tensors:
        found = gguf.tensors.get(tensor.source)
        if found is None:
            raise ModelFormatError(
                f"tensor {tensor.source!r} is missing, expected with shape {list(tensor.shape)}"
            )
        if found.shape != tensor.shape:
            raise ModelFormatError(
                f"tensor {tensor.source!r} has shape {list(found.shape)}, "
                f"but the metadata asks for {list(tensor.shape)}"
            )
    expected = {tensor.source for tensor in tensors} | {ROPE_TABLE}
    return tuple(name for name in gguf.tensors if name not in expected)


def _common(facts: Facts, gguf: GGUFFile) -> dict[str, Any]:
    """The config keys that every decoder has."""
    layers = facts.integer("{arch}.block_count", 1, MAX_LAYERS)
    hidden = facts.integer("{arch}.embedding_length", 16, MAX_WIDTH, multiple=16)
    heads = facts.integer("{arch}.attention.head_count", 1, MAX_HEADS)
    vocabulary = _vocabulary(facts, gguf)
    default_dim = hidden // heads if hidden % heads == 0 else None
    head_dim = facts.integer("{arch}.attention.key_length", 2, MAX_WIDTH, default_dim, multiple=2)
    facts.integer("{arch}.attention.value_length", head_dim, head_dim, head_dim)
    facts.integer("{arch}.rope.dimension_count", head_dim, head_dim, head_dim)
    if facts.integer("{arch}.expert_count", 0, 1 << 16, 0):
        raise UnsupportedModel(f"{facts.key('{arch}.expert_count')}: experts are not supported")
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": facts.integer("{arch}.feed_forward_length", 16, 1 << 20, multiple=16),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "head_dim": head_dim,
        "max_position_embeddings": facts.integer("{arch}.context_length", 1, MAX_CONTEXT),
        "rope_theta": facts.number("{arch}.rope.freq_base", 1.0, 1e12, 10000.0),
        "tie_word_embeddings": "output.weight" not in gguf.tensors,
    }


def _vocabulary(facts: Facts, gguf: GGUFFile) -> int:
    """The number of tokens; the token list, the metadata and the embedding have to agree."""
    tokens = facts.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens or not isinstance(tokens[0], str):
        raise ModelFormatError(f"tokenizer.ggml.tokens is {show(tokens)}, expected strings")
    if len(tokens) > MAX_VOCABULARY:
        raise ModelFormatError(
            f"tokenizer.ggml.tokens has {len(tokens)} entries, at most {MAX_VOCABULARY}"
        )
    return facts.integer("{arch}.vocab_size", len(tokens), len(tokens), len(tokens))


def _kv_heads(facts: Facts, name: str, value: int, heads: int) -> int:
    if value < 1 or heads % value:
        raise ModelFormatError(f"{facts.key(name)} is {value}, which does not divide {heads} heads")
    return value


def _llama(facts: Facts, gguf: GGUFFile) -> tuple[dict[str, Any], list[MappedTensor]]:
    config: dict[str, Any] = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    config |= _dense(facts, gguf)
    config["mlp_bias"] = "blk.0.ffn_up.bias" in gguf.tensors
    # Llama's files alone keep the two halves of a head interleaved.
    return config, _dense_tensors(config, config["head_dim"])


def _qwen3(facts: Facts, gguf: GGUFFile) -> tuple[dict[str, Any], list[MappedTensor]]:
    config: dict[str, Any] = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
    config |= _dense(facts, gguf)
    config["use_sliding_window"] = False
    tensors = _dense_tensors(config, rotary=0)
    for index in range(config["num_hidden_layers"]):
        old, new = f"blk.{index}.attn_", f"model.layers.{index}.self_attn."
        tensors += [
            MappedTensor(f"{old}{name}.weight", f"{new}{name}.weight", (config["head_dim"],))
            for name in ("q_norm", "k_norm")
        ]
    return config, tensors


def _dense(facts: Facts, gguf: GGUFFile) -> dict[str, Any]:
    """The config keys that models of equal layers share: attention, then a gated feed-forward."""
    config = _common(facts, gguf)
    heads = config["num_attention_heads"]
    key = "{arch}.attention.head_count_kv"
    counts = facts.per_layer(key, config["num_hidden_layers"], 1, heads)
    if len(set(counts)) > 1:
        raise UnsupportedModel(f"{facts.key(key)} differs by layer")
    config |= {
        "num_key_value_heads": _kv_heads(facts, key, counts[0], heads),
        "rms_norm_eps": _epsilon(facts),
        "hidden_act": "silu",
        "attention_bias": "blk.0.attn_q.bias" in gguf.tensors,
    }
    scaling = _rope_scaling(facts, gguf, config)
    if scaling:
        config["rope_scaling"] = scaling
    return config


def _dense_tensors(config: dict[str, Any], rotary: int) -> list[MappedTensor]:
    """The tensors of such a model; `rotary` as in `MappedTensor`, for queries and keys."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    attention = (
        # name in GGUF, in the checkpoint, rows, columns, rows interleaved for rotary embedding
        ("attn_q", "self_attn.q_proj", queries, hidden, rotary),
        ("attn_k", "self_attn.k_proj", keys, hidden, rotary),
        ("attn_v", "self_attn.v_proj", keys, hidden, 0),
        ("attn_output", "self_attn.o_proj", hidden, queries, 0),
    )
    mlp = (
        ("ffn_gate", "mlp.gate_proj", inner, hidden, 0),
        ("ffn_up", "mlp.up_proj", inner, hidden, 0),
        ("ffn_down", "mlp.down_proj", hidden, inner, 0),
    )
    biases = config["attention_bias"], config.get("mlp_bias", False)
    tensors = _outer(config, "output_norm", "model.norm")
    for index in range(config["num_hidden_layers"]):
        old, new = f"blk.{index}.", f"model.layers.{index}."
        for source, name in (
            ("attn_norm", "input_layernorm"),
            ("ffn_norm", "post_attention_layernorm"),
        ):
            tensors.append(MappedTensor(f"{old}{source}.weight", f"{new}{name}.weight", (hidden,)))
        for table, bias in zip((attention, mlp), biases, strict=True):
            for source, name, rows, cols, halves in table:
                shapes = {"weight": (rows, cols)} | ({"bias": (rows,)} if bias else {})
                tensors += [
                    MappedTensor(f"{old}{source}.{part}", f"{new}{name}.{part}", shape, halves)
                    for part, shape in shapes.items()
                ]
    return tensors


def _lfm2(facts: Facts, gguf: GGUFFile) -> tuple[dict[str, Any], list[MappedTensor]]:
    config: dict[str, Any] = {"architectures": ["Lfm2ForCausalLM"], "model_type": "lfm2"}
    config |= _common(facts, gguf)
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    head_dim, hidden, inner = config["head_dim"], config["hidden_size"], config["intermediate_size"]
    key = "{arch}.attention.head_count_kv"
    counts = facts.per_layer(key, layers, 0, heads)
    used = set(counts) - {0}
    if len(used) > 1:
        raise UnsupportedModel(f"{facts.key(key)} has several sizes: {sorted(used)}")
    kv_heads = _kv_heads(facts, key, used.pop(), heads) if used else heads
    taps = facts.integer("{arch}.shortconv.l_cache", 2, 64)
    config |= {
        "num_key_value_heads": kv_heads,
        "norm_eps": _epsilon(facts),
        "conv_L_cache": taps,
        "conv_bias": False,
        "block_auto_adjust_ff_dim": False,
        "layer_types": ["full_attention" if count else "conv" for count in counts],
    }
    # The norm before the output has the embedding's name in files of the first converters.
    norm = "output_norm" if "output_norm.weight" in gguf.tensors else "token_embd_norm"
    tensors = _outer(config, norm, "model.embedding_norm")
    queries, keys = heads * head_dim, kv_heads * head_dim
    for index, count in enumerate(counts):
        old, new = f"blk.{index}.", f"model.layers.{index}."
        shapes: list[tuple[str, str, tuple[int, ...]]] = [
            ("attn_norm", "operator_norm", (hidden,)),
            ("ffn_norm", "ffn_norm", (hidden,)),
            ("ffn_gate", "feed_forward.w1", (inner, hidden)),
            ("ffn_down", "feed_forward.w2", (hidden, inner)),
            ("ffn_up", "feed_forward.w3", (inner, hidden)),
        ]
        if count:
            shapes += [
                ("attn_q", "self_attn.q_proj", (queries, hidden)),
                ("attn_k", "self_attn.k_proj", (keys, hidden)),
                ("attn_v", "self_attn.v_proj", (keys, hidden)),
                ("attn_output", "self_attn.out_proj", (hidden, queries)),
                ("attn_q_norm", "self_attn.q_layernorm", (head_dim,)),
                ("attn_k_norm", "self_attn.k_layernorm", (head_dim,)),
            ]
        else:
            shapes += [
                ("shortconv.in_proj", "conv.in_proj", (3 * hidden, hidden)),
                ("shortconv.out_proj", "conv.out_proj", (hidden, hidden)),
                ("shortconv.conv", "conv.conv", (hidden, taps)),
            ]
        tensors += [
            MappedTensor(f"{old}{source}.weight", f"{new}{name}.weight", shape)
            for source, name, shape in shapes
        ]
    return config, tensors


def _outer(config: dict[str, Any], norm: str, norm_name: str) -> list[MappedTensor]:
    """Embedding, last norm and, when it is not the embedding again, the output matrix."""
    hidden, matrix = config["hidden_size"], (config["vocab_size"], config["hidden_size"])
    tensors = [
        MappedTensor("token_embd.weight", "model.embed_tokens.weight", matrix),
        MappedTensor(f"{norm}.weight", f"{norm_name}.weight", (hidden,)),
    ]
    if not config["tie_word_embeddings"]:
        tensors.append(MappedTensor("output.weight", "lm_head.weight", matrix))
    return tensors


def _rope_scaling(facts: Facts, gguf: GGUFFile, config: dict[str, Any]) -> dict[str, Any] | None:
    """The stretching of rotary positions, as config.json spells it; None for none."""
    original = facts.integer("{arch}.rope.scaling.original_context_length", 1, MAX_CONTEXT, 8192)
    if ROPE_TABLE in gguf.tensors:
        return _llama3_scaling(gguf, config, original)
    kind = facts.text("{arch}.rope.scaling.type", MAX_NAME) or "none"
    factor = facts.number("{arch}.rope.scaling.factor", 0.0, 1e6, 0.0) or 1.0
    if kind == "none" or (kind == "linear" and factor == 1.0):
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    raise UnsupportedModel(
        f"{facts.key('{arch}.rope.scaling.type')} {kind[:40]!r} is not supported"
    )


def _llama3_scaling(gguf: GGUFFile, config: dict[str, Any], original: int) -> dict[str, Any]:
    """The parameters behind a table of frequency divisors.

    Converters store the table and drop what it was made of. All published Llama 3 models have
    low_freq_factor 1 and high_freq_factor 4; the largest divisor is the factor. The table that
    follows from these has to be the one that is there.
    """
    tensor, pairs = gguf.tensors[ROPE_TABLE], config["head_dim"] // 2
    if tensor.shape != (pairs,) or tensor.type.name != "F32":
        raise ModelFormatError(
            f"tensor {ROPE_TABLE!r} is {tensor.type.name} {list(tensor.shape)}, "
            f"expected F32 [{pairs}]"
        )
    table = gguf.array(ROPE_TABLE).view(np.float32)[0]
    factor = float(table.max())
    if not (np.isfinite(table).all() and table.min() >= 1 and factor <= 1e6):
        raise ModelFormatError(f"tensor {ROPE_TABLE!r} holds values out of 1..1,000,000")
    low, high = 1.0, 4.0
    turns = original * config["rope_theta"] ** (-np.arange(pairs) / pairs) / (2 * np.pi)
    share = np.clip((turns - low) / (high - low), 0, 1)
    if not np.allclose(1 / ((1 - share) / factor + share), table, rtol=1e-3):
        raise UnsupportedModel(f"tensor {ROPE_TABLE!r} is no Llama 3 frequency table")
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }


def _epsilon(facts: Facts) -> float:
    value = facts.number("{arch}.attention.layer_norm_rms_epsilon", 0.0, 1.0)
    # Stored as f32: give back the decimal that was meant, 1e-05 for 9.999999747378752e-06.
    return float(f"{value:.6g}")


def _token_ids(facts: Facts, config: dict[str, Any]) -> dict[str, Any]:
    """Put bos, eos and pad ids into `config`; returns generation_config.json."""
    last = config["vocab_size"] - 1
    ids: dict[str, int] = {}
    for name in ("bos", "eos", "eot", "eom", "padding"):
        key = f"tokenizer.ggml.{name}_token_id"
        if facts.get(key) is not None:
            ids[name] = facts.integer(key, 0, last)
    ends = list(dict.fromkeys(ids[name] for name in ("eos", "eot", "eom") if name in ids))
    generation: dict[str, Any] = {}
    for key, value in (
        ("bos_token_id", ids.get("bos")),
        ("eos_token_id", ends if len(ends) > 1 else (ends[0] if ends else None)),
        ("pad_token_id", ids.get("padding")),
    ):
        config[key] = value
        if value is not None:
            generation[key] = value
    return generation


_ARCHITECTURES: dict[
    str, Callable[[Facts, GGUFFile], tuple[dict[str, Any], list[MappedTensor]]]
] = {"llama": _llama, "lfm2": _lfm2, "qwen3": _qwen3}
