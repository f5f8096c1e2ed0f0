"""A GGUF file and the safetensors checkpoint it was made from become the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from forge import byte_tokens

from cactus.models.base import load_architecture
from cactus.weights.convert import convert
from cactus.weights.folder import WeightsFolder
from tests.models import golden


def write_qwen3(path: Path, checkpoint: golden.Golden) -> None:
    """The checkpoint with the names and keys that the `gguf` package has for it."""
    config = checkpoint.architecture.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, config.layers)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.QWEN3])
    writer.add_block_count(config.layers)
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(1e6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*byte_tokens()[:255], "ab"])
    writer.add_token_merges(["a b"])
    for name, value in checkpoint.tensors.items():
        kind = np.float16 if value.ndim == 2 else np.float32
        writer.add_tensor(names.get_name(name, (".weight",)), value.astype(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_qwen3(tmp_path: Path) -> None:
    checkpoint = golden.load("qwen3")
    write_qwen3(tmp_path / "model.gguf", checkpoint)
    convert(tmp_path / "model.gguf", tmp_path / "one")
    convert(checkpoint.folder, tmp_path / "other")
    with WeightsFolder.open(tmp_path / "one") as one, WeightsFolder.open(tmp_path / "other") as two:
        assert set(one.tensors) == set(two.tensors) == set(checkpoint.tensors)
        for name, value in checkpoint.tensors.items():
            assert one.tensors[name].dtype == two.tensors[name].dtype
            assert np.array_equal(one.dequantize(name), value)
            assert np.array_equal(two.dequantize(name), value)
    configs = [
        load_architecture(json.loads((tmp_path / name / "config.json").read_text())).config
        for name in ("one", "other")
    ]
    assert configs[0] == configs[1] == checkpoint.architecture.config
