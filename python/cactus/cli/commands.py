"""The commands of ``cactus``: one file each, imported when it is called."""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib import import_module

import click

from cactus.cli.process import interrupts_raise
from cactus.cli.text import printable
from cactus.inputs.text import cut

# Name, module and help, so that `cactus --help` imports none of the commands.
COMMANDS = {
    "run": ("cactus.cli.run", "Chat with a model."),
    "ask": ("cactus.cli.ask", "Ask a folder of documents."),
    "search": ("cactus.cli.search", "Search a folder of documents."),
    "index": ("cactus.cli.index", "Make a folder of documents searchable."),
    "transcribe": ("cactus.cli.transcribe", "Transcribe recordings or a microphone."),
    "describe": ("cactus.cli.describe", "Describe images."),
    "embed": ("cactus.cli.embed", "Make vectors of texts or images."),
    "rerank": ("cactus.cli.rerank", "Rank texts by a query."),
    "batch": ("cactus.cli.batch", "Do the same for every row of a file."),
    "serve": ("cactus.cli.serve", "Serve models over HTTP."),
    "mcp": ("cactus.cli.mcp", "Serve tools to programs that speak MCP."),
    "ps": ("cactus.cli.ps", "List servers that run, and their models."),
    "stop": ("cactus.cli.stop", "Unload a model of a server, or end a server."),
    "download": ("cactus.cli.download", "Fetch a model and convert it."),
    "convert": ("cactus.cli.convert", "Convert a GGUF file or a Hugging Face folder."),
    "list": ("cactus.cli.list", "List the models on this machine."),
    "show": ("cactus.cli.show", "Show what a model is."),
    "rm": ("cactus.cli.rm", "Delete models."),
    "auth": ("cactus.cli.auth", "Set up a cloud to ask where a model is unsure."),
    "bench": ("cactus.cli.bench", "Measure the speed of a model."),
    "eval": ("cactus.cli.eval", "Measure the quality of a model, or of its confidence."),
    "calibrate": ("cactus.cli.calibrate", "Make a model's confidence a probability."),
    "build": ("cactus.cli.build", "Build the native library for this machine."),
    "test": ("cactus.cli.test", "Run the test suite of a checkout."),
    "clean": ("cactus.cli.clean", "Delete caches and models."),
    "completion": ("cactus.cli.completion", "Print a script that completes commands in a shell."),
}

ALIASES = {
    "pull": "download", "ls": "list", "chat": "run", "remove": "rm", "delete": "rm",
    "uninstall": "rm", "info": "show", "import": "convert",
}  # fmt: skip
"""Names that other programs have for what is here."""

ELSEWHERE = {
    "create": "'cactus convert' makes a model from a GGUF file or a Hugging Face folder.",
    "push": "Cactus publishes nothing; a model is a folder ('cactus list' shows where).",
    "login": "The token of Hugging Face is taken from HF_TOKEN or from 'hf auth login'.",
    "update": "'cactus download MODEL' fetches what is newer; pip updates Cactus itself.",
}
"""What people look for here and what there is instead."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and help before it imports them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        command = import_module(COMMANDS[name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name == "help":
            args = [*args[1:2], "--help"]
            if len(args) == 1:
                click.echo(ctx.get_help())
                ctx.exit()
        elif name == "version":
            _print_version(ctx, None, True)
        known = {**COMMANDS, **ALIASES}
        if args[0] not in known and not args[0].startswith("-"):
            raise click.UsageError(_unknown(args[0], list(known)), ctx)
        _, command, rest = super().resolve_command(ctx, args)
        interrupts_raise()
        return ALIASES.get(args[0], args[0]), command, rest


def _unknown(name: str, known: list[str]) -> str:
    there = f"There is no command '{printable(name)}'."
    if name in ELSEWHERE:
        return f"{there} {ELSEWHERE[name]}"
    close = get_close_matches(name, [*known, "help", "version"], n=1)
    if close:
        return f"{there} Did you mean '{close[0]}'?"
    if any(letter.isspace() for letter in name):
        return f'{there} To ask a model: cactus run "{cut(printable(name.strip()))}"'
    return f"{there} 'cactus --help' lists the commands."


def no_such_option(error: click.NoSuchOption) -> click.UsageError:
    """The error with the options that begin with the same word as the one that was given.

    Where a command has its model as an argument, it says so of --model.
    """
    if error.possibilities and error.option_name != "--model":
        return error
    word = re.split("[-_]", error.option_name.lstrip("-"))[0]
    parameters = error.ctx.command.params if error.ctx else []
    if error.option_name in ("-m", "--model") and any(
        isinstance(each, click.Argument) and each.name in ("model", "models") for each in parameters
    ):
        return click.UsageError(f"{error.message} MODEL is an argument, without it.", error.ctx)
    if len(word) <= 2:
        return error
    known = [name for each in parameters for name in each.opts if name.startswith(f"--{word}")]
    if not known:
        return error
    return click.UsageError(f"{error.message} Did you mean {' or '.join(known)}?", error.ctx)


def _print_version(ctx: click.Context, _: click.Parameter | None, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from cactus import __version__

        click.echo(f"cactus {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Also: pull (download), ls (list), chat (run), help, version.",
)
@click.option(
    "--version",
    "-V",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def cactus(ctx: click.Context) -> None:
    """Run language, vision and speech models on this machine.

    Start with: cactus run
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
