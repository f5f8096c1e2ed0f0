"""Small checkpoints and GGUF files on disk, for the tests of conversion."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from cactus.errors import CactusError, ModelFormatError
from cactus.tokenizer import byte_level, document
from cactus.weights.format.safetensors import write_safetensors
from cactus.weights.sources.gguf.config import GGUFModel, read_model
from cactus.weights.sources.gguf.read import read_gguf
from tests.weights.forge import TYPES, Forge, byte_tokens

_NAMES = {number: name for name, (number, _, _) in TYPES.items()}


def write(tmp_path: Path, model: Forge, name: str = "model.gguf") -> Path:
    path = tmp_path / name
    path.write_bytes(model.build())
    return path


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def small_checkpoint(hidden: int = 32) -> tuple[dict[str, Any], dict[str, Any]]:
    """A Hugging Face llama of one layer with heads of 16."""
    random = np.random.default_rng(5)
    config = {
        "model_type": "llama",
        "vocab_size": 40,
        "hidden_size": hidden,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": hidden // 16,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    }
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (40, hidden),
        "model.norm.weight": (hidden,),
        "model.layers.0.input_layernorm.weight": (hidden,),
        "model.layers.0.post_attention_layernorm.weight": (hidden,),
        "model.layers.0.self_attn.q_proj.weight": (hidden, hidden),
        "model.layers.0.self_attn.k_proj.weight": (16, hidden),
        "model.layers.0.self_attn.v_proj.weight": (16, hidden),
        "model.layers.0.self_attn.o_proj.weight": (hidden, hidden),
        "model.layers.0.mlp.gate_proj.weight": (64, hidden),
        "model.layers.0.mlp.up_proj.weight": (64, hidden),
        "model.layers.0.mlp.down_proj.weight": (hidden, 64),
    }
    return config, {
        name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()
    }


def write_checkpoint(folder: Path, config: dict[str, Any], tensors: dict[str, Any]) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    write_safetensors(folder / "model.safetensors", tensors)
    write_tokenizer(folder)


def write_tokenizer(folder: Path) -> None:
    """A tokenizer.json of 256 bytes, without which no checkpoint is converted."""
    vocabulary = {token: index for index, token in enumerate(byte_tokens())}
    letters = byte_level()
    model = {"type": "BPE", "vocab": vocabulary, "merges": []}
    built = document([], None, letters, letters, model)
    (folder / "tokenizer.json").write_text(json.dumps(built))


def values_of(model: Forge, name: str) -> Any:
    """A tensor of a forged file as the `gguf` package reads it."""
    tensor = model.tensor(name)
    kind = gguf.GGMLQuantizationType(tensor.type)
    raw = np.frombuffer(tensor.data, np.uint8)
    shape = tuple(reversed(tensor.dims))
    if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
        plain = raw.view("<f4" if kind == gguf.GGMLQuantizationType.F32 else "<f2")
        return plain.astype(np.float32).reshape(shape)
    rows = raw.reshape(math.prod(shape[:-1]), -1)
    return gguf.quants.dequantize(rows, kind).reshape(shape)


def read_config(tmp_path: Path, model: Forge) -> GGUFModel:
    path = tmp_path / "model.gguf"
    path.write_bytes(model.build())
    file = read_gguf(path)
    try:
        return read_model(file)
    finally:
        file.close()


def refuse(
    tmp_path: Path, model: Forge, match: str, kind: type[CactusError] = ModelFormatError
) -> None:
    with pytest.raises(kind, match=match):
        read_config(tmp_path, model)
