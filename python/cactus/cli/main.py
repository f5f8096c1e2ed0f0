"""The ``cactus`` command as a process: signals, streams, the log, the exit status.

Nothing slow is imported above `main`, so that Ctrl-C is answered properly from the start.
"""

from __future__ import annotations

import os
import signal
import sys

from cactus.cli.process import COMPLETE, INTERRUPTED, PIPE_CLOSED, interrupts_end

TYPE_CHECKING = False  # without typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Sequence

LOG_LEVELS = ("debug", "info", "warning", "error")
"""What CACTUS_LOG may be."""


def main() -> None:
    """The console script."""
    # While modules are imported, and again at the end, there is nothing to clean up:
    # an exception in the middle of either would only print a traceback.
    quiet = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if quiet:
        interrupts_end(INTERRUPTED)
    status = run_cli(sys.argv[1:])
    if quiet:
        interrupts_end(status)
    sys.exit(status)


def run_cli(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit status; a user's mistake is one line, no trace."""
    import click

    from cactus.cli.commands import cactus, no_such_option
    from cactus.cli.text import message_of, printable

    if COMPLETE in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(cactus, {}, "cactus", COMPLETE, os.environ[COMPLETE])
    try:
        _prepare_streams()
        _start_log()
        # Not cactus.main(), which ends the process itself and takes a closed pipe for an error.
        arguments = list(arguments)
        with cactus.make_context("cactus", arguments, terminal_width=_narrow()) as context:
            cactus.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption):
            error = no_such_option(error)
        elif isinstance(error, click.BadParameter) and isinstance(error.param, click.Argument):
            name = error.param.human_readable_name
            error.param_hint = f"'{name.strip('[.]')}'"  # without what says that it is optional
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("", err=True)
        return INTERRUPTED
    except UnicodeEncodeError as error:
        click.echo(f"cactus: {_encoding_error(error)}", err=True)
        return 1
    except BrokenPipeError:
        _silence_stdout()
        return PIPE_CLOSED
    except Exception as error:
        if not _is_expected(error):
            raise
        click.echo(f"cactus: {printable(message_of(error))}", err=True)
        return 1


def _narrow() -> int | None:
    """The width of the help on a terminal that is narrower than what click takes for the least."""
    import shutil

    columns = shutil.get_terminal_size().columns
    return max(columns - 1, 20) if columns < 52 else None


def _is_expected(error: Exception) -> bool:
    from cactus.errors import CactusError

    return isinstance(error, (CactusError, OSError, MemoryError))


def _prepare_streams() -> None:
    # A stream that the shell has closed (>&-) is None; opened in this order each gets its own
    # number back, so that no file of ours becomes the output of a program that we start.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if not hasattr(stream, "reconfigure"):
            continue
        # The C locale asks for ASCII because nothing was chosen; everything reads UTF-8.
        encoding = "utf-8" if _is_ascii(stream.encoding) else stream.encoding
        # A terminal that lacks a character shows its number, and so do messages. A file or a pipe
        # gets what was meant, names of files with any bytes among it, or there is an error.
        exact = stream is sys.stdin or (stream is sys.stdout and not stream.isatty())
        stream.reconfigure(
            encoding=encoding, errors="surrogateescape" if exact else "backslashreplace"
        )


def _is_ascii(encoding: str) -> bool:
    import codecs

    return codecs.lookup(encoding).name == "ascii"


def _start_log() -> None:
    """CACTUS_LOG: lines of our own on stderr, and of nobody else's, which might show a key."""
    wanted = os.environ.get("CACTUS_LOG")
    if not wanted:
        return
    import click

    from cactus.inputs.checks import short

    if wanted.lower() not in LOG_LEVELS:
        raise click.UsageError(
            f"CACTUS_LOG must be debug, info, warning or error; got {short(wanted)}."
        )
    import logging

    from cactus.inputs.text import escaped

    class Line(logging.Formatter):
        """One line a message, whatever names of files and services are in it."""

        def formatMessage(self, record: logging.LogRecord) -> str:
            record.message = escaped(record.message)
            return super().formatMessage(record)

    handler = logging.StreamHandler()
    handler.setFormatter(Line("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    log = logging.getLogger("cactus")
    log.handlers[:] = [handler]
    log.setLevel(wanted.upper())


def _encoding_error(error: UnicodeEncodeError) -> str:
    character = error.object[error.start]
    return (
        f"the output is {error.encoding}, which has no {character!a}; "
        "PYTHONIOENCODING=utf-8 or LC_ALL=C.UTF-8 makes it UTF-8"
    )


def _silence_stdout() -> None:
    # Python flushes stdout once more when it exits, and would complain about the closed pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
