"""The process of a command: what its exit statuses are, and what Ctrl-C does to it.

Imported before everything else, so that Ctrl-C is answered properly from the start.
"""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""
PIPE_CLOSED = 141
"""Exit status when the reader of our output has gone: 128 + SIGPIPE."""
COMPLETE = "_CACTUS_COMPLETE"
"""The environment variable by which a shell asks for completions, as click names it."""


def interrupts_end(status: int) -> None:
    """From here on Ctrl-C ends the process at once, with this exit status."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(status))


def interrupts_raise() -> None:
    """From here on Ctrl-C raises KeyboardInterrupt, where it ended the process at once."""
    if getattr(signal.getsignal(signal.SIGINT), "__module__", None) == __name__:
        signal.signal(signal.SIGINT, signal.default_int_handler)
