"""What is said in recordings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cactus import TranscribeOptions
from cactus.batch.rows import Row
from cactus.batch.template import Template
from cactus.batch.works.work import Result, Work
from cactus.errors import InvalidRequest
from cactus.types import Transcription


class Transcribe(Work):
    """The text of the recording whose name is `file`; by default the column `file`."""

    KIND = "transcribe"
    FIELDS = ("file",)
    OPTIONS = TranscribeOptions.__optional_keys__
    ABILITY = "transcribe"
    FORMS = ("text", "srt", "vtt", "tsv", "json")

    def __init__(self, fields: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        super().__init__(fields, options)
        self._file = Template("file", fields.get("file", "{file}"))
        self.columns = ("text", "language", "duration", "segments")
        self.types = {"duration": "number"}

    def needed(self, columns: Collection[str]) -> Sequence[str]:
        return self._file.columns

    def results(self, model: Any, rows: Iterator[Row], base: Path) -> Iterator[tuple[Row, Result]]:
        for row in rows:
            if row.wrong is not None:
                yield row, row.wrong
                continue
            try:
                file = base / self._file.fill(row.values)
                heard = model.transcribe(file, **self.options)
            except InvalidRequest as error:  # InvalidAudio, too
                yield row, str(error)
            else:
                yield row, self._result(heard)

    def _result(self, heard: Transcription) -> Result:
        result: dict[str, Any] = {
            "text": heard.text,
            "language": heard.language,
            "duration": round(heard.duration, 3),
            "segments": [
                {"start": part.start, "end": part.end, "text": part.text} for part in heard.segments
            ],
        }
        if self.form is not None:
            result["document"] = getattr(heard, f"to_{self.form}")()
        return result
