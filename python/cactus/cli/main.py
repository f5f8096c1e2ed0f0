"""The ``cactus`` command: one file per sub-command, imported when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import click

from cactus.cli.text import printable

# Name, module and help, so that `cactus --help` imports none of the commands.
COMMANDS = {
    "run": ("cactus.cli.run", "Chat with a model."),
    "transcribe": ("cactus.cli.transcribe", "Write down what is said in recordings."),
    "download": ("cactus.cli.download", "Fetch a model and convert it."),
    "convert": ("cactus.cli.convert", "Convert a GGUF file or a Hugging Face folder."),
    "list": ("cactus.cli.list", "List the models on this machine."),
    "bench": ("cactus.cli.bench", "Measure the speed of a model."),
    "eval": ("cactus.cli.eval", "Measure the quality of a model on a text."),
    "build": ("cactus.cli.build", "Build the native library for this machine."),
    "test": ("cactus.cli.test", "Run the test suite of a checkout."),
    "clean": ("cactus.cli.clean", "Delete build output, caches and models."),
}

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""
PIPE_CLOSED = 141
"""Exit status when the reader of our output has gone: 128 + SIGPIPE."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and help before it imports them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = get_close_matches(args[0], COMMANDS, n=1)
            advice = f"Did you mean '{close[0]}'?" if close else "'cactus --help' lists them."
            raise click.UsageError(f"No command '{printable(args[0])}'. {advice}", ctx)
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from cactus import __version__

        click.echo(f"cactus {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def cactus(ctx: click.Context) -> None:
    """Run language and speech models on this machine.

    Start with: cactus run
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run_cli(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit status; a user's mistake is one line, no trace."""
    _prepare()
    try:
        # Not cactus.main(), which ends the process itself and takes a closed pipe for an error.
        with cactus.make_context("cactus", list(arguments)) as context:
            cactus.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return PIPE_CLOSED
    except Exception as error:
        if not _is_expected(error):
            raise
        click.echo(f"cactus: {printable(str(error)) or type(error).__name__}", err=True)
        return 1


def main() -> None:
    """The console script."""
    sys.exit(run_cli(sys.argv[1:]))


def _is_expected(error: Exception) -> bool:
    from cactus.errors import CactusError

    return isinstance(error, (CactusError, OSError, MemoryError))


def _prepare() -> None:
    # A stream that the shell has closed (>&-) is None; opened in this order each gets its own
    # number back, so that no file of ours becomes the output of a program that we start.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    # A terminal whose encoding lacks a character shows a substitute; that is no reason to stop.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if os.environ.get("CACTUS_LOG"):
        import logging

        level = logging.getLevelName(os.environ["CACTUS_LOG"].upper())
        logging.basicConfig(level=level if isinstance(level, int) else logging.INFO)


def _silence_stdout() -> None:
    # Python flushes stdout once more when it exits, and would complain about the closed pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
