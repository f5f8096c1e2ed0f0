"""The refusal of a model that cannot do what is wanted: what it can do, and which models can."""

from __future__ import annotations

from collections.abc import Sequence

from cactus.errors import UnsupportedModel
from cactus.models.abilities import ABILITIES
from cactus.models.abilities import Ability as Ability
from cactus.models.uses import abilities_of as abilities_of
from cactus.weights import catalog

_PHRASES = {
    "chat": "chat",
    "complete": "complete text",
    "detect_language": "detect a language",
    "embed": "embed text",
    "embed_audio": "embed audio",
    "embed_image": "embed images",
    "rerank": "rank texts by a query",
    "see": "look at images",
    "transcribe": "transcribe audio",
}
"""What a model can do, or cannot, as the end of a sentence."""

_CALLS = {
    "chat": "cactus run, Model.chat or cactus_complete",
    "embed": "cactus embed, Model.embed or cactus_embed",
    "rerank": "cactus rerank or Model.rerank",
    "transcribe": "cactus transcribe, Model.transcribe or cactus_transcribe",
}
"""Where to go with a model, by the first of its abilities."""


def check_ability(
    name: str, architecture: str, wanted: Ability | None, able: Sequence[Ability] | None = None
) -> None:
    """Raises `UnsupportedModel` for a model that cannot do what is wanted (None: anything).

    `able` is what this very model can do; None: all that its architecture can. Of an architecture
    that is not known nothing is said here: whoever loads it refuses it.
    """
    able = ABILITIES.get(architecture) if able is None else able
    if wanted is not None and able and wanted not in able:
        raise refusal(name, architecture, wanted, able)


def refusal(
    name: str, architecture: str, wanted: str, able: Sequence[Ability] | None = None
) -> UnsupportedModel:
    """The error for a model that cannot do what is wanted: `wanted` may be what no model can.

    `able` as in `check_ability`.
    """
    can = ABILITIES.get(architecture, ()) if able is None else able
    others = [entry for entry in catalog.CATALOG if wanted in entry.abilities]
    others.sort(key=lambda entry: entry.package is None)  # those that need no hub come first
    names = ", ".join(entry.name for entry in others[:3])
    known = f"models that {_PHRASES[wanted]}: {names}; cactus list shows all"
    return UnsupportedModel(
        f"{name} ({architecture}) cannot {_PHRASES[wanted]}"
        + (
            f": it can {_listed([_PHRASES[each] for each in can])} ({_CALLS[can[0]]})"
            if can
            else ""
        )
        + f"; {known if others else 'no model of this version can'}"
    )


def _listed(phrases: Sequence[str]) -> str:
    *first, last = phrases
    return f"{', '.join(first)} and {last}" if first else last
