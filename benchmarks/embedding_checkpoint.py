"""Child of embeddings.py, in the peers' environment: nomic-embed-text as transformers reads it.

    python embedding_checkpoint.py GGUF MINILM OUT

Weights are those of the GGUF file, as f32. The tokenizer is that of MINILM, a folder of
all-MiniLM-L6-v2: both have the vocabulary of uncased BERT, which is compared.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader
from transformers import NomicBertConfig, NomicBertModel

LAYER = {
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    "post_attention_layernorm.weight": "attn_output_norm.weight",
    "post_attention_layernorm.bias": "attn_output_norm.bias",
    "post_mlp_layernorm.weight": "layer_output_norm.weight",
    "post_mlp_layernorm.bias": "layer_output_norm.bias",
}
TOP = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}


def main() -> None:
    """Write the folder."""
    gguf, minilm, out = (Path(argument) for argument in sys.argv[1:4])
    reader = GGUFReader(gguf)
    given = {t.name: torch.from_numpy(np.array(t.data)).float() for t in reader.tensors}
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    model = NomicBertModel(NomicBertConfig(vocab_size=len(tokens))).eval()
    weights = {ours: given[theirs] for ours, theirs in TOP.items()}
    for number in range(model.config.num_hidden_layers):
        layer, block = f"layers.{number}.", f"blk.{number}."
        weights |= {layer + ours: given[block + theirs] for ours, theirs in LAYER.items()}
        for name, part in zip("qkv", given[f"{block}attn_qkv.weight"].chunk(3), strict=True):
            weights[f"{layer}self_attn.{name}_proj.weight"] = part.clone()
    model.load_state_dict(weights)
    model.save_pretrained(out)
    _check_vocabulary(tokens, minilm)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(minilm / name, out / name)
    (out / "modules.json").write_text((minilm / "modules.json").read_text())
    (out / "sentence_bert_config.json").write_text('{"max_seq_length": 2048}')
    (out / "1_Pooling").mkdir(exist_ok=True)
    pooling = json.loads((minilm / "1_Pooling" / "config.json").read_text())
    pooling["word_embedding_dimension"] = model.config.hidden_size
    (out / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def _check_vocabulary(tokens: list[str], minilm: Path) -> None:
    # GGUF marks beginnings of words with U+2581 where BERT marks continuations with ##.
    vocabulary = json.loads((minilm / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    for number, token in enumerate(tokens):
        plain = token if token.startswith("[") else token.removeprefix("\u2581")
        if number not in (vocabulary.get(plain), vocabulary.get("##" + plain)):
            sys.exit(f"token {number} is {token!r}, which uncased BERT has elsewhere")


if __name__ == "__main__":
    main()
