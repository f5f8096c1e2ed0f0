"""``cactus completion``: the script that makes a shell complete commands, options and models."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from cactus.cli.main import COMPLETE


@click.command("completion", short_help="Print a script that completes commands in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that makes SHELL complete commands, options and names of models.

    \b
    bash:  eval "$(cactus completion bash)"       in ~/.bashrc (bash 4.4 or newer)
    zsh:   eval "$(cactus completion zsh)"        in ~/.zshrc, after compinit
    fish:  cactus completion fish | source        in ~/.config/fish/config.fish
    """
    from cactus.cli.commands import cactus

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cactus, {}, "cactus", COMPLETE).source().strip())
