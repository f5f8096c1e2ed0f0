"""What a GGUF file says of itself, and lies about it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest

from cactus.errors import CactusError, ModelFormatError, UnsupportedModel
from tests.weights import forge
from tests.weights.forge import (
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
)
from tests.weights.made import read_config as read
from tests.weights.made import refuse


def test_ends_of_turn_are_all_kept(tmp_path: Path) -> None:
    source = tiny_llama()
    source.set("tokenizer.ggml.eot_token_id", U32, 5)
    source.set("tokenizer.ggml.padding_token_id", U32, 0)
    model = read(tmp_path, source)
    assert model.config["eos_token_id"] == [2, 5]
    assert model.generation == {"bos_token_id": 1, "eos_token_id": [2, 5], "pad_token_id": 0}


def test_what_a_file_says_of_sampling_is_kept(tmp_path: Path) -> None:
    source = tiny_llama()
    source.set("general.sampling.temp", F32, 0.5)
    source.set("general.sampling.top_k", U32, 20)
    source.set("general.sampling.penalty_repeat", F32, 1.25)
    generation = read(tmp_path, source).generation
    assert generation["temperature"] == 0.5
    assert (generation["top_k"], generation["repetition_penalty"]) == (20, 1.25)
    source.set("general.sampling.temp", F32, float("nan"))
    refuse(tmp_path, source, r"general\.sampling\.temp is nan, expected a number from 0 to 100")


@pytest.mark.fault("F08")
@pytest.mark.parametrize(
    "name",
    [
        *("blk.0.attn_output.bias", "blk.1.attn_q_norm.weight", "blk.0.attn_sinks.weight"),
        *("output.bias", "output_norm.bias", "blk.0.mystery.weight", "rope_factors_long.weight"),
    ],
)
@pytest.mark.parametrize("make", [tiny_llama, tiny_lfm2])
def test_a_tensor_of_no_known_part_is_refused(
    tmp_path: Path, make: Callable[[], Forge], name: str
) -> None:
    source = make()
    if name in [tensor.name for tensor in source.tensors]:
        return
    source.add(name, "F32", (4,))
    refuse(tmp_path, source, f"tensors '{name}' belong to no part", UnsupportedModel)


@pytest.mark.fault("F08")
def test_many_tensors_of_no_known_part_are_counted(tmp_path: Path) -> None:
    source = tiny_llama()
    for index in range(40):
        source.add(f"mystery{index}", "F32", (4,))
    refuse(tmp_path, source, "'mystery0', 'mystery1', 'mystery2' and 37 more", UnsupportedModel)


# Tensors against metadata


@pytest.mark.fault("F08")
def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    for make in (tiny_llama, tiny_lfm2):
        for index, tensor in enumerate(make().tensors):
            source = make()
            del source.tensors[index]
            name = tensor.name
            # Without the first of two names the second is asked for.
            refuse(tmp_path, source, f"'{name}' is missing, expected with shape")


@pytest.mark.fault("F09")
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
def test_a_shape_that_the_metadata_does_not_ask_for_is_refused(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    source = tiny_llama()
    index = source.tensors.index(source.tensor(name))
    source.add(name, "F32", shape)
    source.tensors[index] = source.tensors.pop()
    refuse(tmp_path, source, f"'{name}' has shape .*but the metadata asks for")


# Metadata


@pytest.mark.fault("F10")
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
def test_numbers_that_lie_are_refused(tmp_path: Path, key: str, value: int) -> None:
    source = tiny_llama()
    source.set(f"llama.{key}", U32, value)
    refuse(tmp_path, source, f"llama.{key} is {value}")


@pytest.mark.fault("F10")
def test_a_head_count_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    source = tiny_llama()
    source.set("llama.attention.head_count", U32, 3)
    refuse(tmp_path, source, "llama.attention.key_length is missing")
    source.set("llama.attention.head_count_kv", U32, 2)
    source.set("llama.attention.key_length", U32, 16)
    refuse(tmp_path, source, "head_count_kv is 2, which does not divide 3 heads")


@pytest.mark.fault("F10")
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
def test_a_key_that_is_missing_or_of_the_wrong_type_is_named(tmp_path: Path, key: str) -> None:
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


@pytest.mark.fault("F10")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0, 1e300])
def test_values_that_are_not_numbers_are_refused(tmp_path: Path, value: float) -> None:
    source = tiny_llama()
    source.set("llama.rope.freq_base", F64, value)
    refuse(tmp_path, source, "llama.rope.freq_base is ")
    if value != 0:
        source = tiny_llama()
        source.set("llama.attention.layer_norm_rms_epsilon", F64, value)
        refuse(tmp_path, source, "layer_norm_rms_epsilon is ")


def test_experts_are_refused(tmp_path: Path) -> None:
    source = tiny_llama()
    source.set("llama.expert_count", U32, 8)
    refuse(tmp_path, source, "experts are not supported", UnsupportedModel)


def test_heads_that_differ_by_layer_are_refused(tmp_path: Path) -> None:
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
def test_impossible_convolution_taps_are_refused(tmp_path: Path, taps: int) -> None:
    source = tiny_lfm2()
    source.set("lfm2.shortconv.l_cache", U32, taps)
    refuse(tmp_path, source, f"lfm2.shortconv.l_cache is {taps}")


@pytest.mark.fault("F10")
@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (ARRAY, forge.array(STRING, [])),
        (ARRAY, forge.array(I32, [1, 2])),
        (STRING, forge.text("abc")),
        (ARRAY, forge.array(STRING, ["a"])),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused(
    tmp_path: Path, kind: int, payload: bytes
) -> None:
    source = tiny_llama()
    source.put("tokenizer.ggml.tokens", kind, payload)
    refuse(tmp_path, source, "tokenizer.ggml.tokens is|llama.vocab_size is 272, expected 1")
    source.drop("tokenizer.ggml.tokens")
    refuse(tmp_path, source, "tokenizer.ggml.tokens is missing")


@pytest.mark.fault("F18")
@pytest.mark.parametrize("name", ["bos", "eos", "eot", "eom", "padding"])
@pytest.mark.parametrize("value", [-1, 272, 2**31 - 1])
def test_special_ids_out_of_range_are_refused(tmp_path: Path, name: str, value: int) -> None:
    source = tiny_llama()
    source.set(f"tokenizer.ggml.{name}_token_id", I32, value)
    refuse(
        tmp_path, source, f"tokenizer.ggml.{name}_token_id is {value}, expected an integer from 0"
    )


@pytest.mark.fault("F18")
def test_special_ids_at_the_end_of_their_type_are_refused(tmp_path: Path) -> None:
    source = tiny_llama()
    source.set("tokenizer.ggml.bos_token_id", U32, 2**31)
    refuse(tmp_path, source, "bos_token_id is 2147483648")


@pytest.mark.fault("F10")
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
def test_an_unknown_architecture_is_named(
    tmp_path: Path, kind: int, payload: bytes, error: type[CactusError]
) -> None:
    source = tiny_llama()
    source.put("general.architecture", kind, payload)
    refuse(tmp_path, source, "(?i)architecture.*lfm2, llama", error)


def test_a_chat_template_of_another_type_is_refused(tmp_path: Path) -> None:
    source = tiny_llama()
    source.set("tokenizer.chat_template", U32, 1)
    refuse(tmp_path, source, "tokenizer.chat_template is 1, expected a string")
    source.set("tokenizer.chat_template", STRING, "x" * ((1 << 18) + 1))
    refuse(tmp_path, source, "tokenizer.chat_template is 'x.*at most 262144")


@pytest.mark.parametrize("key", ["model", "pre"])
def test_names_of_megabytes_are_shortened_in_errors(tmp_path: Path, key: str) -> None:
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
    refuse(
        tmp_path, source, r"one of 3 parts, .* expected a name that ends in -00001-of-00003\.gguf"
    )
    source.drop("split.count")
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
