"""One FILE of ``cactus transcribe``: read, transcribed, written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cactus.cli.text import complain, note
from cactus.subtitles import FORMATS

if TYPE_CHECKING:
    from cactus import Model, Segment, Transcription, TranscriptionStream
    from cactus.cli.standard_input import StandardInput
    from cactus.cli.status_line import StatusLine

STDIN = "-"


@dataclass
class Job:
    """One FILE: where its text goes, and how."""

    file: str
    form: str
    folder: Path | None
    split: bool

    @property
    def target(self) -> Path | None:
        """The file to write, None for stdout."""
        if self.folder is None:
            return None
        stem = "stdin" if self.file == STDIN else Path(self.file).stem
        return self.folder / (stem + FORMATS[self.form][0])

    def run(
        self,
        model: Model,
        options: dict[str, Any],
        stdin: StandardInput,
        stopped: Callable[[], bool],
        quiet: bool,
    ) -> None:
        """Transcribe it. Raises what reading the audio and writing the text do."""
        from cactus.cli.status_line import StatusLine
        from cactus.cli.transcript import Transcript

        name = "standard input" if self.file == STDIN else os.path.basename(self.file)
        began = time.monotonic()

        def follow(
            audio: Any, rate: int | None, name: str, found: Callable[[Segment], None]
        ) -> Any:
            with model.transcribe_stream(audio, sample_rate=rate, **options) as stream:
                if stopped() and not stdin.was_cut:  # before there was anything to be stopped
                    stream.stop()
                return _follow(stream, name, found, status)

        transcript, status = Transcript(self.form, self.target), StatusLine(quiet=quiet)
        try:
            if self.split:
                result = self._split(follow, name)
                for segment in result.segments:
                    transcript.add(segment)
            else:
                audio, rate = stdin.open() if self.file == STDIN else (self.file, None)
                result = follow(audio, rate, name, transcript.add)
            transcript.finish(self.file, result)
        finally:
            status.clear()
            transcript.close()
        if self.target is not None:
            click.echo(self.target)
        for trouble in result.notes:
            complain(trouble)
        if not quiet:
            detected = options["language"] in (None, "auto")
            note(_summary(name, result, time.monotonic() - began, detected))

    def _split(self, follow: Callable[..., Transcription], name: str) -> Transcription:
        from cactus.audio.decode import open_audio
        from cactus.channels import merge

        with open_audio(self.file) as stream:
            count = stream.channels
        results = []
        for number in range(1, count + 1):
            shown = f"{name} [{number}/{count}]"
            results.append(follow(open_audio(self.file, number), None, shown, lambda _: None))
            if results[-1].finish_reason == "cancelled":
                break
        return merge(results)


def _follow(
    stream: TranscriptionStream,
    name: str,
    found: Callable[[Segment], None],
    status: StatusLine,
) -> Transcription:
    """Read a transcription to its end, each segment as it is found."""
    from cactus.cli.interrupt import as_found
    from cactus.cli.status_line import audio_line

    began = time.monotonic()

    def line(columns: int) -> str:
        spent = time.monotonic() - began
        return audio_line(name, stream.seconds, stream.duration, spent, columns)

    status.show(line)
    for segment in as_found(stream, stream.stop):
        if segment is not None:
            status.clear()
            found(segment)
        status.show(line)
    status.clear()
    result = stream.transcription
    assert result is not None
    return result


def _summary(name: str, result: Transcription, spent: float, detected: bool) -> str:
    from cactus.cli.status_line import speed, time_of

    summary = f"{name}: {time_of(result.duration)} in {spent:.1f} s"
    if result.duration:
        summary += f" ({speed(result.duration, spent)})"
    if detected and result.language is not None:
        summary += f", language {result.language} ({result.language_probability:.0%})"
    if result.finish_reason == "cancelled":
        return f"stopped; {summary}"
    return summary if result.segments else f"{summary}, nothing was said"
