"""The curves of a soak as a picture, in SVG."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .watch import BYTES, MEASURED

WIDTH, LEFT, RIGHT, HEIGHT, GAP, TOP = 860, 70, 150, 110, 34, 70
COLOURS = {"library": "#1b7f5c", "server": "#c2571a"}
UNITS = {
    "memory": "resident memory, MiB",
    "anonymous memory": "of which no file has (anonymous), MiB",
    "in use": "in use of the heap, MiB",
}
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #222 }
.small { font-size: 11px; fill: #666 }
.frame { fill: none; stroke: #ccc }
.tenth { fill: #f0f0f0 }
.curve { fill: none; stroke-width: 1.6; stroke-linejoin: round }
"""


def draw(lines: Path, target: Path) -> None:
    """Draw what a run has written, as a picture with a panel for each thing that was measured."""
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    rounds, (summary,) = rows[:-1], rows[-1:]
    parts = [_title(summary, len(rounds))]
    for number, what in enumerate(MEASURED):
        parts += _panel(what, TOP + number * (HEIGHT + GAP), rounds)
    height = TOP + len(MEASURED) * (HEIGHT + GAP) + 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff" />',
        *parts,
        "</svg>",
    ]
    target.write_text("\n".join(parts) + "\n")


def _title(summary: dict[str, Any], rounds: int) -> str:
    done, faults = summary["done"], sum(summary["injected"].values())
    said = (
        f"{4 * done['requests']:,} requests by four doors, 2 × {done['loads']:,} loads, "
        f"{done['indexings']:,} indexings, {done['transcriptions']:,} transcriptions, "
        f"{done['seconds']:,} s of live sound"
    )
    more = (
        f"{rounds} rounds, {faults:,} faults of files, killed children, clock steps, too little "
        "memory; grey: the second and the last tenth, which are compared"
    )
    return _text(LEFT, 22, said) + "\n" + _text(LEFT, 42, more, "small")


def _panel(what: str, top: int, rounds: Sequence[dict[str, Any]]) -> list[str]:
    """One thing that was measured, of both processes."""
    scale = 2**20 if what in BYTES else 1
    curves = {name: [line[name][what] / scale for line in rounds] for name in COLOURS}
    most = max(1.0, *(max(values) for values in curves.values())) * 1.1
    width, bottom, tenth = WIDTH - LEFT - RIGHT, top + HEIGHT, max(1, len(rounds) // 10)
    step = width / max(1, len(rounds) - 1)
    found = [
        f'<rect class="tenth" x="{LEFT + begin * step:.1f}" y="{top}" '
        f'width="{(tenth - 1) * step + 1:.1f}" height="{HEIGHT}" />'
        for begin in (tenth, len(rounds) - tenth)
    ]
    found.append(f'<rect class="frame" x="{LEFT}" y="{top}" width="{width}" height="{HEIGHT}" />')
    found.append(_text(LEFT, top - 5, UNITS.get(what, what), "small"))
    found += [
        _text(LEFT - 8, y + 4, f"{value:.0f}", "small", "end")
        for value, y in ((0, bottom), (most / 1.1, bottom - HEIGHT / 1.1))
    ]
    ends: list[float] = []
    for name, values in curves.items():
        points = " ".join(
            f"{LEFT + index * step:.1f},{bottom - HEIGHT * value / most:.1f}"
            for index, value in enumerate(values)
        )
        colour = COLOURS[name]
        found.append(f'<polyline class="curve" stroke="{colour}" points="{points}" />')
        end = bottom - HEIGHT * values[-1] / most + 4
        if ends and abs(end - ends[0]) < 14:
            end = ends[0] + (14 if end > ends[0] else -14)
        ends.append(end)
        found.append(
            f'<text x="{LEFT + width + 8}" y="{end:.1f}" style="fill: {colour}">'
            f"{name} {values[-1]:,.0f}</text>"
        )
    return found


def _text(x: float, y: float, said: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{said}</text>'
