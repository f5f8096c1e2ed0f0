"""A report as a picture: what the confidences come to, and what handing off is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from cactus.confidence.report import Report

SIDE, EDGE, GAP = 280, 60, 90
"""Pixels of a panel's side, around both panels, and between them."""

COLOURS = ("#b5541c", "#1c6fb5")

Point = tuple[float, float]


def draw(title: str, reports: Mapping[str, Report]) -> str:
    """An SVG file with at most two reports, by their names, in two panels.

    On the left how many of the answers with a confidence were right (on the diagonal it is a
    probability); larger points are more answers. On the right how many of the answers that are kept
    are right, where the least sure ones are handed off.
    """
    width, height = 2 * EDGE + 2 * SIDE + GAP, 2 * EDGE + SIDE + 20 * len(reports)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{EDGE}" y="{EDGE - 30}" font-size="14">{escape(title)}</text>',
        *_axes(EDGE, "confidence", "share right"),
        *_axes(EDGE + SIDE + GAP, "share handed off", "share right of the rest"),
        _line(EDGE, [(0, 0), (1, 1)], "#bbbbbb", dashed=True),
    ]
    for n, ((name, report), colour) in enumerate(zip(reports.items(), COLOURS, strict=False)):
        total = sum(each.count for each in report.bins)
        points = [(each.confidence, each.right) for each in report.bins]
        sizes = [3 + 12 * (each.count / total) ** 0.5 for each in report.bins]
        kept = [(each.handed_off, each.right) for each in report.shares if each.right is not None]
        parts += [
            _line(EDGE, points, colour),
            *_dots(EDGE, points, sizes, colour),
            _line(EDGE + SIDE + GAP, kept, colour),
            *_dots(EDGE + SIDE + GAP, kept, [4] * len(kept), colour),
            _legend(n, name, report, colour),
        ]
    return "\n".join([*parts, "</svg>\n"])


def _place(left: int, point: Point) -> Point:
    return left + SIDE * point[0], EDGE + SIDE * (1 - point[1])


def _axes(left: int, across: str, up: str) -> Iterator[str]:
    yield (
        f'<rect x="{left}" y="{EDGE}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#444"/>'
    )
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        x, y = _place(left, (tick, tick))
        yield f'<text x="{x:.0f}" y="{EDGE + SIDE + 15}" text-anchor="middle">{tick:g}</text>'
        yield f'<text x="{left - 5}" y="{y + 4:.0f}" text-anchor="end">{tick:g}</text>'
    middle = left + SIDE // 2
    yield f'<text x="{middle}" y="{EDGE + SIDE + 32}" text-anchor="middle">{across}</text>'
    turn = f"rotate(-90 {left - 35} {EDGE + SIDE // 2})"
    yield (
        f'<text x="{left - 35}" y="{EDGE + SIDE // 2}" text-anchor="middle" transform="{turn}">'
        f"{up}</text>"
    )


def _line(left: int, points: Sequence[Point], colour: str, *, dashed: bool = False) -> str:
    placed = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_place(left, each) for each in points))
    dashes = ' stroke-dasharray="4"' if dashed else ""
    return f'<polyline points="{placed}" fill="none" stroke="{colour}"{dashes}/>'


def _dots(left: int, points: Sequence[Point], sizes: Sequence[float], colour: str) -> Iterator[str]:
    for point, size in zip(points, sizes, strict=True):
        x, y = _place(left, point)
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" fill="{colour}" opacity="0.6"/>'


def _legend(n: int, name: str, report: Report, colour: str) -> str:
    ranks = "" if report.auroc is None else f"AUROC {report.auroc:.3f}, "
    y = EDGE + SIDE + 55 + 20 * n
    return (
        f'<circle cx="{EDGE + 6}" cy="{y - 4}" r="5" fill="{colour}"/>'
        f'<text x="{EDGE + 18}" y="{y}">{escape(name)}: {ranks}ECE {report.ece:.3f}, '
        f"Brier {report.brier:.3f}</text>"
    )
