"""How clients may name a model: by its own name, an alias, its hub id, or a part of its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from cactus.inputs.checks import short
from cactus.server.errors import ApiError
from cactus.server.models import Served
from cactus.weights import locate, names

_QUANTISED = re.compile(r"[-._](?:(?:iq|q)\d\w*|int[48]|b?f(?:p?16|p?32)|fp(?:16|32))$", re.I)


def meant(name: str, served: Mapping[str, Served], aliases: Mapping[str, str]) -> Served | None:
    """The model that a name stands for, among those `served` by their own names; None: no one.

    Raises ApiError for what could be several.
    """
    name = name.strip()
    name = aliases.get(name) or aliases.get(name.removesuffix(":latest"), name)
    wanted = name.removesuffix(":latest").lower()
    found = served.get(name)
    if found is not None or not wanted:
        return found
    for alike in _WAYS:
        matches = [one for one in served.values() if alike(one, wanted)]
        if len(matches) > 1:
            several = ", ".join(one.name for one in matches)
            raise ApiError(
                404,
                f"model {short(name)} could be one of several: {several}",
                code="model_not_found",
                param="model",
            )
        if matches:
            return matches[0]
    return None


def _stem(name: str) -> str:
    """A name without what says how the weights are quantised."""
    return _QUANTISED.sub("", name.lower())


def _is_from_hub(one: Served, wanted: str) -> bool:
    hub = names.parse_hub_name(wanted) if "/" in wanted else None
    own = locate.source_id(one.folder) if hub is not None else None
    return hub is not None and own is not None and own.lower() == hub.hub_id.lower()


_WAYS: tuple[Callable[[Served, str], bool], ...] = (
    lambda one, wanted: one.name.lower() == wanted,
    lambda one, wanted: one.name.lower() == wanted.replace(":", "-"),
    _is_from_hub,
    lambda one, wanted: _stem(one.name) == _stem(wanted.replace(":", "-")),
    lambda one, wanted: len(wanted) > 1 and "/" not in wanted and names.is_part(wanted, one.name),
)
"""How a name may stand for a model, the strictest first."""
