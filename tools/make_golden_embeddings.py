"""Makes tests/golden/embeddings/golden.npz: what others make of the texts beside it.

    python tools/make_golden_embeddings.py MINILM_FOLDER NOMIC_GGUF

MINILM_FOLDER is sentence-transformers/all-MiniLM-L6-v2 as it is published, NOMIC_GGUF
nomic-embed-text-v1.5 in f16. Needs torch, transformers, sentence-transformers and gguf.

    tokens, counts     ids of every text by transformers' tokenizer, one after the other, uncut
    minilm             its embeddings by sentence-transformers, f16
    nomic_texts        which of the texts nomic was given, behind "search_document: "
    nomic              the mean of its states by transformers in f32, of unit length, f16
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, NomicBertConfig, NomicBertModel

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "golden" / "embeddings"

EVERY = 3
PREFIX = "search_document: "
NOMIC_TOKENS = 2048

NAMES = {
    "token_embd.weight": "embeddings.word_embeddings.weight",
    "token_types.weight": "embeddings.token_type_embeddings.weight",
    "token_embd_norm": "embeddings.LayerNorm",
    "attn_output_norm": "post_attention_layernorm",
    "layer_output_norm": "post_mlp_layernorm",
    "attn_output": "self_attn.o_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_down": "mlp.down_proj",
    "blk.": "layers.",
}


def nomic(path: Path) -> NomicBertModel:
    """transformers' model with the weights of the file, in f32."""
    state = {}
    for tensor in gguf.GGUFReader(path).tensors:
        values = torch.from_numpy(np.array(tensor.data, np.float32))
        name = tensor.name
        for old, new in NAMES.items():
            name = name.replace(old, new)
        if "attn_qkv" in name:
            for part, each in zip("qkv", values.chunk(3), strict=True):
                state[name.replace("attn_qkv", f"self_attn.{part}_proj")] = each.clone()
        else:
            state[name] = values
    config = NomicBertConfig(vocab_size=len(state["embeddings.word_embeddings.weight"]))
    model = NomicBertModel(config, add_pooling_layer=False).eval()
    model.load_state_dict(state)
    return model


def main() -> None:
    source, nomic_path = map(Path, sys.argv[1:])
    texts = json.loads((FOLDER / "texts.json").read_text("utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    ids = [tokenizer.backend_tokenizer.encode(text).ids for text in texts]
    made = SentenceTransformer(str(source), device="cpu").encode(texts, batch_size=1)

    model, vectors = nomic(nomic_path), []
    chosen = range(0, len(texts), EVERY)
    for index in chosen:
        given = tokenizer.backend_tokenizer.encode(PREFIX + texts[index]).ids[:NOMIC_TOKENS]
        with torch.no_grad():
            states = model(torch.tensor([given])).last_hidden_state[0]
        vectors.append(torch.nn.functional.normalize(states.mean(0), dim=0).numpy())
    np.savez_compressed(
        FOLDER / "golden.npz",
        tokens=np.concatenate(ids).astype(np.uint16),
        counts=np.array([len(each) for each in ids], np.int32),
        minilm=made.astype(np.float16),
        nomic_texts=np.array(chosen, np.int32),
        nomic=np.stack(vectors).astype(np.float16),
    )
    size = (FOLDER / "golden.npz").stat().st_size
    print(f"{len(texts)} texts, longest {max(map(len, ids))} tokens, {size // 1024} KB")


if __name__ == "__main__":
    main()
