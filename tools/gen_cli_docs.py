"""Writes the help of every command into docs/cli.md, between its two markers.

python tools/gen_cli_docs.py          write
python tools/gen_cli_docs.py --check  exit 1 when the page is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from generated import finish_part

from cactus.cli.commands import COMMANDS, cactus

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"


def render() -> str:
    """The help of `cactus` and of each command, as Markdown."""
    top = click.Context(cactus, info_name="cactus", terminal_width=80, **cactus.context_settings)
    parts = [f"```text\n{top.get_help()}\n```\n"]
    for name in COMMANDS:
        command = cactus.get_command(top, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=top, **command.context_settings)
        parts.append(f"## cactus {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def main() -> int:
    return finish_part(PAGE, render(), __file__)


if __name__ == "__main__":
    sys.exit(main())
