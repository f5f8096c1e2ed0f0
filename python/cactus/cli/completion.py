"""``cactus completion``: the script that makes a shell complete commands, options and models."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from cactus.cli.process import COMPLETE


@click.command("completion", short_help="Print a script that completes commands in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL")
@click.pass_context
def command(ctx: click.Context, /, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options and names of models.

    \b
    bash:  eval "$(cactus completion bash)"       in ~/.bashrc (bash 4.4 or newer)
    zsh:   eval "$(cactus completion zsh)"        in ~/.zshrc, after compinit
    fish:  cactus completion fish | source        in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "cactus", COMPLETE).source().strip())
