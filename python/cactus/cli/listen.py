"""``cactus transcribe --mic``: what is being said, shown while it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cactus.cli.interrupt import as_found
from cactus.cli.status_line import StatusLine, spoken_line, time_of
from cactus.cli.text import complain, note
from cactus.cli.transcript import Transcript
from cactus.errors import MicrophoneError
from cactus.types import LiveUpdate, Metrics, Segment, Transcription

if TYPE_CHECKING:
    from cactus import Model
    from cactus.audio.microphone import Microphone


def listen(
    model: Model, microphone: Microphone, form: str, options: dict[str, Any], *, quiet: bool
) -> None:
    """Write what is said to stdout, until the microphone is stopped.

    A segment is written when it has ended for good; the last line of the terminal shows what is
    being said. Raises MicrophoneError, after all that was transcribed, where the microphone goes.
    """
    transcript, status = Transcript(form), StatusLine(quiet=quiet)
    segments: list[Segment] = []
    confirmed = pending = ""
    aborted = False

    def abort() -> None:
        nonlocal aborted
        aborted = True
        microphone.stop()
        model.stop()

    def updates() -> Iterator[LiveUpdate]:
        gone = None
        try:
            for block in microphone:
                yield live.feed(block)
        except MicrophoneError as error:
            gone = error
        if not aborted:
            yield live.finish()
        if gone is not None:
            raise gone

    def line(columns: int) -> str:
        ended = "".join(segment.text for segment in segments).lstrip()
        return spoken_line(microphone.seconds, confirmed[len(ended) :] + pending, columns)

    with model.transcribe_live(**options) as live, microphone:
        if not quiet:
            note(f"listening to {microphone.name}; Ctrl-C ends it")
        try:
            for update in as_found(updates(), abort):
                if update is not None:
                    confirmed, pending = confirmed + update.confirmed, update.pending
                    segments += update.segments
                    if update.segments:
                        status.clear()
                    for segment in update.segments:
                        transcript.add(segment)
                status.show(line)
            status.clear()
            result = Transcription(
                segments=tuple(segments),
                language=live.language,
                language_probability=live.language_probability,
                duration=microphone.seconds,
                finish_reason="stop",
                confidence=0.0,
                notes=tuple(microphone.notes),
                metrics=Metrics(),
            )
            transcript.finish("microphone", result)
        finally:
            status.clear()
            for trouble in microphone.notes:
                complain(trouble)
        if not quiet:
            note(f"{microphone.name}: {time_of(microphone.seconds)}, language {live.language}")
