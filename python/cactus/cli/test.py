"""``cactus test``: the checkout's whole suite in this environment."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys

import click

from cactus.cli.build import require_checkout
from cactus.cli.checkout import ROOT, requirements


@click.command(
    "test",
    short_help="Run the test suite of a checkout.",
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Run the test suite of this checkout; ARGUMENTS go to pytest.

    Test packages that are missing are installed first. The starter model is fetched once.
    """
    require_checkout("test")
    missing = [text for text in requirements("build", "dev") if not _is_installed(text)]
    if missing:
        click.echo(f"installing {', '.join(missing)}", err=True)
        install = [sys.executable, "-m", "pip", "install", "--quiet", *missing]
        if subprocess.run(install, check=False).returncode:
            raise click.ClickException("the test packages could not be installed")
    sys.stdout.flush()
    done = subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, check=False)
    ctx.exit(done.returncode)


def _is_installed(requirement: str) -> bool:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    try:
        importlib.metadata.version(name[0])
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
