"""Decoding: an audio file of any kind as a stream of blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from cactus.audio import flac, media, mpeg, ogg, wav
from cactus.audio.decoder import MAX_NOTES, Decoder, Span
from cactus.audio.formats import HEAD_BYTES, INSTALL, MEDIA, SUPPORTED, recognise
from cactus.audio.pcm import open_pcm
from cactus.audio.source import open_bytes
from cactus.audio.stream import BLOCK, F32, SAMPLE_RATE, AudioStream, Part
from cactus.errors import InvalidAudio, UnsupportedAudio

__all__ = ["BLOCK", "F32", "SAMPLE_RATE", "AudioStream", "open_audio", "open_pcm"]


MAX_OPENED = 100
"""Joined files that are opened beforehand, to know how long they are together."""


def open_audio(
    source: str | os.PathLike[str] | bytes | IO[bytes], channel: int | None = None
) -> AudioStream:
    """Open an audio file given as path, bytes or binary file object; its content says its kind.

    The channels are averaged, or one is taken, the first being 1. Files that were joined are read
    one after the other. Raises `InvalidAudio` naming what is wrong, such as a channel that the file
    does not have, `UnsupportedAudio` for another kind of file.
    """
    file, name = open_bytes(source)
    try:
        stream = _open(file, name, channel)
        if channel is not None and not 1 <= channel <= stream.channels:
            stream.close()
            raise InvalidAudio(f"{name} has {stream.channels} channels, expected 1 to that of them")
        return stream
    except OSError as error:
        file.close()
        raise InvalidAudio(f"{name}: cannot be read: {error}") from error
    except BaseException:
        file.close()
        raise


def _open(file: IO[bytes], name: str, channel: int | None) -> AudioStream:
    file.seek(0)
    container = recognise(file.read(HEAD_BYTES), name)
    size = file.seek(0, os.SEEK_END)
    notes: list[str] = []
    if container.kind == MEDIA:
        return _open_media(file, name, container.name, notes, channel)
    spans = _spans(file, container.kind, container.offset, size)
    try:
        first = Decoder(file, spans[0], name, notes)
    except UnsupportedAudio as error:
        if not media.is_available():
            raise
        with suppress(InvalidAudio):
            return _open_media(file, name, container.name, notes, channel)
        raise error from None
    first.close()
    durations, channels = [first.duration], first.channels
    for span in spans[1:MAX_OPENED]:
        with suppress(InvalidAudio):
            other = Decoder(file, span, name, notes)
            durations.append(other.duration)
            channels = max(channels, other.channels)
            other.close()
    known = [each for each in durations if each is not None]
    duration = sum(known) if len(known) == len(spans) else None

    def parts() -> Iterator[Part]:
        seconds, left_out = 0.0, 0
        for span in spans:
            try:
                decoder = Decoder(file, span, name, notes, seconds)
            except InvalidAudio as error:
                left_out += 1
                if left_out <= MAX_NOTES:
                    notes.append(f"at {seconds:.1f} s a part is left out: {error}")
                continue
            try:
                yield Part(decoder.rate, decoder.pieces())
            finally:
                decoder.close()
            seconds += decoder.frames / decoder.rate
        if left_out > MAX_NOTES:
            notes.append(f"{name}: {left_out:,} of {len(spans):,} parts are left out in all")

    return AudioStream(parts(), duration, notes, name, file.close, channel, channels)


def _open_media(
    file: IO[bytes], name: str, what: str, notes: list[str], channel: int | None
) -> AudioStream:
    if not media.is_available():
        raise UnsupportedAudio(f"{name} is {what}. {INSTALL}; read without them are {SUPPORTED}")
    opened = media.open_media(file, name, notes)

    def close() -> None:
        opened.close()
        file.close()

    return AudioStream(opened.parts, opened.duration, notes, name, close, channel, opened.channels)


def _spans(file: IO[bytes], kind: str, offset: int, size: int) -> list[Span]:
    """The files that were joined to this one, which begins at `offset`."""
    if kind == "ogg":
        return [Span(_ogg_kind(link), link.offset, link.end) for link in ogg.find_links(file, size)]
    if kind == "mp3" and (files := mpeg.scan(file, offset, size)):
        return [Span(kind, offset, size, mp3) for mp3 in files]
    begins = [offset]
    if kind == "flac":
        begins += flac.find_joined(file, size)
    elif kind == "wav":
        begins += wav.find_joined(file, size)
    return [Span(kind, a, b) for a, b in zip(begins, [*begins[1:], size], strict=True)]


def _ogg_kind(link: ogg.Link) -> str:
    others = [codec for codec in link.codecs if codec not in ("Vorbis", "Opus")]
    return f"ogg with {' and '.join(others)}" if others else "ogg"
