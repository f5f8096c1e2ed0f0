"""From the metadata and tensor names of GGUF files to those of Hugging Face checkpoints.

A family is one function: what it reads is checked for its range and against the rest of the file,
so that what follows may divide and index freely. Names, the order of rows and what is implied by
an architecture's name are those of llama.cpp.
"""

from __future__ import annotations

from cactus.weights.sources.gguf.families.base import Described, Family, MappedTensor
from cactus.weights.sources.gguf.families.dense import granite, llama, qwen2, qwen3, smollm3
from cactus.weights.sources.gguf.families.encoders import bert, nomic_bert
from cactus.weights.sources.gguf.families.gemma3 import gemma3
from cactus.weights.sources.gguf.families.lfm2 import lfm2
from cactus.weights.sources.gguf.families.phi3 import phi3

__all__ = ["FAMILIES", "Described", "Family", "MappedTensor"]

FAMILIES: dict[str, Family] = {
    "bert": bert,
    "gemma3": gemma3,
    "granite": granite,
    "lfm2": lfm2,
    "llama": llama,
    "nomic-bert": nomic_bert,
    "phi3": phi3,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "smollm3": smollm3,
}
"""The readers, by `general.architecture`."""
