"""What was said as text, SubRip, WebVTT, a table or JSON, written while it is found.

Times are whole milliseconds here, and always in order: where a segment begins before the one
before it has ended, or ends before it begins, players would show nothing or stop reading.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Protocol
from unicodedata import east_asian_width

from cactus.inputs.languages import NAMES
from cactus.inputs.text import printable
from cactus.segments import Segment, Word

WIDTH, LINES = 42, 2
"""Columns and lines of a subtitle that is made of words; only one long word is wider."""

SHORTEST_SHOWN = 500
"""Milliseconds that a subtitle is shown at least: time enough to read a word."""

SHORTEST, LONGEST = 1.0, 7.0
"""Seconds: the end of a sentence ends such a subtitle after the one, any word after the other."""

_SENTENCE_ENDS = tuple(".?!…。？！")


@dataclass(frozen=True)
class Cue:
    """Lines of text, none of them empty, that are shown from `start` to `end` (milliseconds)."""

    start: int
    end: int
    lines: tuple[str, ...]
    channel: int | None = None

    @property
    def labelled(self) -> tuple[str, ...]:
        """The lines, of which the first one says which channel it is."""
        if self.channel is None:
            return self.lines
        return (f"[{self.channel}] {self.lines[0]}", *self.lines[1:])


class Transcript(Protocol):
    """A whole transcription; `types.Transcription` is one."""

    @property
    def segments(self) -> Sequence[Segment]: ...
    @property
    def text(self) -> str: ...
    @property
    def language(self) -> str | None: ...
    @property
    def language_probability(self) -> float: ...
    @property
    def duration(self) -> float: ...
    @property
    def finish_reason(self) -> str: ...
    @property
    def notes(self) -> Sequence[str]: ...


class Writer:
    """Writes one transcription: ``begin()``, ``add(segment)`` for each, ``finish(result)``.

    Each returns what is to be written next, in whole lines. This one writes plain text, a line for
    each segment.
    """

    splits = False
    """Whether a segment with words becomes several cues."""
    shown = 1
    """Milliseconds that a cue lasts at least; where the next would begin before, it is later."""

    def __init__(self) -> None:
        # Milliseconds at which the last cue of each channel ended: channels play together.
        self._ended: dict[int | None, int] = {}

    def begin(self) -> str:
        """What stands before the first segment."""
        return ""

    def add(self, segment: Segment) -> str:
        """What is written for a segment; "" for one that says nothing that can be shown."""
        return "".join(self.write(cue) for cue in self.cues(segment))

    def finish(self, name: str, result: Transcript) -> str:
        """What stands behind the last segment of the audio called `name`."""
        return ""

    def cues(self, segment: Segment) -> Iterator[Cue]:
        """The segment as cues in the order of time; none where its text is empty."""
        if self.splits and segment.words is not None:
            parts = split(segment.words)
        else:
            parts = iter([(segment.start, segment.end, _lines(segment.text))])
        for start, end, lines in parts:
            if lines:
                first = max(_milliseconds(start), self._ended.get(segment.channel, 0))
                last = max(_milliseconds(end), first + self.shown)
                self._ended[segment.channel] = last
                yield Cue(first, last, tuple(lines), segment.channel)

    def write(self, cue: Cue) -> str:
        """One cue as text."""
        return " ".join(cue.labelled) + "\n"


class TimedText(Writer):
    """A line for each segment, with its times, for a reader at a terminal."""

    def write(self, cue: Cue) -> str:
        return f"[{clock(cue.start)} --> {clock(cue.end)}]  {super().write(cue)}"


class SubRip(Writer):
    """.srt: numbered from 1."""

    splits, shown = True, SHORTEST_SHOWN

    def __init__(self) -> None:
        super().__init__()
        self._number = 0

    def write(self, cue: Cue) -> str:
        self._number += 1
        start, end = (clock(time, hours=True, point=",") for time in (cue.start, cue.end))
        # Readers take an arrow for a line of times; the format has no way to escape it.
        text = re.sub("-+->", "->", "\n".join(cue.labelled))
        # Nor markup, as in <b> and {\an8}: a joiner that is not seen keeps players from it.
        text = re.sub(r"<(?=[/\w])|\{(?=[\\\w])", "\\g<0>\u2060", text)
        return f"{self._number}\n{start} --> {end}\n{text}\n\n"


class WebVtt(Writer):
    """.vtt, in which ``<`` and ``&`` would begin markup."""

    splits, shown = True, SHORTEST_SHOWN

    def begin(self) -> str:
        return "WEBVTT\n"

    def write(self, cue: Cue) -> str:
        text = escape("\n".join(cue.lines), quote=False)
        if cue.channel is not None:
            text = f"<v Channel {cue.channel}>{text}"
        return f"\n{clock(cue.start)} --> {clock(cue.end)}\n{text}\n"


class Table(Writer):
    """.tsv: start and end in milliseconds, and the text, in which a tab becomes a space."""

    def begin(self) -> str:
        return "start\tend\ttext\n"

    def write(self, cue: Cue) -> str:
        text = super().write(cue).replace("\t", " ")
        return f"{cue.start}\t{cue.end}\t{text}"


class Json(Writer):
    """One line: the whole text, the segments as they were found, the language."""

    def add(self, segment: Segment) -> str:
        return ""

    def finish(self, name: str, result: Transcript) -> str:
        row: dict[str, object] = {"file": name} if name else {}
        row |= {
            "text": result.text,
            "language": result.language,
            "language_probability": result.language_probability,
            "duration": result.duration,
            "finish_reason": result.finish_reason,
            "notes": result.notes,
            "segments": [_row(segment) for segment in result.segments],
        }
        return json.dumps(row, ensure_ascii=False) + "\n"


class VerboseJson(Json):
    """One line: the fields of OpenAI's ``verbose_json``."""

    def finish(self, name: str, result: Transcript) -> str:
        return json.dumps(verbose(result), ensure_ascii=False) + "\n"


FORMATS: dict[str, tuple[str, type[Writer]]] = {
    "text": (".txt", Writer),
    "json": (".json", Json),
    "verbose_json": (".json", VerboseJson),
    "srt": (".srt", SubRip),
    "vtt": (".vtt", WebVtt),
    "tsv": (".tsv", Table),
}
"""By name: how a file's name ends, and what writes it."""


def render(result: Transcript, form: str) -> str:
    """The whole of a transcription in one of `FORMATS`."""
    writer = FORMATS[form][1]()
    said = "".join(writer.add(segment) for segment in result.segments)
    return writer.begin() + said + writer.finish("", result)


def verbose(result: Transcript) -> dict[str, object]:
    """The fields of OpenAI's ``verbose_json``; ``words`` are there where they were asked for.

    The language is an English word, "unknown" where nothing was transcribed. ``seek`` is where a
    segment begins, in frames of 10 ms.
    """
    words = [word for each in result.segments for word in each.words or ()]
    row: dict[str, object] = {
        "language": NAMES.get(result.language or "", "unknown").lower(),
        "duration": result.duration,
        "text": result.text,
    }
    if any(segment.words is not None for segment in result.segments):
        row["words"] = [
            {"word": word.word.strip(), "start": word.start, "end": word.end} for word in words
        ]
    row["segments"] = [
        {
            "id": segment.id,
            "seek": round(100 * segment.start),
            "start": segment.start,
            "end": segment.end,
            "text": segment.text,
            "tokens": list(segment.tokens),
            "temperature": segment.temperature,
            "avg_logprob": segment.avg_logprob,
            "compression_ratio": segment.compression_ratio,
            "no_speech_prob": segment.no_speech_prob,
        }
        for segment in result.segments
    ]
    return row | {"usage": {"type": "duration", "seconds": result.duration}}


def split(words: Iterable[Word]) -> Iterator[tuple[float, float, list[str]]]:
    """Words as subtitles (start and end in seconds, lines), as full as `WIDTH` and the rest say."""
    lines: list[str] = []
    start = end = 0.0
    text = ""
    for word in words:
        text += printable(" ".join(word.word.splitlines()))
        if not text.strip():
            continue
        if lines and (
            word.end - start > LONGEST
            or (end - start >= SHORTEST and lines[-1].endswith(_SENTENCE_ENDS))
            or (len(lines) == LINES and _width(lines[-1] + text) > WIDTH)
        ):
            yield start, end, lines
            lines = []
        if not lines:
            start, lines = word.start, [text.strip()]
        elif _width(lines[-1] + text) <= WIDTH:
            lines[-1] += text.rstrip()
        else:
            lines.append(text.strip())
        end = word.end
        text = text[len(text.rstrip()) :]
    if lines:
        yield start, end, lines


def clock(milliseconds: int, *, hours: bool = False, point: str = ".") -> str:
    """``01:02.345``; with hours from the first one on, or always where `hours` is set."""
    minutes, rest = divmod(milliseconds, 60_000)
    ahead = f"{minutes // 60:02}:" if hours or minutes >= 60 else ""
    return f"{ahead}{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _milliseconds(seconds: float) -> int:
    return max(0, round(1000 * seconds)) if math.isfinite(seconds) else 0


def _lines(text: str) -> list[str]:
    return [line for each in text.splitlines() if (line := printable(each).strip())]


def _row(segment: Segment) -> dict[str, object]:
    row = asdict(segment)
    if segment.logprobs is not None:
        row["logprobs"] = [each.to_dict() for each in segment.logprobs]
    return {name: row[name] for name in row if row[name] is not None}


def _width(text: str) -> int:
    """Columns; a character of East Asia takes two."""
    return sum(2 if east_asian_width(each) in "WF" else 1 for each in text.rstrip())
