"""Where a command writes what it makes of files, so that nothing is written over."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import click

from cactus.cli.text import printable


def check_targets(targets: Iterable[tuple[str, Path]]) -> None:
    """What is made of each file is written to a path of its own, and to no file that is read.

    Raises UsageError, before any work is done.
    """
    targets = list(targets)
    taken = {os.path.realpath(file): file for file, _ in targets}
    for file, target in targets:
        path = os.path.realpath(target)
        other = taken.setdefault(path, file)
        if other is not file or path == os.path.realpath(file):
            raise click.UsageError(
                f"{printable(file)} would be written to {printable(str(target))}, which is "
                f"for {printable(other)} already; give another --output DIR."
            )
