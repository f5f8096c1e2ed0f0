"""How many bytes one generated token has to read: the weights once, and its context's K and V."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cactus.weights.sources.gguf.read import read_gguf

KV_ELEMENT_BYTES = 2
"""Of K and V in f16; `Side.kv_share` is what a side takes of that."""


@dataclass(frozen=True)
class Footprint:
    """Bytes on disk, weight bytes read per generated token, and the types they are stored in."""

    disk: int
    weights: int
    types: str


def of_gguf(path: Path) -> tuple[Footprint, int]:
    """The footprint of a GGUF file, and its bytes of K and V per token of context."""
    gguf = read_gguf(path)
    try:
        tied = "output.weight" not in gguf.tensors
        sizes: dict[str, int] = {}
        for name, tensor in gguf.tensors.items():
            if tied or name != "token_embd.weight":
                sizes[tensor.type.name] = sizes.get(tensor.type.name, 0) + tensor.nbytes
        return Footprint(gguf.size, sum(sizes.values()), _types(sizes)), _kv(gguf.metadata)
    finally:
        gguf.close()


def of_folder(folder: Path) -> Footprint:
    """The footprint of one of our weights folders."""
    from cactus.weights.format.folder import WeightsFolder

    with WeightsFolder.open(folder) as opened:
        tied = "lm_head.weight" not in opened.tensors
        sizes: dict[str, int] = {}
        for name, tensor in opened.tensors.items():
            if tied or name != "model.embed_tokens.weight":
                sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.nbytes
        return Footprint(opened.data_path.stat().st_size, sum(sizes.values()), _types(sizes))


def _types(sizes: dict[str, int]) -> str:
    """'q4 66 MB, q8 30 MB', the largest first; what is below 1 MB is left out."""
    ordered = sorted(sizes.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in ordered if size >= 1e6)


def _kv(metadata: dict[str, Any]) -> int:
    prefix = metadata["general.architecture"]
    layers = int(metadata[f"{prefix}.block_count"])
    heads = metadata[f"{prefix}.attention.head_count"]
    kv_heads = metadata.get(f"{prefix}.attention.head_count_kv", heads)
    total = sum(kv_heads) if isinstance(kv_heads, list) else int(kv_heads) * layers
    width = int(metadata[f"{prefix}.embedding_length"])
    query_heads = max(heads) if isinstance(heads, list) else int(heads)
    head_dim = int(metadata.get(f"{prefix}.attention.key_length", width // query_heads))
    return 2 * int(total) * head_dim * KV_ELEMENT_BYTES
