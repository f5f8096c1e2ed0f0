"""``cactus test``: the checkout's whole suite in this environment."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys

import click

from cactus.cli.build import require_checkout
from cactus.cli.checkout import ROOT, requirements

SLOW = 2.0
"""Seconds from which a test is one of the slowest that are named at the end."""


@click.command(
    "test",
    short_help="Run the test suite of a checkout.",
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Run the test suite of this checkout; ARGUMENTS go to pytest.

    It shows how long the rest will take, and in the end which tests took longest; -v shows pytest's
    own lines instead. Needs what 'source ./setup --dev' installs. The starter model is fetched
    once.
    """
    require_checkout("test")
    missing = [text for text in requirements("build", "dev") if not _is_installed(text)]
    if missing:
        names = ", ".join(re.split(r"[<>=!~ ]", text)[0] for text in missing)
        raise click.ClickException(
            f"{names} missing; install what tests need: source ./setup --dev"
        )
    sys.stdout.flush()
    command = [sys.executable, "-m", "pytest", "-p", "cactus.cli.suite"]
    slowest = ["--durations=10", f"--durations-min={SLOW:g}"]
    done = subprocess.run([*command, *slowest, *arguments], cwd=ROOT, check=False)
    ctx.exit(done.returncode)


def _is_installed(requirement: str) -> bool:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    try:
        importlib.metadata.version(name[0])
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
