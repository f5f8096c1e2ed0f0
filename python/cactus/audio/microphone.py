"""A microphone as an iterator of blocks, by way of PortAudio (the package ``sounddevice``)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any

import numpy as np

from cactus.audio.decode import F32, SAMPLE_RATE
from cactus.calls.closing import Closing
from cactus.errors import MicrophoneError

if TYPE_CHECKING:
    from typing_extensions import Self

BLOCKS_A_SECOND = 10

QUEUE_SECONDS = 60
"""Audio that waits for its reader at most; what comes when there is that much is lost."""

SILENT_AFTER = 3.0
"""Seconds without any sample, not even of silence, after which a device counts as gone."""

POLL_SECONDS = 0.1


class Microphone(Closing):
    """What a microphone records from ``start`` on: blocks f32 [n], mono, at 16 kHz, within ±1.

    `device` is a number or a part of a name, default the system's. Each block is all that has come
    since the one before. Iterating waits for more and ends after ``stop``; it raises
    `MicrophoneError` when the device has gone. `seconds` is how much
    has been handed out, `lost` how much was not, because nobody took it in time; `overruns` is how
    often the device itself dropped audio that this process was too slow to take.

    Raises `MicrophoneError` where there is no microphone, and the error tells what to do.
    """

    def __init__(self, device: str | int | None = None) -> None:
        self._library = _import_library()
        self._error = self._library.PortAudioError
        found = self._find(device)
        self.name = str(found["name"])
        self._queue: Queue[F32] = Queue(QUEUE_SECONDS * BLOCKS_A_SECOND)
        self._stopped = False
        self.seconds = self.lost = 0.0
        self.overruns = 0
        self._device = device
        self._rate, self._channels = self._settings(device, found)
        self._blocks = self._resampled()
        self._stream: Any = None

    def start(self) -> None:
        """Begin to record. Raises `MicrophoneError`, as when another program has the device."""
        try:
            self._stream = self._library.InputStream(
                samplerate=self._rate,
                blocksize=self._rate // BLOCKS_A_SECOND,
                device=self._device,
                channels=self._channels,
                dtype="float32",
                callback=self._take,
            )
            self._stream.start()
        except self._error as error:
            raise MicrophoneError(f"{self.name}: cannot be opened: {error}") from error

    def __iter__(self) -> Iterator[F32]:
        return self

    def __next__(self) -> F32:
        block = next(self._blocks)
        self.seconds += len(block) / SAMPLE_RATE
        return block

    def stop(self) -> None:
        """End soon, after what has been recorded already; safe in a signal handler."""
        self._stopped = True

    def close(self) -> None:
        """Close the device; a second call does nothing."""
        self.stop()
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(self._error):  # it may have gone
                stream.close(ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return super().__enter__()

    @property
    def notes(self) -> list[str]:
        """What went wrong so far without ending it, for people."""
        notes = []
        if self.overruns:
            notes.append(f"{self.name}: the system dropped some audio ({self.overruns} x)")
        if self.lost:
            notes.append(
                f"{self.name}: {self.lost:.1f} s of audio were lost: they came faster than they "
                "were transcribed"
            )
        return notes

    def _find(self, device: str | int | None) -> Any:
        try:
            return self._library.query_devices(device, "input")
        except ValueError as error:  # a name that none has, or several
            what = str(error)
        except self._error:
            what = (
                "there is no microphone"
                if device is None
                else f"microphone {device}: there is none"
            )
        inputs = [
            f"{number} {each['name']}"
            for number, each in enumerate(self._library.query_devices())
            if each["max_input_channels"] > 0
        ]
        there = f"those are: {', '.join(inputs)}" if inputs else "PortAudio finds none at all"
        raise MicrophoneError(f"{what}; {there}")

    def _settings(self, device: str | int | None, found: Any) -> tuple[int, int]:
        """Sample rate and channels that the device takes; the nearest to 16 kHz mono."""
        native = round(found["default_samplerate"])
        most = int(found["max_input_channels"])
        reason: Exception | None = None
        for rate, channels in ((SAMPLE_RATE, 1), (native, 1), (native, most)):
            try:
                self._library.check_input_settings(
                    device=device, channels=channels, dtype="float32", samplerate=rate
                )
                return rate, channels
            except self._error as error:
                reason = error
        raise MicrophoneError(f"{self.name}: takes neither 16 kHz nor {native:,} Hz: {reason}")

    def _take(self, samples: F32, frames: int, when: Any, status: Any) -> None:
        # In PortAudio's own thread, which may not wait.
        if self._stopped:
            return
        self.overruns += bool(status.input_overflow)
        try:
            # A copy, as the memory is the device's; some drivers begin with what is not a number.
            mono = np.nan_to_num(samples.mean(axis=1, dtype=np.float32), nan=0.0)
            self._queue.put_nowait(np.clip(mono, -1.0, 1.0))
        except Full:
            self.lost += frames / self._rate

    def _captured(self) -> Iterator[F32]:
        last = time.monotonic()
        while True:
            try:
                blocks = [self._queue.get(timeout=0 if self._stopped else POLL_SECONDS)]
                # A reader that is late gets all at once, to catch up.
                while not self._queue.empty():
                    blocks.append(self._queue.get_nowait())
                yield np.concatenate(blocks)
                last = time.monotonic()
            except Empty:
                if self._stopped:
                    return
                # Some systems say that a device has gone; with others, nothing comes any more.
                if not self._stream.active or time.monotonic() - last > SILENT_AFTER:
                    raise MicrophoneError(
                        f"{self.name} gives no more audio: it was unplugged, or another program "
                        "has changed its settings"
                    ) from None

    def _resampled(self) -> Iterator[F32]:
        if self._rate == SAMPLE_RATE:
            yield from self._captured()
            return
        import soxr

        resampler = soxr.ResampleStream(self._rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        for piece in self._captured():
            yield resampler.resample_chunk(piece)
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _import_library() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise MicrophoneError(
            "a microphone needs the package sounddevice, which is not installed: "
            "pip install sounddevice"
        ) from None
    except OSError as error:  # the package is there, the library that it is about is not
        raise MicrophoneError(
            f"a microphone needs the library PortAudio: {error}. On Debian and Ubuntu, "
            "install it with: apt-get install libportaudio2"
        ) from None
    return sounddevice
