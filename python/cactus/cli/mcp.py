"""``cactus mcp``."""

from __future__ import annotations

from pathlib import Path

import click

from cactus.cli.complete import complete_installed
from cactus.cli.options import Whole, threads_option
from cactus.cli.text import note


@click.command("mcp", short_help="Serve tools to programs that speak MCP.")
@click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=complete_installed)
@click.option(
    "--docs",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A folder of documents that is searched and asked.",
)
@click.option(
    "--root",
    "roots",
    multiple=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="A folder whose recordings and images may be read; may be repeated.  [default: the "
    "current folder]",
)
@click.option("--http", is_flag=True, help="Listen on this machine instead of standard input.")
@click.option(
    "--port", type=Whole(1, 65535), metavar="N", default=8090, show_default=True,
    help="The port of --http.",
)  # fmt: skip
@threads_option
def command(
    models: tuple[str, ...],
    docs: Path | None,
    roots: tuple[Path, ...],
    http: bool,
    port: int,
    threads: int | None,
) -> None:
    """Serve what MODELS can do as tools: transcribe a recording, describe an image, search and ask
    a folder of documents, make vectors, rank texts.

    Without MODELS it is what the models of this machine can do; none is fetched. It speaks over
    standard input and output, as the programs that start it expect.
    """
    from importlib.util import find_spec

    if find_spec("mcp") is None:
        raise click.UsageError("'cactus mcp' needs the package mcp: pip install 'cactus[mcp]'.")
    from cactus.mcp.roots import Roots
    from cactus.mcp.serve import HOST, PATH, run_http, run_stdio
    from cactus.mcp.shelf import Shelf
    from cactus.mcp.tools import Tools

    tools = Tools(Shelf(models, threads), Roots(roots or (Path(),)), docs)
    if not http:
        run_stdio(tools)
        return
    note(f"http://{HOST}:{port}{PATH}")
    run_http(tools, port)
