"""Config and tensor names of each family, as its checkpoints have them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.errors import CactusError, ModelFormatError, UnsupportedModel
from cactus.models.base import load_architecture
from cactus.weights.sources.open import open_source
from tests.weights import forge
from tests.weights.forge import (
    ARRAY,
    BOOL,
    F32,
    STRING,
    U32,
    Forge,
    tiny_gemma3,
    tiny_granite,
    tiny_lfm2,
    tiny_llama,
    tiny_phi3,
    tiny_qwen2,
    tiny_qwen3,
    tiny_smollm3,
)
from tests.weights.made import read_config as read
from tests.weights.made import refuse, write


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


def test_qwen2(tmp_path: Path) -> None:
    model = read(tmp_path, tiny_qwen2())
    assert model.config["model_type"] == "qwen2"
    shapes = {tensor.name: tensor.shape for tensor in model.tensors if "bias" in tensor.name}
    assert shapes == {
        f"model.layers.{layer}.self_attn.{name}_proj.bias": (size,)
        for layer in (0, 1)
        for name, size in (("q", 32), ("k", 16), ("v", 16))
    }
    assert not any(tensor.rotary_head_dim for tensor in model.tensors)
    source = tiny_qwen2()
    source.tensor("blk.1.attn_v.bias").name = "blk.1.attn_v.bios"
    refuse(tmp_path, source, "'blk.1.attn_v.bias' is missing")


def test_smollm3_does_not_rotate_every_fourth_layer(tmp_path: Path) -> None:
    source = tiny_smollm3()
    for tensor in list(source.tensors):
        if str(tensor.name).startswith("blk."):
            for layer in range(2, 9):
                name = f"blk.{layer}." + str(tensor.name).split(".", 2)[2]
                if str(tensor.name).startswith("blk.0."):
                    source.tensors.append(forge.Tensor(name, tensor.dims, tensor.type, tensor.data))
    source.set("smollm3.block_count", U32, 9)
    model = read(tmp_path, source)
    assert model.config["no_rope_layers"] == [1, 1, 1, 0, 1, 1, 1, 0, 1]
    rotary = {t.name.split(".")[-2] for t in model.tensors if t.rotary_head_dim == 16}
    assert rotary == {"q_proj", "k_proj"}


def test_gemma3(tmp_path: Path) -> None:
    model = read(tmp_path, tiny_gemma3())
    for key, wanted in {
        "model_type": "gemma3_text",
        "head_dim": 32,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 32.0,
        "sliding_window": 32,
        "layer_types": ["sliding_attention", "sliding_attention"],
        "rope_theta": 10000.0,
        "rope_local_base_freq": 10000.0,
        "final_logit_softcapping": None,
        "tie_word_embeddings": True,
    }.items():
        assert model.config[key] == wanted
    names = {tensor.source: tensor.name for tensor in model.tensors}
    norms = {
        name: names[f"blk.1.{name}.weight"].split(".", 3)[3]
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm", "attn_q_norm")
    }
    assert norms == {
        "attn_norm": "input_layernorm.weight",
        "post_attention_norm": "post_attention_layernorm.weight",
        "ffn_norm": "pre_feedforward_layernorm.weight",
        "post_ffw_norm": "post_feedforward_layernorm.weight",
        "attn_q_norm": "self_attn.q_norm.weight",
    }


def test_granite(tmp_path: Path) -> None:
    source = tiny_granite()
    config = read(tmp_path, source).config
    factors = {key: value for key, value in config.items() if "multiplier" in key}
    assert factors | {"logits_scaling": config["logits_scaling"]} == {
        "embedding_multiplier": 12.0,
        "attention_multiplier": 0.015625,
        "residual_multiplier": 0.22,
        "logits_scaling": 8.0,
    }
    for key in ("embedding_scale", "attention.scale", "residual_scale", "logit_scale"):
        source.set(f"granite.{key}", F32, 0.0)
    source.drop("granite.logit_scale")
    config = read(tmp_path, source).config
    assert (config["embedding_multiplier"], config["residual_multiplier"]) == (1.0, 1.0)
    assert (config["attention_multiplier"], config["logits_scaling"]) == (0.25, 1.0)
    source.set("granite.residual_scale", F32, float("nan"))
    refuse(tmp_path, source, "granite.residual_scale is nan")


def test_phi3(tmp_path: Path) -> None:
    source = tiny_phi3()
    model = read(tmp_path, source)
    for key, wanted in {
        "model_type": "phi3",
        "sliding_window": 100,
        "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 128,
        "rope_scaling": {
            "rope_type": "longrope",
            "short_factor": [1.5] * 6,
            "long_factor": [4.0] * 6,
        },
    }.items():
        assert model.config[key] == wanted
    shapes = {t.name: t.shape for t in model.tensors if t.source.startswith("blk.0.")}
    assert shapes["model.layers.0.self_attn.qkv_proj.weight"] == (64, 32)
    assert shapes["model.layers.0.mlp.gate_up_proj.weight"] == (128, 32)
    # The usual scale of 256 positions learned on 128 is left to the model; another one is said.
    source.set("phi3.rope.scaling.attn_factor", F32, (1 + 1 / 7) ** 0.5)
    assert read(tmp_path, source).config["rope_scaling"] == model.config["rope_scaling"]
    source.set("phi3.rope.scaling.attn_factor", F32, 1.19)
    assert read(tmp_path, source).config["rope_scaling"]["attention_factor"] == 1.19


def test_phi3_without_divisors(tmp_path: Path) -> None:
    source = tiny_phi3()
    source.set("phi3.attention.sliding_window", U32, 0)
    short = source.tensor("rope_factors_short.weight")
    source.tensors.remove(short)
    refuse(tmp_path, source, "'rope_factors_short.weight' is missing")
    source.tensors.remove(source.tensor("rope_factors_long.weight"))
    config = read(tmp_path, source).config
    assert "rope_scaling" not in config and config["sliding_window"] is None
    source.set("phi3.rope.dimension_count", U32, 13)
    refuse(tmp_path, source, "phi3.rope.dimension_count is 13")


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_phi3_divisors_that_are_none(tmp_path: Path, value: float) -> None:
    source = tiny_phi3()
    source.tensor("rope_factors_short.weight").data = struct.pack("<6f", 1, 1, 1, 1, value, 1)
    refuse(tmp_path, source, "'rope_factors_short.weight' holds values out of 0.001")


@pytest.mark.parametrize("width", [60, 98, 176])
def test_phi3_rotates_exactly_what_the_file_says(tmp_path: Path, width: int) -> None:
    """60 / 176 · 176 is less than 60 in floating point."""
    source = tiny_phi3()
    source.drop("phi3.vocab_size")
    for key, number in {
        "embedding_length": 352,
        "rope.dimension_count": width,
    }.items():
        source.set(f"phi3.{key}", U32, number)
    for name in ("long", "short"):
        tensor = source.tensor(f"rope_factors_{name}.weight")
        tensor.dims, tensor.data = [width // 2], struct.pack("<f", 1.0) * (width // 2)
    for tensor in source.tensors:
        if not str(tensor.name).startswith("rope"):
            sizes = {32: 352} if "attn_qkv" not in str(tensor.name) else {32: 352, 64: 704}
            tensor.dims = [sizes.get(size, size) for size in tensor.dims]
            tensor.type, tensor.data = 0, bytes(4 * int(np.prod(tensor.dims)))
    part = read(tmp_path, source).config["partial_rotary_factor"]
    assert int(176 * part) == width


def test_gemma3_says_which_layers_have_a_window(tmp_path: Path) -> None:
    source = tiny_gemma3()
    key = "gemma3.attention.sliding_window_pattern"
    for kind, payload, wanted in (
        (U32, struct.pack("<I", 2), [True, False]),
        (U32, struct.pack("<I", 1), [False, False]),
        (ARRAY, forge.array(BOOL, [False, True]), [False, True]),
        (ARRAY, forge.array(U32, [1, 0]), [True, False]),
    ):
        source.put(key, kind, payload)
        kinds = read(tmp_path, source).config["layer_types"]
        assert [kind == "sliding_attention" for kind in kinds] == wanted
    for kind, payload in (
        (ARRAY, forge.array(BOOL, [True])),
        (ARRAY, forge.array(U32, [1, 2])),
        (ARRAY, forge.array(STRING, ["a", "b"])),
        (U32, struct.pack("<I", 0)),
        (STRING, forge.text("1")),
    ):
        source.put(key, kind, payload)
        refuse(tmp_path, source, f"{key} is ")
    source.drop(key)
    source.drop("gemma3.attention.sliding_window")
    config = read(tmp_path, source).config
    assert config["sliding_window"] is None
    assert config["layer_types"] == ["full_attention"] * 2


def test_gemma3_of_larger_sizes(tmp_path: Path) -> None:
    """Global layers are stretched, local ones have a base of their own."""
    source = tiny_gemma3()
    source.set("gemma3.rope.freq_base", F32, 1e6)
    source.set("gemma3.rope.freq_base_swa", F32, 20000.0)
    source.set("gemma3.rope.scaling.type", STRING, "linear")
    source.set("gemma3.rope.scaling.factor", F32, 8.0)
    source.set("gemma3.final_logit_softcapping", F32, 30.0)
    config = read(tmp_path, source).config
    assert (config["rope_theta"], config["rope_local_base_freq"]) == (1e6, 20000.0)
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}
    assert config["final_logit_softcapping"] == 30.0


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


@pytest.mark.parametrize(
    "make",
    [
        *(tiny_gemma3, tiny_granite, tiny_lfm2, tiny_llama),
        *(tiny_phi3, tiny_qwen2, tiny_qwen3, tiny_smollm3),
    ],
)
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


# Queries, keys and values in one tensor


def merge(source: Forge, layer: int, part: str) -> forge.Tensor:
    """Put a layer's three projections, or their biases, into one tensor."""
    parts = [source.tensor(f"blk.{layer}.attn_{name}.{part}") for name in "qkv"]
    rows = sum(tensor.dims[-1] for tensor in parts)
    dims = [*parts[0].dims[:-1], rows]
    data = b"".join(tensor.data for tensor in parts)
    merged = forge.Tensor(f"blk.{layer}.attn_qkv.{part}", dims, parts[0].type, data)
    for tensor in parts:
        source.tensors.remove(tensor)
    source.tensors.append(merged)
    return merged


def test_merged_projections(tmp_path: Path) -> None:
    source = tiny_qwen2()
    merge(source, 1, "weight")
    merge(source, 1, "bias")
    model = read(tmp_path, source)
    found = {
        tensor.name.removeprefix("model.layers.1.self_attn."): (tensor.first, tensor.source_shape)
        for tensor in model.tensors
        if tensor.source.startswith("blk.1.attn_qkv.")
    }
    assert found == {
        "q_proj.weight": (0, (64, 32)),
        "k_proj.weight": (32, (64, 32)),
        "v_proj.weight": (48, (64, 32)),
        "q_proj.bias": (0, (64,)),
        "k_proj.bias": (32, (64,)),
        "v_proj.bias": (48, (64,)),
    }


def test_merged_projections_that_lie(tmp_path: Path) -> None:
    source = tiny_llama("F16")
    merged = merge(source, 0, "weight")
    merged.dims[1], merged.data = 48, merged.data[: 48 * 64]
    refuse(tmp_path, source, r"'blk.0.attn_qkv.weight' has shape \[48, 32\], .* \[64, 32\]")
    source = tiny_llama("F16")
    merge(source, 0, "weight")
    source.add("blk.0.attn_v.weight", "F16", (16, 32))
    refuse(tmp_path, source, r"'blk.0.attn_qkv.weight' has shape \[64, 32\], .* \[48, 32\]")
    source = tiny_llama("F16")
    source.add("blk.0.attn_qkv.weight", "F16", (64, 32))
    refuse(tmp_path, source, "'blk.0.attn_qkv.weight' belong to no part", UnsupportedModel)


def test_a_merged_bias_of_blocks_is_refused(tmp_path: Path) -> None:
    """Its parts need not begin where a block does."""
    source = tiny_qwen2()
    merge(source, 0, "bias")
    source.tensors.pop()
    source.add("blk.0.attn_qkv.bias", "Q8_0", (64,))
    with pytest.raises(UnsupportedModel, match=r"'blk.0.attn_qkv.bias': a bias of blocks"):
        open_source(write(tmp_path, source))


# Rotary scaling


def test_linear_scaling(tmp_path: Path) -> None:
    source = tiny_llama()
    source.set("llama.rope.scaling.type", STRING, "linear")
    source.set("llama.rope.scaling.factor", F32, 4.0)
    config = read(tmp_path, source).config
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}
    for key in ("scaling.type", "scaling.factor"):
        source.drop(f"llama.rope.{key}")
    source.set("llama.rope.scale_linear", F32, 2.0)
    assert read(tmp_path, source).config["rope_scaling"]["factor"] == 2.0
    for kind in ("dynamic", "longrope"):
        source.set("llama.rope.scaling.type", STRING, kind)
        refuse(tmp_path, source, "llama.rope.scaling.type .* not supported", UnsupportedModel)
    source.set("llama.rope.scaling.type", STRING, "x" * 1000)
    refuse(tmp_path, source, "llama.rope.scaling.type .* at most 64")
    source.set("llama.rope.scaling.type", STRING, "none")
    assert "rope_scaling" not in read(tmp_path, source).config


@pytest.mark.parametrize(
    ("make", "key", "kind", "value", "said"),
    [
        (tiny_llama, "llama.attention.causal", BOOL, 0, "is false: models that read"),
        (tiny_llama, "llama.rope.scaling.attn_factor", F32, 1.5, "is 1.5, expected 1"),
        (tiny_lfm2, "lfm2.attention.sliding_window", U32, 64, "windows are not supported"),
    ],
)
def test_metadata_that_would_change_the_answers_is_refused(
    tmp_path: Path, make: Callable[[], Forge], key: str, kind: int, value: Any, said: str
) -> None:
    source = make()
    source.set(key, kind, value)
    refuse(tmp_path, source, f"{key}.*{said}", UnsupportedModel)


def yarn(**values: float) -> Forge:
    """A file whose positions YaRN stretches fourfold."""
    source = tiny_llama()
    source.set("llama.rope.scaling.type", STRING, "yarn")
    for key, value in ({"factor": 4.0} | values).items():
        source.set(f"llama.rope.scaling.{key}", F32, value)
    return source


@pytest.mark.parametrize(
    ("values", "config"),
    [
        ({}, {}),
        ({"yarn_beta_fast": 20.0, "yarn_beta_slow": 0.5}, {"beta_fast": 20.0, "beta_slow": 0.5}),
        ({"yarn_attn_factor": 1.25}, {"attention_factor": 1.25}),
        ({"yarn_log_multiplier": 0.7}, {"mscale": 1.0, "mscale_all_dim": 0.7}),
        ({"yarn_ext_factor": 1.0, "attn_factor": 1.0}, {}),
        ({"yarn_ext_factor": -1.0}, {}),
    ],
)
def test_yarn_scaling(tmp_path: Path, values: Any, config: dict[str, float]) -> None:
    source = yarn(**values)
    scaling = {"rope_type": "yarn", "factor": 4.0, **config}
    got = read(tmp_path, source).config["rope_scaling"]
    assert got == scaling | {"original_max_position_embeddings": 256}  # the file's own context
    source.set("llama.rope.scaling.original_context_length", U32, 100)
    read_config = read(tmp_path, source).config
    assert read_config["rope_scaling"] == scaling | {"original_max_position_embeddings": 100}
    assert load_architecture(read_config).config.context_length == 400


@pytest.mark.parametrize("key", ["yarn_ext_factor", "attn_factor"])
def test_what_yarn_is_not_mixed_with(tmp_path: Path, key: str) -> None:
    refuse(tmp_path, yarn(**{key: 0.5}), f"{key} is 0.5, expected 1", UnsupportedModel)


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


@pytest.mark.parametrize("original", [8192, 1000, 131072])
@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama3_scaling_is_recognised_by_its_table(
    tmp_path: Path, factor: float, original: int
) -> None:
    config = read(tmp_path, with_table(llama3_table(factor, original, 500000.0, 8))).config
    assert config["rope_scaling"] == {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": original,
    }


@pytest.mark.parametrize(
    ("table", "kind", "match"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], UnsupportedModel, "not a Llama 3 frequency table"),
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
