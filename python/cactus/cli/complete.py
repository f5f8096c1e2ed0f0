"""What the shell offers where a model is to be named."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from cactus.weights.abilities import Ability

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
"""What click asks for the words that may stand where some letters were typed."""


def complete_installed(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Models of this machine."""
    from cactus.weights import locate

    return _offer([folder.name for folder in locate.installed()], incomplete)


def _offer(names: list[str], incomplete: str) -> list[CompletionItem]:
    start = incomplete.lower()
    found = [name for name in dict.fromkeys(names) if name.lower().startswith(start)]
    if not found:  # a folder, or a .gguf file
        return [CompletionItem(incomplete, type="file")]
    # A shell puts what all of them begin with in the place of what was typed: all in one case.
    beginnings = [name[: len(start)] for name in found]
    wanted = incomplete if incomplete in beginnings else beginnings[0]
    return [CompletionItem(name) for name in found if name.startswith(wanted)]


def _able(ability: Ability) -> Complete:
    """Completes to models with an ability, of this machine and of the catalog, and to paths."""

    def complete(
        ctx: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from cactus.weights import catalog, locate

        here = [folder.name for folder in locate.installed(ability)]
        able = [entry for entry in catalog.CATALOG if ability in entry.abilities]
        hub_ids = [entry.hub_id for entry in able] if incomplete else []
        return _offer([*here, *(entry.name for entry in able), *hub_ids], incomplete)

    return complete


complete_chat = _able("chat")
complete_seeing = _able("see")
complete_speech = _able("transcribe")
complete_embedders = _able("embed")
complete_rerankers = _able("rerank")
