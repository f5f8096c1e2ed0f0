"""Subtitles, SubRip and WebVTT: what was said, with the times at which it is shown."""

from __future__ import annotations

import re

from cactus.documents.readers.lines import lines_of
from cactus.documents.types import Block, Document
from cactus.documents.unread import Unread

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_TIMES = re.compile(rf"[ \t]*{_TIME}[ \t]+-->[ \t]+{_TIME}(?:[ \t]|\Z)")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>|<[\d:.]{1,20}>|\{\\[^{}]{0,100}\}")


def captions(text: str) -> Document:
    """The document in subtitles; a line of it is one of them. Raises Unread."""
    parts: list[str] = []
    times: list[tuple[int, float, float]] = []
    lines: list[tuple[int, int]] = []
    length = 0
    shown: tuple[float, float] | None = None
    said = ""
    for number, (_, _, line) in enumerate(lines_of(text + "\n\n"), 1):
        if found := _TIMES.match(line):
            shown, said = (_seconds(found, 1), _seconds(found, 5)), ""
            lines.append((length, number + 1))
        elif shown is not None and line.strip():
            said = f"{said} {_TAG.sub('', line).strip()}".strip()
        elif shown is not None:
            if said:
                times.append((length, *shown))
                parts.append(said + "\n")
                length += len(said) + 1
            shown = None
    if not parts:
        raise Unread("damaged", "no times of subtitles in it")
    whole = "".join(parts)
    return Document(whole, [Block("lines", 0, length)], "subtitles", times=times, lines=lines)


def _seconds(found: re.Match[str], group: int) -> float:
    hours, minutes, seconds, rest = (found[index] or "0" for index in range(group, group + 4))
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{rest}")
