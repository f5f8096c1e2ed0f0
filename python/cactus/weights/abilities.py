"""The refusal of a model that cannot do what is wanted, naming models that can."""

from __future__ import annotations

from cactus.errors import UnsupportedModel
from cactus.weights import catalog
from cactus.weights.catalog import Ability, ability_of

_CALLS = {
    "chat": "cactus run, Model.chat or cactus_complete",
    "transcribe": "cactus transcribe, Model.transcribe or cactus_transcribe",
}


def check_ability(name: str, architecture: str, wanted: Ability | None) -> None:
    """Raises `UnsupportedModel` for a model that cannot do what is wanted (None: anything)."""
    if wanted is not None and ability_of(architecture) != wanted:
        raise refusal(name, architecture, wanted)


def refusal(name: str, architecture: str, wanted: Ability) -> UnsupportedModel:
    """The error for a model that cannot do what is wanted."""
    able = [entry for entry in catalog.CATALOG if entry.runs and entry.ability == wanted]
    able.sort(key=lambda entry: entry.package is None)  # those that need no hub come first
    if wanted == "chat":
        what = f"a speech model ({architecture}): it transcribes audio and cannot chat"
    else:
        what = f"a text model ({architecture}): it cannot transcribe audio"
    return UnsupportedModel(
        f"{name} is {what} (use {_CALLS[ability_of(architecture)]}); models that {wanted}: "
        f"{', '.join(entry.name for entry in able[:3])}; cactus list shows all"
    )
