"""The models Cactus knows by name: Hugging Face ids, and a package that carries the weights.

Any other Hugging Face id works too; the catalog gives short names, suggestions after a typing
mistake, and for the starter model a source that needs no hub at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cactus.models.abilities import ABILITIES, Ability
from cactus.models.uses import Use, abilities_of
from cactus.weights import packages

# A name becomes a folder and a hub id becomes part of a URL: nothing that could climb out of the
# weights root, hide itself, or mean a device on another system gets through (CVE-2024-37032).
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?")
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{port}{n}" for port in ("com", "lpt") for n in range(10)]
)


@dataclass(frozen=True)
class CatalogEntry:
    """A model that is known by name.

    `parameters` are counted in millions, a tied embedding once; `model_type` is the one of its
    config.json; a `gated` model is fetched with a token whose owner has accepted its terms. `use`
    is what it was trained for alone, where its architecture could do something else.
    """

    hub_id: str
    parameters: int
    model_type: str
    note: str
    gated: bool = False
    package: packages.PackageSource | packages.PackageFolder | None = None
    use: Use | None = None

    @property
    def name(self) -> str:
        """The folder name below the weights root."""
        return folder_name(self.hub_id)

    @property
    def size(self) -> str:
        """`parameters` to be read: "354 M", "2.6 B"."""
        small = self.parameters < 1000
        return f"{self.parameters} M" if small else f"{self.parameters / 1000:.1f} B"

    @property
    def runs(self) -> bool:
        """Whether the engine has its architecture."""
        return self.model_type in ABILITIES

    @property
    def abilities(self) -> tuple[Ability, ...]:
        """What it can do; nothing where it does not run."""
        own = {"use": self.use}
        return abilities_of({"model_type": self.model_type, "cactus": own})


STARTER = CatalogEntry(
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    135,
    "llama",
    "chat, English: the starter model",
    package=packages.STARTER,
)

_GATED = True
_BOTH = "embeddings of texts and pictures"


def _embedder(
    hub_id: str,
    parameters: int,
    model_type: str,
    note: str,
    *,
    gated: bool = False,
    package: packages.PackageFolder | None = None,
) -> CatalogEntry:
    note = f"embeddings, {note}"
    return CatalogEntry(hub_id, parameters, model_type, note, gated, package, "embed")


def _reranker(hub_id: str, parameters: int, model_type: str, note: str) -> CatalogEntry:
    return CatalogEntry(hub_id, parameters, model_type, f"reranking, {note}", use="rerank")


CATALOG: tuple[CatalogEntry, ...] = (
    STARTER,
    CatalogEntry("HuggingFaceTB/SmolLM2-360M-Instruct", 362, "llama", "chat, English"),
    CatalogEntry("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1711, "llama", "chat, English"),
    CatalogEntry("HuggingFaceTB/SmolLM3-3B", 3075, "smollm3", "chat, reasoning, tools"),
    CatalogEntry("LiquidAI/LFM2-350M", 354, "lfm2", "chat"),
    CatalogEntry("LiquidAI/LFM2-700M", 742, "lfm2", "chat"),
    CatalogEntry("LiquidAI/LFM2-1.2B", 1170, "lfm2", "chat"),
    CatalogEntry("LiquidAI/LFM2-1.2B-RAG", 1170, "lfm2", "answers from documents"),
    CatalogEntry("LiquidAI/LFM2-1.2B-Tool", 1170, "lfm2", "tool calling"),
    CatalogEntry("LiquidAI/LFM2-2.6B", 2569, "lfm2", "chat"),
    CatalogEntry("LiquidAI/LFM2.5-350M", 354, "lfm2", "chat"),
    CatalogEntry("LiquidAI/LFM2.5-1.2B-Instruct", 1170, "lfm2", "chat, tools"),
    CatalogEntry("LiquidAI/LFM2.5-1.2B-Thinking", 1170, "lfm2", "chat, reasoning"),
    CatalogEntry("Qwen/Qwen3-0.6B", 596, "qwen3", "chat, reasoning, tools"),
    CatalogEntry("Qwen/Qwen3-1.7B", 1721, "qwen3", "chat, reasoning, tools"),
    CatalogEntry("Qwen/Qwen3-4B", 4022, "qwen3", "chat, reasoning, tools"),
    CatalogEntry("Qwen/Qwen3-4B-Instruct-2507", 4022, "qwen3", "chat, tools"),
    CatalogEntry("Qwen/Qwen2.5-0.5B-Instruct", 494, "qwen2", "chat, tools"),
    CatalogEntry("Qwen/Qwen2.5-1.5B-Instruct", 1544, "qwen2", "chat, tools"),
    CatalogEntry("Qwen/Qwen2.5-3B-Instruct", 3086, "qwen2", "chat, tools"),
    CatalogEntry("Qwen/Qwen2.5-Coder-1.5B-Instruct", 1544, "qwen2", "programming"),
    CatalogEntry("google/gemma-3-270m-it", 268, "gemma3_text", "chat", _GATED),
    CatalogEntry("google/gemma-3-1b-it", 1000, "gemma3_text", "chat", _GATED),
    CatalogEntry("google/functiongemma-270m-it", 268, "gemma3_text", "tool calling", _GATED),
    CatalogEntry("meta-llama/Llama-3.2-1B-Instruct", 1236, "llama", "chat, tools", _GATED),
    CatalogEntry("meta-llama/Llama-3.2-3B-Instruct", 3213, "llama", "chat, tools", _GATED),
    CatalogEntry("microsoft/Phi-4-mini-instruct", 3836, "phi3", "chat, tools"),
    CatalogEntry("ibm-granite/granite-3.3-2b-instruct", 2534, "granite", "chat, tools"),
    CatalogEntry("LiquidAI/LFM2-VL-450M", 451, "lfm2_vl", "chat about pictures"),
    CatalogEntry("LiquidAI/LFM2-VL-1.6B", 1585, "lfm2_vl", "chat about pictures"),
    CatalogEntry("LiquidAI/LFM2-VL-3B", 2999, "lfm2_vl", "chat about pictures"),
    CatalogEntry("LiquidAI/LFM2.5-VL-450M", 451, "lfm2_vl", "chat about pictures"),
    CatalogEntry("LiquidAI/LFM2.5-VL-1.6B", 1597, "lfm2_vl", "chat about pictures"),
    CatalogEntry("HuggingFaceTB/SmolVLM-256M-Instruct", 256, "idefics3", "chat about pictures"),
    CatalogEntry("HuggingFaceTB/SmolVLM-500M-Instruct", 507, "idefics3", "chat about pictures"),
    CatalogEntry(
        "HuggingFaceTB/SmolVLM2-256M-Video-Instruct", 256, "smolvlm", "chat about pictures"
    ),
    CatalogEntry(
        "HuggingFaceTB/SmolVLM2-500M-Video-Instruct", 507, "smolvlm", "chat about pictures"
    ),
    CatalogEntry("HuggingFaceTB/SmolVLM2-2.2B-Instruct", 2247, "smolvlm", "chat about pictures"),
    CatalogEntry("google/gemma-3-4b-it", 4300, "gemma3", "chat about pictures", _GATED),
    CatalogEntry("LiquidAI/LFM2-8B-A1B", 8340, "lfm2_moe", "chat"),
    CatalogEntry("openai/whisper-tiny", 38, "whisper", "speech to text"),
    CatalogEntry(
        *("openai/whisper-base", 73, "whisper", "speech to text"), package=packages.WHISPER_BASE
    ),
    CatalogEntry("openai/whisper-small", 242, "whisper", "speech to text"),
    CatalogEntry("openai/whisper-medium", 764, "whisper", "speech to text"),
    CatalogEntry("openai/whisper-large-v3", 1543, "whisper", "speech to text"),
    CatalogEntry("openai/whisper-large-v3-turbo", 809, "whisper", "speech to text"),
    CatalogEntry("UsefulSensors/moonshine-base", 61, "moonshine", "speech to text, English"),
    _embedder(
        *("sentence-transformers/all-MiniLM-L6-v2", 23, "bert", "English: the default"),
        package=packages.MINILM,
    ),
    _embedder("BAAI/bge-small-en-v1.5", 33, "bert", "English"),
    _embedder("BAAI/bge-base-en-v1.5", 109, "bert", "English"),
    _embedder("BAAI/bge-m3", 568, "xlm-roberta", "many languages"),
    _embedder("intfloat/e5-small-v2", 33, "bert", "English"),
    _embedder("intfloat/multilingual-e5-small", 118, "bert", "many languages"),
    _embedder("intfloat/multilingual-e5-base", 278, "xlm-roberta", "many languages"),
    _embedder("thenlper/gte-small", 33, "bert", "English"),
    _embedder(
        *("nomic-ai/nomic-embed-text-v1.5", 137, "nomic_bert", "English, long texts"),
        package=packages.NOMIC,
    ),
    _embedder("nomic-ai/modernbert-embed-base", 149, "modernbert", "English, long texts"),
    _embedder("Alibaba-NLP/gte-modernbert-base", 149, "modernbert", "English, long texts"),
    _embedder("google/embeddinggemma-300m", 303, "gemma3_text", "many languages", gated=_GATED),
    _embedder("nomic-ai/nomic-embed-text-v2-moe", 475, "nomic_bert", "many languages"),
    _embedder("Qwen/Qwen3-Embedding-0.6B", 596, "qwen3", "many languages"),
    _embedder("minishlab/potion-base-8M", 8, "model2vec", "English, static: fast, less exact"),
    CatalogEntry("openai/clip-vit-large-patch14", 428, "clip", _BOTH),
    CatalogEntry("google/siglip-base-patch16-224", 203, "siglip", _BOTH),
    CatalogEntry("google/siglip2-base-patch16-224", 375, "siglip", _BOTH),
    CatalogEntry("google/siglip2-base-patch16-naflex", 375, "siglip2", _BOTH),
    _reranker("cross-encoder/ms-marco-MiniLM-L6-v2", 23, "bert", "English"),
    _reranker("BAAI/bge-reranker-v2-m3", 568, "xlm-roberta", "many languages"),
    _reranker("Alibaba-NLP/gte-reranker-modernbert-base", 150, "modernbert", "English"),
    _reranker("Qwen/Qwen3-Reranker-0.6B", 596, "qwen3", "many languages"),
)
"""Everything that is known by name; `runs` says what the engine can run."""


def is_name(text: str) -> bool:
    """Whether `text` may name a folder below the weights root."""
    return bool(_NAME.fullmatch(text)) and ".." not in text and not _is_reserved(text)


def is_hub_id(text: str) -> bool:
    """Whether `text` has the form ``owner/name`` of a Hugging Face repository."""
    owner, slash, name = text.partition("/")
    return bool(slash) and is_name(owner) and is_name(name)


def folder_name(name_or_id: str) -> str:
    """The folder of a model below the weights root: the lower-case last part of its id."""
    return name_or_id.rpartition("/")[2].lower()


def find(name_or_id: str) -> CatalogEntry | None:
    """The entry whose id or folder name this is, upper or lower case, or None."""
    wanted = name_or_id.lower()
    for entry in CATALOG:
        if wanted in (entry.hub_id.lower(), entry.name):
            return entry
    return None


def suggest(wrong: str, names: Iterable[str]) -> list[str]:
    """At most three of `names` that a typing mistake, or leaving words out, makes `wrong` of."""
    from difflib import SequenceMatcher

    wanted = folder_name(wrong)[:100]
    part = re.compile(rf"(?:^|[-._]){re.escape(wanted)}") if len(wanted) > 1 else None
    scores: dict[str, float] = {}
    for name in names:
        known = folder_name(name)
        if part is not None and part.search(known):
            scores[name] = 2.0
            continue
        # Compared with the beginning, too: people leave out "-instruct".
        parts = (known, known[: len(wanted) + 1])
        scores[name] = max(SequenceMatcher(None, wanted, each).ratio() for each in parts)
    best = max(scores.values(), default=0.0)
    near = [name for name, score in scores.items() if score >= max(0.7, best - 0.05)]
    return sorted(near, key=lambda name: -scores[name])[:3]


def _is_reserved(name: str) -> bool:
    return name.lower().partition(".")[0] in _RESERVED
