"""What the shell offers where a model is to be named."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def complete_model(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Models of this machine and of the catalog, and paths."""
    from cactus.weights import catalog, locate

    here = [folder.name for folder in locate.installed()]
    known = [entry.name for entry in catalog.CATALOG if entry.runs]
    hub_ids = [entry.hub_id for entry in catalog.CATALOG if entry.runs] if incomplete else []
    return _offer([*here, *known, *hub_ids], incomplete)


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
