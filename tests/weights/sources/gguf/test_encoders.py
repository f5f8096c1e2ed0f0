"""GGUF files of text encoders give the vectors of the checkpoints that they were made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from cactus import Model
from cactus.errors import TokenizerError, UnsupportedModel
from cactus.tokenizer import Tokenizer, write_tokenizer
from cactus.weights.convert import convert
from tests.models import encoders

SPACE = "\u2581"
NAMES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.LayerNorm": "token_embd_norm",
    "encoder.layer.": "blk.",
    "layers.": "blk.",
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "attn_output_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_mlp_layernorm": "layer_output_norm",
}


def write(path: Path, name: str, **more: Any) -> encoders.Golden:
    """A file as llama.cpp's converter writes it."""
    golden = encoders.load(name, encoders.write(name, path.parent / name))
    config: Any = golden.architecture.config
    kind = "nomic-bert" if name == "nomic_bert" else "bert"
    writer = gguf.GGUFWriter(path, kind)
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.layers)
    writer.add_head_count(config.heads)
    writer.add_layer_norm_eps(config.norm_eps)
    writer.add_causal_attention(False)
    writer.add_rope_freq_base(1000.0)
    for key, value in ({"pooling_type": 1} | more).items():
        writer.add_uint32(f"{kind}.{key}", value)
    _add_tokens(writer, config.vocab_size, unigram=name == "xlm_roberta")
    tensors = dict(golden.tensors)
    if name == "xlm_roberta":  # the rows before the first token's are left out
        tensors["embeddings.position_embeddings.weight"] = tensors[
            "embeddings.position_embeddings.weight"
        ][config.first_position :]
    if name == "nomic_bert":
        for layer in range(config.layers):
            place = f"layers.{layer}.self_attn."
            parts = [tensors.pop(f"{place}{part}_proj.weight") for part in "qkv"]
            tensors[f"blk.{layer}.attn_qkv.weight"] = np.concatenate(parts)
    for tensor, values in tensors.items():
        for old, new in NAMES.items():
            tensor = tensor.replace(old, new)
        stored = values.astype(np.float16 if tensor.endswith("d.weight") else np.float32)
        writer.add_tensor(tensor, stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return golden


def _add_tokens(writer: gguf.GGUFWriter, count: int, *, unigram: bool) -> None:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [f"{SPACE}w{id}" for id in range(len(special), count)]
    writer.add_tokenizer_model("t5" if unigram else "bert")
    writer.add_token_list([*special, *words])
    writer.add_token_types([3] * len(special) + [1] * len(words))
    writer.add_token_scores([-1.0] * count)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(3)
    writer.add_unk_token_id(1)
    writer.add_pad_token_id(0)


@pytest.mark.parametrize("name", ["bert", "xlm_roberta", "nomic_bert"])
def test_a_file_gives_the_vectors_of_its_checkpoint(name: str, tmp_path: Path) -> None:
    golden = write(tmp_path / "model.gguf", name)
    convert(tmp_path / "model.gguf", tmp_path / "made")
    text, want = encoders.words(golden.tokens), golden.states.mean(0)
    with Model(tmp_path / "made") as model:
        vector = model.embed(text)
    assert vector @ want / np.linalg.norm(want) > 0.99999
    made = json.loads((tmp_path / "made" / "embedding.json").read_text())
    assert (made["pooling"], made["normalize"], made["dimensions"]) == ("mean", True, 32)


def test_pooling_is_the_files(tmp_path: Path) -> None:
    golden = write(tmp_path / "model.gguf", "bert", pooling_type=2)
    convert(tmp_path / "model.gguf", tmp_path / "made")
    with Model(tmp_path / "made") as model:
        vector = model.embed(encoders.words(golden.tokens))
    assert vector @ golden.states[0] / np.linalg.norm(golden.states[0]) > 0.99999
    write(tmp_path / "ranker.gguf", "nomic_bert", pooling_type=4)
    with pytest.raises(UnsupportedModel, match="pooling_type is 4"):
        convert(tmp_path / "ranker.gguf", tmp_path / "other")


def test_words_are_taken_to_pieces_as_bert_does(tmp_path: Path) -> None:
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        f"{SPACE}un",
        "ab",
        "le",
        f"{SPACE},",
        f"{SPACE}e",
    ]
    metadata = {
        "general.architecture": "bert",
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": [3, 3, 3, 3, 1, 1, 1, 1, 1],
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 3,
    }
    write_tokenizer(metadata, tmp_path)
    (tmp_path / "config.json").write_text("{}")
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode("UNable, \u00c9 xyz [SEP]", special=True)[:6] == [2, 4, 5, 6, 7, 8]
    assert tokenizer.encode("unable", special=True) == [2, 4, 5, 6, 3]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("precompiled_charsmap", "letters", "precompiled_charsmap must be an array of int"),
        ("unknown_token_id", 9, "unknown_token_id is 9; expected an id in 0..2"),
        ("scores", [0.0], "scores must be 3 numbers"),
        ("scores", [0.0, 0.0, float("nan")], "scores must be 3 numbers"),
    ],
)
def test_a_damaged_unigram_vocabulary_is_named(
    key: str, value: Any, said: str, tmp_path: Path
) -> None:
    metadata = {
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.tokens": ["<unk>", f"{SPACE}a", "b"],
        "tokenizer.ggml.scores": [0.0, -1.0, -2.0],
        "tokenizer.ggml.token_type": [2, 1, 1],
        "tokenizer.ggml.unknown_token_id": 0,
    }
    write_tokenizer(metadata, tmp_path)
    with pytest.raises(TokenizerError, match=said):
        write_tokenizer(metadata | {f"tokenizer.ggml.{key}": value}, tmp_path)
