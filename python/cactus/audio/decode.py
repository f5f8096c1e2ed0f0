"""Decoding: an audio file of any kind as a stream of blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, cast

from cactus.audio import flac, joined, media, mpeg, ogg
from cactus.audio.decoder import MAX_NOTES, Decoder, Span
from cactus.audio.formats import HEAD_BYTES, INSTALL, MEDIA, SUPPORTED, Container, recognise
from cactus.audio.pcm import open_pcm
from cactus.audio.source import View, open_bytes
from cactus.audio.stream import BLOCK, F32, SAMPLE_RATE, AudioStream, Part
from cactus.errors import InvalidAudio, UnsupportedAudio
from cactus.inputs.text import reason_of

__all__ = ["BLOCK", "F32", "SAMPLE_RATE", "AudioStream", "open_audio", "open_pcm"]


MAX_OPENED = 100
"""Joined files that are opened beforehand, to know how long they are together."""

MAX_CHANGES = 1000
"""How often a file of another kind, each of which is searched to its end, may follow."""


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
            last = stream.channels
            raise InvalidAudio(f"{name}: channel must be 1 to {last}, got {channel}")
        return stream
    except OSError as error:
        file.close()
        raise InvalidAudio(f"{name}: cannot be read: {reason_of(error)}") from error
    except BaseException:
        file.close()
        raise


def _open(file: IO[bytes], name: str, channel: int | None) -> AudioStream:
    file.seek(0)
    container = recognise(file.read(HEAD_BYTES), name)
    size = file.seek(0, os.SEEK_END)
    notes: list[str] = []
    spans, rest = _spans(file, container, size)

    def note(at: int, why: str) -> None:
        notes.append(
            f"{name} ends at byte {at:,}; the {size - at:,} bytes behind it are not read: {why}"
        )

    if rest is not None:
        note(*rest)
    if container.kind == MEDIA:
        whole = file if rest is None else cast(IO[bytes], View(file, [(0, rest[0])]))
        return _open_media(whole, name, container.name, notes, channel, file.close)
    try:
        first = Decoder(file, spans[0], name, notes)
    except UnsupportedAudio as error:
        if not media.is_available():
            raise
        with suppress(InvalidAudio):
            opened = _open_media(file, name, container.name, notes, channel, file.close)
            for span in spans[1:]:
                if span.container.partition(" ")[0] != "ogg":  # those are read as one file
                    note(span.offset, "another file was joined there")
                    break
            return opened
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
                if error.__cause__ is not None:  # the file cannot be read, which is no damage
                    raise
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
    file: IO[bytes],
    name: str,
    what: str,
    notes: list[str],
    channel: int | None,
    close_file: Callable[[], None],
) -> AudioStream:
    if not media.is_available():
        raise UnsupportedAudio(f"{name} is {what}. {INSTALL}; read without them are {SUPPORTED}")
    opened = media.open_media(file, name, notes)

    def close() -> None:
        opened.close()
        close_file()

    return AudioStream(opened.parts, opened.duration, notes, name, close, channel, opened.channels)


def _spans(
    file: IO[bytes], container: Container, size: int
) -> tuple[list[Span], tuple[int, str] | None]:
    """The files that were joined to this one, itself the first; where and what is not read."""
    spans: list[Span] = []
    begin, changes = container.offset, 0
    while True:
        own = _of_one_kind(file, container.kind, begin, size)
        following = None
        for span in own:
            frames = _frames_end(span)
            following = joined.find_next(file, container, span.offset, span.end, frames)
            if following is not None:
                break
        if following is None:
            end = joined.w64_end(file, begin, size) if container.kind == "w64" else None
            if end is None:
                return spans + own, None
            spans.append(Span("w64", begin, end))
            return spans, (end, "they are not audio of a known kind")
        end, found = following
        spans += _of_one_kind(file, container.kind, begin, end)
        if MEDIA in (found.kind, container.kind):
            return spans, (end, f"another file was joined there ({found.name})")
        changes += found.kind != container.kind
        if changes > MAX_CHANGES:
            return spans, (end, "too many files of different kinds were joined")
        container, begin = found, end


def _of_one_kind(file: IO[bytes], kind: str, begin: int, end: int) -> list[Span]:
    """The files in bytes [begin, end) that are of the kind of the first."""
    if kind == "ogg":
        links = ogg.find_links(file, begin, end)
        return [Span(_ogg_kind(link), link.offset, link.end) for link in links]
    if kind == "mp3" and (files := mpeg.scan(file, begin, end)):
        return [Span(kind, begin, end, mp3) for mp3 in files]
    begins = [begin, *(flac.find_joined(file, begin, end) if kind == "flac" else ())]
    return [Span(kind, a, b) for a, b in zip(begins, [*begins[1:], end], strict=True)]


def _frames_end(span: Span) -> list[int]:
    """Where frames of an MP3 file end and others, or something else, follow."""
    pieces = span.mp3.pieces if span.mp3 else ()
    return [sum(piece) for piece in pieces if isinstance(piece, tuple)]


def _ogg_kind(link: ogg.Link) -> str:
    others = [codec for codec in link.codecs if codec not in ("Vorbis", "Opus")]
    return f"ogg with {' and '.join(others)}" if others else "ogg"
