"""One file of any built-in kind, by libsndfile: decoded to its end, past what is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from cactus.audio import flac, mpeg, wav
from cactus.audio.formats import INSTALL, SUPPORTED
from cactus.audio.source import View
from cactus.audio.stream import F32, PIECE, check_rate
from cactus.errors import InvalidAudio, UnsupportedAudio
from cactus.inputs.text import reason_of

MAX_RESTARTS = 1000
"""How often decoding is begun again behind damage."""

MAX_NOTES = 10
"""Places of damage that are named."""


@dataclass
class Span:
    """Bytes [offset, end) of a file, which are a file of the kind `container` of their own."""

    container: str
    offset: int
    end: int
    mp3: mpeg.Mp3 | None = None


class Decoder:
    """One file within a file: libsndfile, begun again where damage ends it."""

    def __init__(
        self, file: IO[bytes], span: Span, name: str, notes: list[str], begin: float = 0.0
    ) -> None:
        self._file, self._span, self._name, self._notes = file, span, name, notes
        self._begin = begin  # seconds of what came before
        self._missing = 0
        self._flac: flac.FlacInfo | None = None
        self._damages, self._restarted = 0, -1
        self.frames = 0
        """Samples of each channel that have come, silence in place of damage among them."""
        size = span.end - span.offset
        if span.container == "wav":
            data = wav.find_samples(file, name, span.offset, span.end)
            check_rate(data.rate, name)
            self._missing = data.missing
            self._view = View(file, [data.header(), (data.offset, data.size)])
        elif span.mp3:
            self._view = View(file, span.mp3.pieces)
        else:
            self._view = View(file, [(span.offset, size)])
            if span.container == "flac":
                self._flac = flac.read_info(file, span.offset)
        self._sound = self._open()
        self.rate, self.channels = int(self._sound.samplerate), int(self._sound.channels)
        # libsndfile has the largest number there is for one that the container does not say.
        counted = self._sound.frames / self.rate if self._sound.frames < 1 << 62 else None
        self.duration = span.mp3.seconds if span.mp3 else counted

    def _open(self) -> Any:
        import soundfile

        view, name = self._view, self._name
        kind = self._span.container.upper().replace("WITH", "with")
        try:
            sound = soundfile.SoundFile(view)
        except soundfile.LibsndfileError as error:
            if view.failure:
                raise InvalidAudio(
                    f"{name}: cannot be read: {reason_of(view.failure)}"
                ) from view.failure
            raise UnsupportedAudio(
                f"{name} begins like {kind} and cannot be decoded: it is damaged or of a "
                f"kind that is not read ({error.error_string}); supported are {SUPPORTED}. "
                f"{INSTALL}"
            ) from None
        try:
            check_rate(sound.samplerate, name)
        except InvalidAudio:
            sound.close()
            raise
        # After each read of a file that can be seeked, it is: an MP3 decoder then starts anew.
        sound.seekable = lambda: False
        return sound

    def close(self) -> None:
        """Close the decoder; the file stays open."""
        self._sound.close()

    def pieces(self) -> Iterator[F32]:
        """Pieces f32 [frames, channels]. Raises InvalidAudio where nothing at all can be read."""
        for seconds, lost in self._span.mp3.damages if self._span.mp3 else ():
            self._note(seconds, lost)
        for _ in range(MAX_RESTARTS):
            yield from self._decode()
            if self._view.failure:
                failure = self._view.failure
                raise InvalidAudio(
                    f"{self._name}: cannot be read: {reason_of(failure)}"
                ) from failure
            behind = self._behind_damage()
            if behind is None:
                break
            lost, view = behind
            if lost:
                self._note(self.frames / self.rate, lost / self.rate)
            yield from self._silence(lost)
            self._sound.close()
            self._view = view
            try:
                self._sound = self._open()
            except InvalidAudio:
                break
        self._check_end()

    def _decode(self) -> Iterator[F32]:
        """What the decoder gives until it ends, or cannot go on."""
        import soundfile

        size = max(1, PIECE // self.channels)
        if self._flac:
            size = min(size, self._flac.block)  # what it had read before it fails is lost
        failures = 0
        while failures < 3:
            if self._flac and self._flac.total:
                # A tag behind the last frame would be taken for damage, and that frame be lost.
                size = min(size, self._flac.total - self.frames)
                if size <= 0:
                    return
            try:
                piece = self._sound.read(size, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                if self._flac:
                    return  # it would leave something out, and nobody knew how much
                failures += 1
                if failures == 1:
                    self._note(self.frames / self.rate, 0)
                continue
            if not len(piece):
                return
            failures = 0
            self.frames += len(piece)
            yield piece

    def _behind_damage(self) -> tuple[int, View] | None:
        """How many samples are lost, and a view of what follows; None where nothing does."""
        file, end, info = self._file, self._span.end, self._flac
        if info is None or (info.total and self.frames >= info.total):
            return None
        wanted = self.frames + (self.frames == self._restarted)
        found = flac.find_frame(file, self._span.offset, end, info, wanted)
        if found is None:
            return None
        offset, self._restarted = found
        lost = self._restarted - self.frames
        return lost, View(file, [info.header(), (offset, end - offset)])

    def _silence(self, count: int) -> Iterator[F32]:
        """Samples in place of those that are damaged, so that the times of the rest stay right."""
        while count > 0:
            size = min(count, max(1, PIECE // self.channels))
            self.frames += size
            count -= size
            yield np.zeros((size, self.channels), np.float32)

    def _note(self, seconds: float, lost: float) -> None:
        """Say that there is damage at `seconds` of this file, of which `lost` become silence."""
        self._damages += 1
        damage = f"{self._name} is damaged at {self._begin + seconds:.1f} s"
        if self._damages <= MAX_NOTES:
            took = f"{lost:.2f} s are taken as silence" if lost else "some is left out"
            self._notes.append(f"{damage}: {took}")
        elif self._damages == MAX_NOTES + 1:
            self._notes.append(f"{damage} and at other places behind it")

    def _check_end(self) -> None:
        """Say what is missing; a file that promises something and has nothing is an error."""
        read, stated = self.frames / self.rate, self.duration
        if self._span.mp3:
            stated = self._span.mp3.stated
        if self._missing:
            header = f"{self._missing:,} bytes before its header's end"
        elif stated is not None and stated - read > 1:
            header = f"{stated - read:.1f} s before its header's end"
        else:
            return
        if not read:
            raise InvalidAudio(
                f"{self._name} ends at 0.0 s, {header}; it is cut off or damaged, "
                "and nothing of it can be decoded"
            )
        at = self._begin + read
        self._notes.append(f"{self._name} ends at {at:.1f} s, {header}; it is cut off or damaged")
