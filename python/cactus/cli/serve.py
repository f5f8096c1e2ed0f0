"""``cactus serve``."""

from __future__ import annotations

import click

from cactus.cli.options import Whole, threads_option


@click.command("serve", short_help="Serve models over HTTP.")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=Whole(0), default=8080, show_default=True, help="The port.")
@threads_option
def command(models: tuple[str, ...], host: str, port: int, threads: int | None) -> None:
    """Serve models to programs that speak OpenAI's, Anthropic's or Ollama's interface.

    Without a name: all models of this machine.
    """
    from cactus.server.run import run
    from cactus.server.service import folders
    from cactus.server.settings import Settings

    run(Settings(folders(models), host, port), {"threads": threads})
