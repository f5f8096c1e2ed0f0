"""Models of full size with random weights, where only the speed is wanted.

    python benchmarks/random_models.py lfm2-350m FILE.gguf

All matrices are written as Q4_0 blocks, which llama.cpp runs as they are and our conversion keeps
without loss: both sides multiply the same numbers. Tensors are made and written one at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from cactus.models.base import Architecture, Weight, load_architecture

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))

from make_random_checkpoint import CHAT_TEMPLATE, TOKEN_IDS, vocabulary
from published_models import PUBLISHED, find

BLOCK = 32
_Q4_0 = gguf.GGMLQuantizationType.Q4_0
_BLOCKS = np.dtype([("scale", "<f2"), ("codes", "u1", 16)])
_CODE_DEVIATION = 4.32  # of integers from -7 to 7
_PIECE = 1 << 16
"""Blocks that are made at a time."""

FAMILIES = {
    "gemma3_text": (gguf.MODEL_ARCH.GEMMA3, "gpt-2"),
    "lfm2": (gguf.MODEL_ARCH.LFM2, "lfm2"),
    "llama": (gguf.MODEL_ARCH.LLAMA, "llama-bpe"),
    "qwen2": (gguf.MODEL_ARCH.QWEN2, "qwen2"),
    "qwen3": (gguf.MODEL_ARCH.QWEN3, "qwen2"),
    "smollm3": (gguf.MODEL_ARCH.SMOLLM3, "smaug-bpe"),
}
"""By ``model_type``: what GGUF calls the architecture, and how its text is cut into words."""


def write(config: dict[str, Any], path: Path, seed: int = 0) -> None:
    """Write the model of a config.json as GGUF under a temporary name, then give it its own."""
    architecture = load_architecture(config)
    kind, pre_tokenizer = FAMILIES[config["model_type"]]
    names = gguf.get_tensor_name_map(kind, architecture.config.layers)
    part = path.with_suffix(".part")
    writer = gguf.GGUFWriter(part, gguf.MODEL_ARCH_NAMES[kind])
    _write_metadata(writer, config, architecture)
    _write_tokenizer(writer, config, pre_tokenizer)
    for weight in architecture.weights:
        name, count = names.get_name(weight.name, (".weight", ".bias")), int(np.prod(weight.shape))
        blocks = _in_blocks(weight)
        nbytes = count // BLOCK * _BLOCKS.itemsize if blocks else count * 4
        shape, plain = weight.shape, np.dtype(np.float32)
        writer.add_tensor_info(name, shape, plain, nbytes, _Q4_0 if blocks else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(seed)
    for weight in architecture.weights:
        if _in_blocks(weight):
            values = np.concatenate(list(_blocks(random, weight.shape)))
        else:
            values = _plain(random, weight)
        writer.write_tensor_data(values)
    writer.close()
    part.replace(path)


def _in_blocks(weight: Weight) -> bool:
    """Whether a tensor is a matrix of blocks; the others stay f32."""
    return len(weight.shape) == 2 and not weight.name.endswith(".conv.weight")


def _blocks(random: np.random.Generator, shape: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """Blocks of mean 0 that keep the size of what they multiply."""
    rows, cols = shape
    count = rows * cols // BLOCK
    for start in range(0, count, _PIECE):
        blocks = np.empty(min(_PIECE, count - start), _BLOCKS)
        blocks["scale"] = cols**-0.5 / _CODE_DEVIATION
        low, high = random.integers(1, 16, (2, len(blocks), 16), np.uint8)
        blocks["codes"] = low | high << 4
        yield blocks


def _plain(random: np.random.Generator, weight: Weight) -> NDArray[Any]:
    """Norms around 1, biases around 0, and kernels of convolutions, small enough to be alike."""
    mean = 0.0 if weight.name.endswith(".bias") else 1.0
    return (mean + 0.1 * random.standard_normal(weight.shape)).astype(np.float32)


def _write_metadata(
    writer: gguf.GGUFWriter, config: dict[str, Any], architecture: Architecture
) -> None:
    own = architecture.config
    writer.add_block_count(own.layers)
    writer.add_context_length(own.context_length)
    writer.add_embedding_length(own.hidden_size)
    writer.add_feed_forward_length(own.intermediate_size)
    writer.add_vocab_size(own.vocab_size)
    writer.add_head_count(own.heads)
    writer.add_key_length(own.head_dim)
    writer.add_value_length(own.head_dim)
    writer.add_layer_norm_rms_eps(own.norm_eps)
    writer.add_rope_freq_base(config["rope_theta"])
    if config["model_type"] == "lfm2":
        attending = config["full_attn_idxs"]
        counts = [own.kv_heads * (layer in attending) for layer in range(own.layers)]
        writer.add_head_count_kv(counts)
        writer.add_shortconv_l_cache(config["conv_L_cache"])
    else:
        writer.add_head_count_kv(own.kv_heads)
    if config["model_type"] == "gemma3_text":
        writer.add_sliding_window(config["sliding_window"])
    if config["model_type"] in ("llama", "smollm3"):
        writer.add_rope_dimension_count(own.head_dim)


def _write_tokenizer(writer: gguf.GGUFWriter, config: dict[str, Any], pre_tokenizer: str) -> None:
    tokens, special = vocabulary(config)
    normal, control = int(gguf.TokenType.NORMAL), int(gguf.TokenType.CONTROL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer)
    writer.add_token_list(tokens)
    writer.add_token_types([control if id in special else normal for id in range(len(tokens))])
    writer.add_token_merges(["t h"])
    add = {
        "bos_token_id": writer.add_bos_token_id,
        "eos_token_id": writer.add_eos_token_id,
        "pad_token_id": writer.add_pad_token_id,
    }
    for key in TOKEN_IDS:
        ids = config.get(key)
        if ids is not None:
            add[key](ids[0] if isinstance(ids, list) else ids)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def main() -> int:
    """Read the arguments and write the file."""
    names = [model.name for model in PUBLISHED if model.config["model_type"] in FAMILIES]
    if len(sys.argv) != 3 or sys.argv[1] not in names:
        print(f"usage: random_models.py {'|'.join(names)} FILE.gguf", file=sys.stderr)
        return 2
    write(find(sys.argv[1]).config, Path(sys.argv[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
