"""Golden checkpoints as GGUF files, the way llama.cpp's converter writes them.

Names come from the `gguf` package, everything else from what the converter does: it interleaves
the two halves of rotated heads where llama.cpp rotates pairs, stores Gemma's norms with the one
that their checkpoint leaves out, and keeps tables instead of the parameters of rotary scaling.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from cactus.models.base import load_architecture
from cactus.weights.format.safetensors import write_safetensors
from tests.models.golden import Golden, read_tensors
from tests.weights.forge import byte_tokens

ARCHITECTURES = {
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
    "granite": gguf.MODEL_ARCH.GRANITE,
    "lfm2": gguf.MODEL_ARCH.LFM2,
    "llama": gguf.MODEL_ARCH.LLAMA,
    "phi3": gguf.MODEL_ARCH.PHI3,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "smollm3": gguf.MODEL_ARCH.SMOLLM3,
}
"""The architectures that GGUF files are read of, by `model_type`."""

_PAIRED = ("granite", "llama", "smollm3")

# What llama.cpp takes as given of an architecture; the golden checkpoints are smaller or odder.
# Tables of rotary divisors are rounded to f32.
_IMPLIED: dict[str, dict[str, Any]] = {
    "gemma3_text": {
        "num_hidden_layers": 7,
        "sliding_window_pattern": 6,
        "query_pre_attn_scalar": 32,
    },
    "phi3": {},
    "qwen2": {"use_sliding_window": False},
    "smollm3": {"num_hidden_layers": 5, "no_rope_layers": None, "no_rope_layer_interval": 4},
}


def representable(checkpoint: Golden, folder: Path) -> Golden:
    """The checkpoint, or one of its weights in `folder` that says nothing a GGUF file cannot say.

    More layers than there are repeat the first ones.
    """
    raw = _raw_config(checkpoint)
    changes = _IMPLIED.get(raw["model_type"])
    if changes is None:
        return checkpoint
    layers = raw["num_hidden_layers"]
    raw |= changes
    scaling = raw.get("rope_scaling") or {}
    for part in {"long_factor", "short_factor"} & set(scaling):
        scaling[part] = np.array(scaling[part], np.float32).tolist()
    tensors: dict[str, Any] = {}
    for name, value in read_tensors(checkpoint.folder / "model.safetensors").items():
        first = name.split(".")[2] if name.startswith("model.layers.") else ""
        indices = range(int(first), raw["num_hidden_layers"], layers) if first else [0]
        for index in indices:
            tensors[name.replace(f"layers.{first}.", f"layers.{index}.")] = value
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(raw))
    write_safetensors(folder / "model.safetensors", tensors)
    architecture = load_architecture(raw)
    offsets = {weight.name: np.float32(weight.offset) for weight in architecture.weights}
    values = {name: value.astype(np.float32) + offsets[name] for name, value in tensors.items()}
    return replace(checkpoint, folder=folder, architecture=architecture, tensors=values)


def write_gguf(
    path: Path,
    checkpoint: Golden,
    kind: str,
    *,
    merged: bool = False,
    words: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """Write the file with its matrices in `kind`, a type of ggml, where their columns allow it.

    `merged`: queries, keys and values in one tensor; `words`: tokens of its own. Returns the values
    that the file stands for, under their names in the checkpoint.
    """
    config, raw = checkpoint.architecture.config, _raw_config(checkpoint)
    architecture = ARCHITECTURES[config.model_type]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    _add_numbers(writer, checkpoint, raw)
    _add_tokenizer(writer, config.vocab_size, words or {})
    names = gguf.get_tensor_name_map(architecture, config.layers)
    values: dict[str, Any] = {}
    written: dict[str, Any] = {}
    for name, value in checkpoint.tensors.items():
        stored, values[name] = _encoded(kind if value.ndim == 2 else "F32", value)
        if "q_proj" in name and config.model_type in _PAIRED:
            stored = _interleaved(stored, config.heads)
        elif "k_proj" in name and config.model_type in _PAIRED:
            stored = _interleaved(stored, config.kv_heads)
        written[names.get_name(name, (".weight", ".bias"))] = stored
    for name, stored in (_merged(written) if merged else written).items():
        used = kind if stored.dtype == np.uint8 else str(stored.dtype).replace("float", "F")
        writer.add_tensor(name, stored, raw_dtype=gguf.GGMLQuantizationType[used])
    scaling = raw.get("rope_scaling") or raw.get("rope_parameters") or {}
    if scaling.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_table(scaling, raw, config.head_dim))
    if config.model_type == "phi3":
        for part in ("long", "short"):
            table = np.array(scaling[f"{part}_factor"], np.float32)
            writer.add_tensor(f"rope_factors_{part}.weight", table)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def _raw_config(checkpoint: Golden) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads((checkpoint.folder / "config.json").read_text())
    return raw


def _encoded(kind: str, value: Any) -> tuple[Any, Any]:
    """What is written for a tensor, and the f32 that it stands for."""
    if kind in ("F16", "F32"):
        plain = value.astype(np.float16 if kind == "F16" else np.float32)
        return plain, plain.astype(np.float32)
    ggml = gguf.GGMLQuantizationType[kind]
    if value.shape[1] % gguf.GGML_QUANT_SIZES[ggml][0]:
        return _encoded("F16", value)
    stored = gguf.quants.quantize(value, ggml)
    return stored, gguf.quants.dequantize(stored, ggml)


def _interleaved(rows: Any, heads: int) -> Any:
    """The rows of each head in the order 0, half, 1, half + 1 ..."""
    halves = rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


def _merged(tensors: dict[str, Any]) -> dict[str, Any]:
    """The same with one tensor for queries, keys and values."""
    result = dict(tensors)
    for name in tensors:
        if ".attn_q." in name:
            parts = [result.pop(name.replace(".attn_q.", f".attn_{part}.")) for part in "qkv"]
            result[name.replace(".attn_q.", ".attn_qkv.")] = np.concatenate(parts)
    return result


def _add_numbers(writer: gguf.GGUFWriter, checkpoint: Golden, raw: dict[str, Any]) -> None:
    config = checkpoint.architecture.config
    writer.add_block_count(config.layers)
    writer.add_context_length(raw["max_position_embeddings"])
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.heads)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    rotary = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    rotary = rotary.get("full_attention", rotary)
    writer.add_rope_freq_base(raw.get("rope_theta") or rotary["rope_theta"])
    if rotary.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rotary["factor"])
    if rotary.get("rope_type") == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rotary["factor"])
        writer.add_rope_scaling_orig_ctx_len(rotary["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(rotary["beta_fast"])
    if "head_dim" in raw:
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if config.model_type in _PAIRED:
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(config.head_dim)
    if config.model_type == "lfm2":
        kinds = raw["layer_types"]
        writer.add_head_count_kv([0 if kind == "conv" else config.kv_heads for kind in kinds])
        writer.add_shortconv_l_cache(raw["conv_L_cache"])
    else:
        writer.add_head_count_kv(config.kv_heads)
    if config.model_type == "granite":
        writer.add_embedding_scale(raw["embedding_multiplier"])
        writer.add_attention_scale(raw["attention_multiplier"])
        writer.add_residual_scale(raw["residual_multiplier"])
        writer.add_logit_scale(raw["logits_scaling"])
    if config.model_type == "phi3":
        writer.add_rope_dimension_count(int(config.head_dim * raw["partial_rotary_factor"]))
        original = raw["original_max_position_embeddings"]
        writer.add_rope_scaling_orig_ctx_len(original)
        growth = raw["max_position_embeddings"] / original
        scale = math.sqrt(1 + math.log(growth) / math.log(original))
        writer.add_rope_scaling_attn_factors(scale)
    if config.model_type in ("gemma3_text", "phi3"):
        writer.add_sliding_window(raw["sliding_window"])


def _llama3_table(scaling: dict[str, Any], raw: dict[str, Any], head_dim: int) -> Any:
    """The divisor of every frequency, one at a time."""
    table = []
    for pair in range(0, head_dim, 2):
        theta = scaling.get("rope_theta") or raw["rope_theta"]
        wavelength = 2 * math.pi * theta ** (pair / head_dim)
        turns = scaling["original_max_position_embeddings"] / wavelength
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        share = min(1.0, max(0.0, (turns - low) / (high - low)))
        table.append(1 / ((1 - share) / scaling["factor"] + share))
    return np.array(table, np.float32)


def _add_tokenizer(writer: gguf.GGUFWriter, vocabulary: int, words: Mapping[int, str]) -> None:
    """Bytes, one merge, and padding."""
    tokens = [*byte_tokens()[: vocabulary - 1], "ab"]
    tokens += [f"[PAD{index}]" for index in range(len(tokens), vocabulary)]
    tokens = [words.get(id, token) for id, token in enumerate(tokens)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_merges(["a b"])
