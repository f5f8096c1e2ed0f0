"""``cactus list``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cactus.cli.text import megabytes


@click.command("list", short_help="List the models on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the models on this machine, and those of the catalog that can be downloaded."""
    from cactus.weights import catalog, locate

    here = [_describe(folder) for folder in locate.installed()]
    names = {model["name"] for model in here}
    others = [entry for entry in catalog.CATALOG if entry.name not in names]
    if as_json:
        known = [{"id": entry.hub_id, "note": entry.note} for entry in others]
        click.echo(json.dumps({"models": here, "available": known}, indent=2))
        return
    if here:
        rows = [
            (m["name"], m["architecture"], m["precision"], megabytes(m["bytes"]), m["path"])
            for m in here
        ]
        _print_table([("MODEL", "ARCHITECTURE", "WEIGHTS", "SIZE", "FOLDER"), *rows])
    else:
        click.echo(f"No models yet. They go to {locate.weights_root()}")
    if others:
        click.echo("\nTo be had with cactus download:")
        _print_table([(f"  {entry.hub_id}", entry.note) for entry in others])


def _describe(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_bytes())
    own = config.get("cactus")
    return {
        "name": folder.name,
        "architecture": str(config.get("model_type", "?")),
        "precision": str(own.get("precision", "?")) if isinstance(own, dict) else "?",
        "bytes": sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
        "path": str(folder),
    }


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
