"""Writes the help of every command into docs/cli.md, between its two markers.

python tools/gen_cli_docs.py          write
python tools/gen_cli_docs.py --check  exit 1 when the page is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cactus.cli.main import COMMANDS, cactus

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
BEGIN = "<!-- begin: tools/gen_cli_docs.py writes what follows -->"
END = "<!-- end -->"


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


def updated(page: str) -> str:
    """`page` with the generated part replaced."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE}: the markers are missing")
    return f"{before}{BEGIN}\n\n{render()}\n{END}{after}"


def main() -> int:
    page = PAGE.read_text("utf-8")
    fresh = updated(page)
    if "--check" in sys.argv[1:]:
        return int(page != fresh)
    PAGE.write_text(fresh, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
