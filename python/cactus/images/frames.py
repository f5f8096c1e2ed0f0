"""Frames of a video as images, by PyAV."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import closing
from typing import IO, Any

from cactus.errors import InvalidImage
from cactus.images.door import file_of, open_path
from cactus.images.picture import Limits, Picture, Policy
from cactus.inputs.checks import integer, number

FRAMES = 16
"""Frames of a video that are taken at most, unless more are asked for."""

DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,asf,mpeg,mpegts,ogg"
"""What is opened; not playlists, which name other files and addresses."""

MOST_DAMAGE = 1000
"""Packets that may be damaged before decoding ends."""


def load_frames(
    source: Any,
    rate: float = 1.0,
    most: int = FRAMES,
    limits: Limits | None = None,
    policy: Policy | None = None,
) -> Iterator[Picture]:
    """Frames of a video as images, each decoded when it is asked for: `rate` of them a second.

    `source`: a path, a file's bytes or a file object; a path may name a file of any length. Needs
    the package av. Raises InvalidImage where nothing can be decoded, and where there are more than
    `most` frames at that rate: none is left out silently.
    """
    number("rate", rate, 1e-6, 1000.0)
    integer("most", most, 1, 1 << 20)
    limits = limits or Limits()
    file, name = _open(source, limits, policy or Policy())
    with closing(file):
        yield from _frames(file, name, rate, most, limits)


def _open(source: Any, limits: Limits, policy: Policy) -> tuple[IO[bytes], str]:
    address = isinstance(source, str) and "://" in source[:20]
    if isinstance(source, (str, os.PathLike)) and policy.local_files and not address:
        return open_path(os.fspath(source))
    found = file_of(source, limits, policy)
    if found is None:
        raise InvalidImage(f"a video is {type(source).__name__}, expected a path or bytes")
    return io.BytesIO(found[0]), found[1]


def _frames(
    file: IO[bytes], name: str, rate: float, most: int, limits: Limits
) -> Iterator[Picture]:
    try:
        import av
    except ImportError:
        raise InvalidImage(
            f"{name}: the package that reads videos is missing: pip install 'cactus[av]'"
        ) from None
    av.logging.set_level(None)
    try:
        video: Any = av.open(
            file, options={"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}
        )
    except (av.FFmpegError, ValueError) as error:
        raise InvalidImage(f"{name} cannot be read as a video: {error}") from None
    with closing(video):
        if not video.streams.video:
            raise InvalidImage(f"{name} has no video track")
        stream = video.streams.video[0]
        codec = stream.codec_context
        limits.check_size(codec.width, codec.height, f"a frame of {name}")
        seconds = 0.0 if video.duration is None else video.duration / av.time_base
        if seconds * min(rate, float(stream.average_rate or rate)) > most:
            raise _too_many(name, rate, most, f"{seconds:.0f} s long")
        count = 0
        for seconds, frame in _decoded(video, name):
            if seconds < count / rate:
                continue
            if count == most:
                raise _too_many(name, rate, most, f"more than {seconds:.0f} s long")
            count += 1
            yield _picture(frame, f"the frame at {seconds:.1f} s of {name}", limits)
        if not count:
            raise InvalidImage(f"{name}: no frame of it can be decoded; it is damaged")


def _too_many(name: str, rate: float, most: int, length: str) -> InvalidImage:
    return InvalidImage(
        f"{name} is {length}: at {rate:g} frames a second these are more than {most}; lower the "
        "rate, or allow more frames"
    )


def _decoded(video: Any, name: str) -> Iterator[tuple[float, Any]]:
    """Seconds from the first frame on, and the frame; what is damaged is left out."""
    import av

    first: float | None = None
    failures = 0
    packets = video.demux(video.streams.video[0])
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            for frame in packet.decode():
                if frame.time is not None:
                    first = frame.time if first is None else first
                    yield frame.time - first, frame
        except av.FFmpegError as error:
            failures += 1
            if failures > MOST_DAMAGE:
                raise InvalidImage(f"{name} is damaged: {error}") from None


def _picture(frame: Any, name: str, limits: Limits) -> Picture:
    import numpy as np

    limits.check_size(frame.width, frame.height, name)
    turns = round(getattr(frame, "rotation", 0) / 90)  # counterclockwise
    pixels = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
    pixels.setflags(write=False)
    return Picture(pixels, name)
