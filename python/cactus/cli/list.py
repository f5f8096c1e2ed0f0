"""``cactus list``."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cactus.cli.options import json_option
from cactus.cli.text import complain, megabytes, printable

if TYPE_CHECKING:
    from cactus.weights.locate import Entry

CHAT_USES = {"chat": "chat", "see": "images"}
OTHER_USES = {
    "complete": "text", "transcribe": "speech", "embed": "vectors of texts",
    "embed_image": "vectors of images", "rerank": "ranking",
}  # fmt: skip
"""What the list calls the abilities of a model."""


@click.command("list", short_help="List the models on this machine.")
@json_option
def command(as_json: bool) -> None:
    """List the models on this machine, and those of the catalog that can be downloaded."""
    from cactus.weights import catalog, locate

    entries = locate.entries()
    here = [_describe(entry) for entry in entries if entry.fault is None]
    names = {model["name"] for model in here}
    others = [known for known in catalog.CATALOG if known.name not in names and known.runs]
    for entry in entries:
        if entry.fault is not None:
            complain(f"not a model: {entry.fault}")
    if as_json:
        known = [
            {
                "id": entry.hub_id,
                "parameters": entry.parameters * 1_000_000,
                "note": entry.note,
                "gated": entry.gated,
            }
            for entry in others
        ]
        click.echo(json.dumps({"models": here, "available": known}, indent=2))
        return
    if not here:
        click.echo(f"No models yet. They go to {locate.weights_root()}")
    for root in dict.fromkeys(Path(model["path"]).parent for model in here):
        click.echo(f"In {root}:")
        rows = [_row(model) for model in here if Path(model["path"]).parent == root]
        _print_table([("  MODEL", "ARCHITECTURE", "WEIGHTS", "SIZE", "FOR", "SOURCE"), *rows])
    if others:
        click.echo("\nAvailable with cactus download:")
        _print_table(
            [
                (f"  {entry.hub_id}", entry.size, entry.note + (" (gated)" if entry.gated else ""))
                for entry in others
            ]
        )


def _describe(entry: Entry) -> dict[str, Any]:
    own = entry.config["cactus"] if isinstance(entry.config["cactus"], dict) else {}
    source = own.get("source")
    return {
        "name": entry.folder.name,
        "architecture": str(entry.config.get("model_type", "?")),
        "abilities": list(entry.abilities),
        "precision": str(own.get("precision", "?")),
        "bytes": sum(file.stat().st_size for file in entry.folder.iterdir() if file.is_file()),
        "source": source if isinstance(source, dict) else {},
        "path": str(entry.folder),
    }


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    cells = (
        f"  {model['name']}",
        model["architecture"],
        model["precision"],
        megabytes(model["bytes"]),
        _uses(model["abilities"]),
        _source(model["source"]),
    )
    return tuple(printable(cell) for cell in cells)


def _uses(abilities: Sequence[str]) -> str:
    """What a model is for, in one cell. What chats can make vectors and is not made for it."""
    named = CHAT_USES if "chat" in abilities else OTHER_USES
    return ", ".join(text for ability, text in named.items() if ability in abilities) or "?"


def _source(source: dict[str, Any]) -> str:
    """Where a model came from, in one cell: repository, revision and commit, or a file."""
    commit, file = source.get("commit"), str(source.get("file", "?"))
    if commit is None:
        return " ".join(str(source[key]) for key in ("hub_id", "package") if key in source) or file
    place = str(source.get("repository") or source.get("hub_id"))
    if source.get("format") == "gguf":
        place += f" {file}"
    revision = source.get("revision")
    short = str(commit)[:7]
    return f"{place} {short}" if revision in ("main", commit) else f"{place} {revision} {short}"


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Rows in columns; on a terminal too narrow for them, the first cell above the others."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if room is None or sum(widths) + 2 * len(widths) - 2 <= room:
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            click.echo("  ".join(cells).rstrip())
        return
    for first, *others in rows:
        for text, indent in ((first, ""), ("  ".join(others), "    ")):
            for line in textwrap.wrap(
                text, room, initial_indent=indent, subsequent_indent="    ", break_on_hyphens=False
            ):
                click.echo(line)
