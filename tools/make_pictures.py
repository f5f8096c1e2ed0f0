"""Pictures of the command line for the README: real sessions in a real terminal, as SVG.

    python tools/make_pictures.py            docs/pictures/*.svg

Each session is typed into a program that runs in a pseudo-terminal; what the screen then shows is
drawn with rich. The models must be on this machine: nothing is fetched.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
PROMPT = "$ "
QUIET_SECONDS = 3.0
"""A screen that has not changed for this long shows all that the program has to say."""

SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; \
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-family: arial; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


@dataclass(frozen=True)
class Session:
    """A command and what is then typed, line by line; `columns` and `rows` of the terminal."""

    name: str
    command: str
    typed: tuple[str, ...] = ()
    columns: int = 84
    rows: int = 24


SESSIONS = (
    Session(
        "chat",
        "cactus run smollm2-135m-instruct",
        ("What is the capital of France?", "And what is it known for?"),
    ),
)


def screen_of(session: Session, folder: Path) -> pyte.Screen:
    """Run `session` in `folder` and return the screen once nothing moves any more."""
    screen = pyte.Screen(session.columns, session.rows)
    stream = pyte.ByteStream(screen)
    stream.feed(f"{PROMPT}{session.command}\r\n".encode())
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "", "LINES": ""}
    child = pexpect.spawn(
        "bash",
        ["-c", session.command],
        cwd=folder,
        env=environment,
        dimensions=(session.rows, session.columns),
    )
    for line in (*session.typed, None):
        _until_quiet(child, stream)
        if line is not None:
            child.send(line + "\r")
    child.close(force=True)
    return screen


def _until_quiet(child: pexpect.spawn, stream: pyte.ByteStream) -> None:
    last = time.monotonic()
    while time.monotonic() - last < QUIET_SECONDS:
        try:
            stream.feed(child.read_nonblocking(65536, timeout=0.2))
            last = time.monotonic()
        except pexpect.TIMEOUT:
            continue
        except pexpect.EOF:
            return


def drawn(screen: pyte.Screen) -> Text:
    """The screen as text with colours, without the empty lines at its end."""
    lines = []
    for row in range(screen.lines):
        line = Text()
        for column in range(screen.columns):
            cell = screen.buffer[row][column]
            style = Style(
                color=_color(cell.fg), bgcolor=_color(cell.bg), bold=cell.bold, italic=cell.italics
            )
            line.append(cell.data, style)
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return Text("\n").join(lines)


def _color(name: str) -> str | None:
    if name == "default":
        return None
    names = {"brown": "yellow", "brightbrown": "bright_yellow"}
    return names.get(name, f"#{name}" if len(name) == 6 and _is_hex(name) else name)


def _is_hex(text: str) -> bool:
    return all(character in "0123456789abcdef" for character in text)


def main() -> None:
    """Draw every session, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="sessions to draw (all)")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="where the commands run")
    given = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    for session in SESSIONS:
        if given.names and session.name not in given.names:
            continue
        console = Console(
            record=True, width=session.columns, file=io.StringIO(), color_system="truecolor"
        )
        console.print(drawn(screen_of(session, given.folder)), soft_wrap=True)
        target = PICTURES / f"{session.name}.svg"
        svg = console.export_svg(title="cactus", code_format=SVG, unique_id=session.name)
        target.write_text(svg, "utf-8")
        print(target)


if __name__ == "__main__":
    main()
