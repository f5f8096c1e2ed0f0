"""What a model is, in Ollama's words, from the files of its folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from cactus.inputs.files import read_bytes
from cactus.server.endpoint import Reply
from cactus.server.models import Served
from cactus.server.template import calls_tools, template_of, thinks
from cactus.weights import locate
from cactus.weights.format.folder import WeightsFolder


class Details(Reply, kw_only=True):
    """A model in a few words."""

    parent_model: str = ""
    format: str = "safetensors"
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


@dataclass(frozen=True)
class Facts:
    """What the files of a folder say."""

    config: dict[str, Any]
    digest: str
    size: int
    parameters: int
    precision: str
    license: str | None
    modified: float

    @property
    def family(self) -> str:
        """The architecture."""
        return str(self.config.get("model_type", "unknown"))

    @property
    def details(self) -> Details:
        """In a few words."""
        return Details(
            family=self.family,
            families=[self.family],
            parameter_size=_size(self.parameters),
            quantization_level=self.precision,
        )

    def capabilities(self, served: Served) -> list[str]:
        """What it can do, in the words that clients look for."""
        able = served.abilities
        if "chat" not in able:
            return ["embedding"] if "embed" in able else []
        found, template = ["completion"], template_of(served.folder)
        if calls_tools(template):
            found.append("tools")
        if "see" in able:
            found.append("vision")
        if thinks(template):
            found.append("thinking")
        return found

    def model_info(self) -> dict[str, Any]:
        """Its sizes, by the names that GGUF files have for them."""
        text = self.config.get("text_config")
        sizes = text if isinstance(text, dict) else self.config
        named = {
            "context_length": sizes.get("max_position_embeddings"),
            "embedding_length": sizes.get("hidden_size"),
            "block_count": sizes.get("num_hidden_layers"),
            "feed_forward_length": sizes.get("intermediate_size"),
            "attention.head_count": sizes.get("num_attention_heads"),
            "attention.head_count_kv": sizes.get("num_key_value_heads"),
            "vocab_size": sizes.get("vocab_size"),
        }
        own = {f"{self.family}.{name}": value for name, value in named.items() if value is not None}
        return {
            "general.architecture": self.family,
            "general.parameter_count": self.parameters,
            **own,
        }


def facts_of(folder: Path) -> Facts:
    """The facts of a weights folder, read anew when it has changed. Raises ModelFormatError."""
    return _facts(folder, (folder / "config.json").stat().st_mtime_ns)


MAX_CONFIG = 1 << 24
"""Bytes of a config.json at most."""


@lru_cache(maxsize=256)
def _facts(folder: Path, changed: int) -> Facts:
    own = locate.describe(folder)
    digest = hashlib.sha256(read_bytes(folder / "config.json", MAX_CONFIG)).hexdigest()
    with WeightsFolder.open(folder) as weights:
        return Facts(
            config=weights.config,
            digest=digest,
            size=weights.nbytes,
            parameters=sum(prod(tensor.shape) for tensor in weights.tensors.values()),
            precision=str(own.get("precision", "unknown")),
            license=own.get("license") if isinstance(own.get("license"), str) else None,
            modified=changed / 1e9,
        )


def _size(parameters: int) -> str:
    if parameters >= 1_000_000_000:
        return f"{parameters / 1e9:.1f}B"
    return f"{parameters / 1e6:.2f}M"
