"""Which model can be the draft of which: a smaller one of the same vocabulary, that writes text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cactus.engine.loaded import Loaded
from cactus.errors import InvalidRequest, UnsupportedModel
from cactus.inputs.files import find_json
from cactus.models.uses import abilities_of
from cactus.weights.abilities import refusal
from cactus.weights.locate import name_of

if TYPE_CHECKING:
    from cactus.models.abilities import Ability
    from cactus.tokenizer import Tokenizer

PADDING = 512
"""So many tokens more or fewer at the end are no other vocabulary: models of one family are filled
up to different round numbers."""


def check_abilities(
    name: str, architecture: str, abilities: Sequence[Ability], folder: Path, draft: Path | Loaded
) -> None:
    """Refuse what writes no text, as model or as draft, and a model that is its own draft."""
    if "complete" not in abilities:
        raise InvalidRequest(
            f"draft: a draft guesses what a model writes, and {name} ({architecture}) writes no "
            "text; leave the option out"
        )
    if isinstance(draft, Loaded):
        found, wanted, can = draft.name, draft.architecture, draft.abilities
        place = draft.folder
    else:
        config = find_json(draft / "config.json") or {}
        found, wanted, can = name_of(draft), str(config.get("model_type", "")), abilities_of(config)
        place = draft
    if "complete" not in can:
        raise UnsupportedModel(f"draft: {refusal(found, wanted, 'complete', can)}")
    if isinstance(draft, Path) and place.resolve() == folder.resolve():
        raise InvalidRequest(f"draft: {name} would be its own draft; name a smaller model")


def check_vocabulary(name: str, tokenizer: Tokenizer, draft: str, other: Tokenizer) -> None:
    """Raise InvalidRequest, naming both and what differs, where ids mean other tokens."""
    refused = f"draft: {draft} has another vocabulary than {name}"
    wanted = "a draft must have the same tokens with the same ids"
    if abs(tokenizer.vocab_size - other.vocab_size) > PADDING:
        raise InvalidRequest(
            f"{refused}: {other.vocab_size:,} tokens, not {tokenizer.vocab_size:,}; {wanted}"
        )
    for id in range(min(tokenizer.vocab_size, other.vocab_size)):
        one, two = tokenizer.id_to_token(id), other.id_to_token(id)
        if one != two:
            raise InvalidRequest(f"{refused}: token {id} is {two!r}, not {one!r}; {wanted}")
