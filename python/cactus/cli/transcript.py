"""Where a transcription is written while it is found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

from cactus.subtitles import FORMATS, TimedText
from cactus.types import Segment, Transcription


class Transcript:
    """Where one transcription is written: stdout, or a file that has its name when it is closed."""

    def __init__(self, form: str, target: Path | None = None) -> None:
        timed = form == "text" and target is None and sys.stdout.isatty()
        self._writer = TimedText() if timed else FORMATS[form][1]()
        self._target = target
        self._part: Path | None = None
        self._file: IO[str] = sys.stdout
        self._worth_keeping = False
        if target is not None:
            self._part = target.with_name(f"{target.name}.part")
            self._file = self._part.open("w", encoding="utf-8", errors="replace", newline="\n")
        self._write(self._writer.begin())

    def add(self, segment: Segment) -> None:
        """Write a segment."""
        text = self._writer.add(segment)
        self._worth_keeping |= bool(text)
        self._write(text)

    def finish(self, name: str, result: Transcription) -> None:
        """Write what stands behind the segments."""
        self._write(self._writer.finish(name, result))
        self._worth_keeping = True

    def close(self) -> None:
        """Give the file its name; one without a segment that was not finished goes."""
        if self._part is None or self._target is None:
            return
        self._file.close()
        if self._worth_keeping:
            self._part.replace(self._target)
        else:
            self._part.unlink()

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()
