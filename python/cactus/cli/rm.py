"""``cactus rm``: deletes models, after a question."""

from __future__ import annotations

import click

from cactus.cli.clean import command as clean
from cactus.cli.complete import complete_installed


@click.command("rm", short_help="Delete models.")
@click.argument("models", nargs=-1, required=True, shell_complete=complete_installed)
@click.option("--yes", "-y", is_flag=True, help="Delete them without asking.")
@click.pass_context
def command(ctx: click.Context, models: tuple[str, ...], yes: bool) -> None:
    """Delete MODELS from this machine, after a question."""
    ctx.invoke(clean, models=models, yes=yes)
