"""What a GGUF file says of itself: the config made of it, and lies about it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forge
import gguf
import numpy as np
import pytest
from forge import (
    ARRAY,
    BOOL,
    F32,
    F64,
    I32,
    STRING,
    U32,
    U64,
    Forge,
    tiny_lfm2,
    tiny_llama,
    tiny_qwen3,
)

from cactus.errors import CactusError, ModelFormatError, UnsupportedModel
from cactus.models.base import load_architecture
from cactus.weights.gguf import read_gguf
from cactus.weights.gguf_config import GGUFModel, read_model


def read(tmp_path: Path, model: Forge) -> GGUFModel:
    path = tmp_path / "model.gguf"
    path.write_bytes(model.build())
    gguf = read_gguf(path)
    try:
        return read_model(gguf)
    finally:
        gguf.close()


def refuse(
    tmp_path: Path, model: Forge, match: str, kind: type[CactusError] = ModelFormatError
) -> None:
    with pytest.raises(kind, match=match):
        read(tmp_path, model)


def test_llama(tmp_path: Path) -> None:
    model = read(tmp_path, tiny_llama())
    assert model.config == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 272,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 256,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
    }
    assert model.generation == {"bos_token_id": 1, "eos_token_id": 2}
    assert model.chat_template == "{{ messages[0]['content'] }}"
    assert model.ignored == ()
    rotary = {tensor.name for tensor in model.tensors if tensor.rotary_head_dim}
    assert rotary == {
        f"model.layers.{layer}.self_attn.{name}_proj.weight" for layer in (0, 1) for name in "qk"
    }


def test_lfm2(tmp_path: Path) -> None:
    model = read(tmp_path, tiny_lfm2())
    for key, wanted in {
        "model_type": "lfm2",
        "layer_types": ["conv", "full_attention"],
        "conv_L_cache": 3,
        "norm_eps": 1e-05,
        "num_key_value_heads": 1,
        "intermediate_size": 64,
        "block_auto_adjust_ff_dim": False,
    }.items():
        assert model.config[key] == wanted
    assert not any(tensor.rotary_head_dim for tensor in model.tensors)


def test_qwen3(tmp_path: Path) -> None:
    model = read(tmp_path, tiny_qwen3())
    for key, wanted in {
        "model_type": "qwen3",
        "head_dim": 32,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-05,
        "attention_bias": False,
    }.items():
        assert model.config[key] == wanted
    assert not any(tensor.rotary_head_dim for tensor in model.tensors)


def test_qwen3_without_its_norms_or_with_a_bias(tmp_path: Path) -> None:
    source = tiny_qwen3()
    source.tensor("blk.1.attn_k_norm.weight").name = "blk.1.attn_norm_k.weight"
    refuse(tmp_path, source, "'blk.1.attn_k_norm.weight' is missing")
    source = tiny_qwen3()
    norm = source.tensor("blk.0.attn_q_norm.weight")
    norm.dims, norm.data = [16], norm.data[:64]
    refuse(tmp_path, source, r"'blk.0.attn_q_norm.weight' has shape \[16\]")
    source = tiny_qwen3()
    for layer in range(2):
        for name, rows in (("q", 64), ("k", 32), ("v", 32), ("output", 32)):
            source.add(f"blk.{layer}.attn_{name}.bias", "F32", (rows,))
    with pytest.raises(UnsupportedModel, match="attention_bias is true"):
        load_architecture(read(tmp_path, source).config)


@pytest.mark.parametrize("make", [tiny_llama, tiny_lfm2, tiny_qwen3])
@pytest.mark.parametrize("tied", [True, False])
def test_the_models_accept_config_and_tensors(
    tmp_path: Path, make: Callable[[], Forge], tied: bool
) -> None:
    """The names and shapes are those that the model files of this package ask for."""
    source = make()
    if not tied:
        source.add("output.weight", "Q8_0", (272, 32))
    model = read(tmp_path, source)
    architecture = load_architecture(model.config)
    assert architecture.tied is tied
    architecture.check({tensor.name: tensor.shape for tensor in model.tensors})


def test_lfm2_norm_under_its_later_name(tmp_path: Path) -> None:
    source = tiny_lfm2()
    source.tensor("token_embd_norm.weight").name = "output_norm.weight"
    names = {tensor.source: tensor.name for tensor in read(tmp_path, source).tensors}
    assert names["output_norm.weight"] == "model.embedding_norm.weight"


def test_ends_of_turn_are_all_kept(tmp_path: Path) -> None:
    source = tiny_llama()
    source.set("tokenizer.ggml.eot_token_id", U32, 5)
    source.set("tokenizer.ggml.padding_token_id", U32, 0)
    model = read(tmp_path, source)
    assert model.config["eos_token_id"] == [2, 5]
    assert model.generation == {"bos_token_id": 1, "eos_token_id": [2, 5], "pad_token_id": 0}


def test_extra_tensors_are_named(tmp_path: Path) -> None:
    source = tiny_llama()
    source.add("blk.0.mystery.weight", "F32", (4,))
    assert read(tmp_path, source).ignored == ("blk.0.mystery.weight",)


# Rotary scaling


def test_linear_scaling(tmp_path: Path) -> None:
    source = tiny_llama()
    source.set("llama.rope.scaling.type", STRING, "linear")
    source.set("llama.rope.scaling.factor", F32, 4.0)
    config = read(tmp_path, source).config
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}
    for kind in ("yarn", "longrope"):
        source.set("llama.rope.scaling.type", STRING, kind)
        refuse(tmp_path, source, "llama.rope.scaling.type .* not supported", UnsupportedModel)
    source.set("llama.rope.scaling.type", STRING, "x" * 1000)
    refuse(tmp_path, source, "llama.rope.scaling.type .* at most 64")
    source.set("llama.rope.scaling.type", STRING, "none")
    assert "rope_scaling" not in read(tmp_path, source).config


def llama3_table(factor: float, original: int, theta: float, pairs: int) -> Any:
    """The divisors as the published model code has them, one frequency at a time."""
    table = []
    for pair in range(pairs):
        wavelength = 2 * np.pi * theta ** (pair / pairs)
        if wavelength < original / 4:
            table.append(1.0)
        elif wavelength > original / 1:
            table.append(factor)
        else:
            smooth = (original / wavelength - 1) / (4 - 1)
            table.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(table, "<f4")


def with_table(table: Any) -> Forge:
    source = tiny_llama()
    source.set("llama.rope.freq_base", F32, 500000.0)
    source.add("rope_freqs.weight", "F32", (len(table),))
    source.tensor("rope_freqs.weight").data = table.tobytes()
    return source


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama3_scaling_is_recognised_by_its_table(tmp_path: Path, factor: float) -> None:
    config = read(tmp_path, with_table(llama3_table(factor, 8192, 500000.0, 8))).config
    assert config["rope_scaling"] == {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }


@pytest.mark.parametrize(
    ("table", "kind", "match"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], UnsupportedModel, "no Llama 3 frequency table"),
        ([1, 1, 1, 1, 1, 1, 1, float("nan")], ModelFormatError, "out of 1"),
        ([1, 1, 1, 1, 1, 1, 1, float("inf")], ModelFormatError, "out of 1"),
        ([0, 1, 1, 1, 1, 1, 1, 1], ModelFormatError, "out of 1"),
        ([1, 1, 1], ModelFormatError, r"F32 \[3\], expected F32 \[8\]"),
    ],
)
def test_other_rotary_tables(
    tmp_path: Path, table: list[float], kind: type[CactusError], match: str
) -> None:
    refuse(tmp_path, with_table(np.array(table, "<f4")), match, kind)


# F08, F09: tensors against metadata


def test_f08_missing_tensor(tmp_path: Path) -> None:
    for make in (tiny_llama, tiny_lfm2):
        for index, tensor in enumerate(make().tensors):
            source = make()
            del source.tensors[index]
            name = tensor.name
            # Without the first of two names the second is asked for.
            refuse(tmp_path, source, f"'{name}' is missing, expected with shape")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("token_embd.weight", (271, 32)),
        ("token_embd.weight", (32, 272)),
        ("output_norm.weight", (16,)),
        ("output_norm.weight", (32, 1)),
        ("output_norm.weight", (1, 32)),
        ("blk.1.attn_k.weight", (32, 32)),
        ("blk.0.ffn_down.weight", (64, 32)),
        ("blk.0.ffn_down.weight", (1, 32, 64)),
    ],
)
def test_f09_shape_that_the_metadata_does_not_ask_for(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    source = tiny_llama()
    index = source.tensors.index(source.tensor(name))
    source.add(name, "F32", shape)
    source.tensors[index] = source.tensors.pop()
    refuse(tmp_path, source, f"'{name}' has shape .*but the metadata asks for")


# F10: metadata


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_count", 0),
        ("block_count", 1025),
        ("block_count", 10**9),
        ("block_count", 2**32 - 1),
        ("embedding_length", 0),
        ("embedding_length", 33),
        ("embedding_length", 2**31),
        ("feed_forward_length", 0),
        ("feed_forward_length", 65),
        ("feed_forward_length", 2**31),
        ("attention.head_count", 0),
        ("attention.head_count", 10**9),
        ("attention.head_count_kv", 0),
        ("attention.head_count_kv", 3),
        ("attention.head_count_kv", 2**31),
        ("attention.key_length", 0),
        ("attention.key_length", 15),
        ("attention.value_length", 8),
        ("rope.dimension_count", 0),
        ("rope.dimension_count", 15),
        ("rope.dimension_count", 8),
        ("rope.scaling.original_context_length", 0),
        ("vocab_size", 0),
        ("vocab_size", 271),
        ("vocab_size", 2**31),
        ("context_length", 0),
        ("context_length", 2**31),
    ],
)
def test_f10_numbers_that_lie(tmp_path: Path, key: str, value: int) -> None:
    source = tiny_llama()
    source.set(f"llama.{key}", U32, value)
    refuse(tmp_path, source, f"llama.{key} is {value}")


def test_f10_head_count_that_does_not_divide(tmp_path: Path) -> None:
    source = tiny_llama()
    source.set("llama.attention.head_count", U32, 3)
    refuse(tmp_path, source, "llama.attention.key_length is missing")
    source.set("llama.attention.head_count_kv", U32, 2)
    source.set("llama.attention.key_length", U32, 16)
    refuse(tmp_path, source, "head_count_kv is 2, which does not divide 3 heads")


@pytest.mark.parametrize(
    "key",
    [
        "block_count",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "context_length",
        "attention.layer_norm_rms_epsilon",
        "attention.head_count_kv",
    ],
)
def test_f10_missing_or_of_the_wrong_type(tmp_path: Path, key: str) -> None:
    source = tiny_llama()
    source.drop(f"llama.{key}")
    refuse(tmp_path, source, f"llama.{key} is missing")
    for kind, payload in (
        (STRING, forge.text("2")),
        (BOOL, b"\1"),
        (ARRAY, forge.array(STRING, ["2", "2"])),
        (ARRAY, forge.array(U32, [1, 1, 1])),
        (ARRAY, forge.array(U32, [])),
        (U64, struct.pack("<Q", 2**64 - 1)),
    ):
        source.put(f"llama.{key}", kind, payload)
        refuse(tmp_path, source, f"llama.{key} is ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0, 1e300])
def test_f10_numbers_that_are_none(tmp_path: Path, value: float) -> None:
    source = tiny_llama()
    source.set("llama.rope.freq_base", F64, value)
    refuse(tmp_path, source, "llama.rope.freq_base is ")
    if value != 0:
        source = tiny_llama()
        source.set("llama.attention.layer_norm_rms_epsilon", F64, value)
        refuse(tmp_path, source, "layer_norm_rms_epsilon is ")


def test_f10_experts(tmp_path: Path) -> None:
    source = tiny_llama()
    source.set("llama.expert_count", U32, 8)
    refuse(tmp_path, source, "experts are not supported", UnsupportedModel)


def test_f10_heads_that_differ_by_layer(tmp_path: Path) -> None:
    source = tiny_llama()
    source.put("llama.attention.head_count_kv", ARRAY, forge.array(I32, [1, 2]))
    refuse(tmp_path, source, "differs by layer", UnsupportedModel)
    source.put("llama.attention.head_count_kv", ARRAY, forge.array(I32, [1, 0]))
    refuse(tmp_path, source, "each from 1 to 2")
    source = tiny_lfm2()
    source.put("lfm2.attention.head_count_kv", ARRAY, forge.array(I32, [1, 2]))
    refuse(tmp_path, source, "several sizes", UnsupportedModel)
    source.put("lfm2.attention.head_count_kv", ARRAY, forge.array(I32, [0, -1]))
    refuse(tmp_path, source, "each from 0 to 2")
    source.put("lfm2.attention.head_count_kv", ARRAY, forge.array(I32, [0, 1, 1]))
    refuse(tmp_path, source, "one integer or 2")


@pytest.mark.parametrize("taps", [0, 1, 65, 2**31])
def test_f10_convolution_taps(tmp_path: Path, taps: int) -> None:
    source = tiny_lfm2()
    source.set("lfm2.shortconv.l_cache", U32, taps)
    refuse(tmp_path, source, f"lfm2.shortconv.l_cache is {taps}")


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (ARRAY, forge.array(STRING, [])),
        (ARRAY, forge.array(I32, [1, 2])),
        (STRING, forge.text("abc")),
        (ARRAY, forge.array(STRING, ["a"])),
    ],
)
def test_f10_vocabulary(tmp_path: Path, kind: int, payload: bytes) -> None:
    source = tiny_llama()
    source.put("tokenizer.ggml.tokens", kind, payload)
    refuse(tmp_path, source, "tokenizer.ggml.tokens is|llama.vocab_size is 272, expected 1")
    source.drop("tokenizer.ggml.tokens")
    refuse(tmp_path, source, "tokenizer.ggml.tokens is missing")


@pytest.mark.parametrize("name", ["bos", "eos", "eot", "eom", "padding"])
@pytest.mark.parametrize("value", [-1, 272, 2**31 - 1])
def test_f18_special_ids_out_of_range(tmp_path: Path, name: str, value: int) -> None:
    source = tiny_llama()
    source.set(f"tokenizer.ggml.{name}_token_id", I32, value)
    refuse(
        tmp_path, source, f"tokenizer.ggml.{name}_token_id is {value}, expected an integer from 0"
    )


def test_f18_special_ids_at_the_end_of_their_type(tmp_path: Path) -> None:
    source = tiny_llama()
    source.set("tokenizer.ggml.bos_token_id", U32, 2**31)
    refuse(tmp_path, source, "bos_token_id is 2147483648")


@pytest.mark.parametrize(
    ("kind", "payload", "error"),
    [
        (STRING, forge.text("gpt9"), UnsupportedModel),
        (STRING, forge.text("../../llama"), UnsupportedModel),
        (STRING, forge.text(""), UnsupportedModel),
        (U32, bytes(4), ModelFormatError),
        (ARRAY, forge.array(STRING, ["llama"]), ModelFormatError),
    ],
)
def test_f10_architecture(
    tmp_path: Path, kind: int, payload: bytes, error: type[CactusError]
) -> None:
    source = tiny_llama()
    source.put("general.architecture", kind, payload)
    refuse(tmp_path, source, "(?i)architecture.*lfm2, llama", error)


def test_f10_chat_template_of_another_type(tmp_path: Path) -> None:
    source = tiny_llama()
    source.set("tokenizer.chat_template", U32, 1)
    refuse(tmp_path, source, "tokenizer.chat_template is 1, expected a string")
    source.set("tokenizer.chat_template", STRING, "x" * ((1 << 18) + 1))
    refuse(tmp_path, source, "tokenizer.chat_template is 'x.*at most 262144")


@pytest.mark.parametrize("key", ["model", "pre"])
def test_f10_names_of_megabytes(tmp_path: Path, key: str) -> None:
    source = tiny_llama()
    source.set(f"tokenizer.ggml.{key}", STRING, "x" * 1_000_000)
    with pytest.raises(ModelFormatError, match=f"tokenizer.ggml.{key} is 'x.*at most 64") as caught:
        read(tmp_path, source)
    assert len(str(caught.value)) < 500


def test_parts_and_adapters_are_named(tmp_path: Path) -> None:
    source = tiny_llama()
    source.set("split.count", U32, 1)
    source.set("general.type", STRING, "model")
    read(tmp_path, source)
    source.set("split.count", U32, 3)
    refuse(tmp_path, source, "split.count is 3: this file is one of several", UnsupportedModel)
    source.set("general.type", STRING, "adapter")
    refuse(tmp_path, source, "general.type is 'adapter'", UnsupportedModel)


@pytest.mark.parametrize(
    ("make", "architecture"),
    [(tiny_llama, gguf.MODEL_ARCH.LLAMA), (tiny_lfm2, gguf.MODEL_ARCH.LFM2)],
)
def test_names_are_those_of_the_converters(
    tmp_path: Path, make: Callable[[], Forge], architecture: Any
) -> None:
    """The `gguf` package, with which models are converted, maps every name back."""
    names = gguf.get_tensor_name_map(architecture, 2)
    for tensor in read(tmp_path, make()).tensors:
        assert names.get_name(tensor.name, (".weight",)) == tensor.source
