"""What the model of a config.json can be asked for.

Most follows from its architecture. Checkpoints that have the shape of a chat model and were trained
to embed or to rank texts, and encoders with and without a score head, are distinguished when they
are converted: the section "cactus" says what such a folder is to be used for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from .abilities import ABILITIES, Ability

Use = Literal["embed", "rerank"]


def abilities_of(config: Mapping[str, Any]) -> tuple[Ability, ...]:
    """What the model can do; nothing where its architecture is not known."""
    able = ABILITIES.get(str(config.get("model_type")), ())
    use = use_of(config)
    return (use,) if able and use is not None else able


def is_dual(able: Sequence[Ability]) -> bool:
    """Whether what can do this is a dual encoder: texts and images become vectors of one space."""
    return "embed" in able and "embed_image" in able and "see" not in able


def use_of(config: Mapping[str, Any]) -> Use | None:
    """What a weights folder is for alone, where that was found out when it was converted."""
    own = config.get("cactus")
    use = own.get("use") if isinstance(own, Mapping) else None
    return use if use in ("embed", "rerank") else None
