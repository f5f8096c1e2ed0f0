"""Frames of a video as images, by PyAV."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import IO, Any

from cactus.errors import InvalidImage
from cactus.images.door import file_of, open_path
from cactus.images.picture import Limits, Picture, Policy
from cactus.inputs.checks import integer, number
from cactus.inputs.text import reason_of

FRAMES = 16
"""Frames of a video that are taken at most, unless more are asked for."""

DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,asf,mpeg,mpegts,ogg"
"""What is opened; not playlists, which name other files and addresses."""

MOST_DAMAGE = 1000
"""Packets that may be damaged before decoding ends."""

AHEAD = 5.0
"""Seconds to the next frame from which on those between are skipped, up to a keyframe."""

_SAME = 1e-6  # seconds: times are fractions of the container's own units


def find_times(
    source: Any,
    most: int = FRAMES,
    start: float = 0.0,
    end: float | None = None,
    limits: Limits | None = None,
    policy: Policy | None = None,
) -> list[float]:
    """At which seconds to look at a video, for `load_frames`: one frame a second from `start` to
    `end`, or to the last; where these are more than `most`, that many, evenly spread.

    `source` as for `load_frames`. No more is decoded than the first frame. Raises InvalidImage.
    """
    integer("most", most, 1, 1 << 20)
    if end is not None and not 0 <= start <= end:
        raise InvalidImage(f"a part of a video cannot be from {start:g} to {end:g} s")
    with _opened(source, limits, policy) as (video, name, limits):
        last = _Reader(video, name).last()
    end = last if end is None else min(end, last)
    if not 0 <= start <= end + _SAME:
        raise InvalidImage(f"{name} has no frame at {start:g} s: its last is at {last:.1f} s")
    # Tenths of a second, rounded up, so that there are not too many.
    step = max(1.0, (int((end - start) / most * 10) + 1) / 10)
    return [round(start + step * k, 3) for k in range(int((end - start + _SAME) / step) + 1)]


def load_frames(
    source: Any,
    rate: float = 1.0,
    most: int = FRAMES,
    limits: Limits | None = None,
    policy: Policy | None = None,
    *,
    times: Sequence[float] | None = None,
) -> Iterator[Picture]:
    """Frames of a video as images, each decoded when it is asked for: `rate` of them a second.

    `source`: a path, a file's bytes or a file object; a path may name a file of any length.
    `times`: the seconds at which to look instead, counted from the first frame. Needs the package
    av. Raises InvalidImage where nothing can be decoded, where there is no frame at one of the
    times, and where there are more than `most` at the rate: none is left out silently.
    """
    number("rate", rate, 1e-6, 1000.0)
    integer("most", most, 1, 1 << 20)
    for time in times or ():
        number("times", time, 0.0, 1e9)
    with _opened(source, limits, policy) as (video, name, limits):
        reader = _Reader(video, name)
        found = _at_rate(reader, rate, most) if times is None else _at_times(reader, times)
        for seconds, frame in found:
            yield _picture(frame, f"the frame at {seconds:.1f} s of {name}", limits)


@contextmanager
def _opened(
    source: Any, limits: Limits | None, policy: Policy | None
) -> Iterator[tuple[Any, str, Limits]]:
    """A video with a track of pictures that are not too large, and what to call it in messages."""
    limits = limits or Limits()
    file, name = _open(source, limits, policy or Policy())
    with closing(file):
        try:
            import av
        except ImportError:
            raise InvalidImage(
                f"{name} is a video, and the package that reads those is missing: "
                "pip install 'cactus[av]'"
            ) from None
        if not file.read(1):
            raise InvalidImage(f"{name} is empty; expected a video")
        file.seek(0)
        av.logging.set_level(None)
        try:
            video: Any = av.open(
                file, options={"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}
            )
        except (av.FFmpegError, ValueError) as error:
            raise InvalidImage(f"{name} cannot be read as a video: {reason_of(error)}") from None
        with closing(video):
            if not video.streams.video:
                raise InvalidImage(f"{name} has no video track")
            codec = video.streams.video[0].codec_context
            limits.check_size(codec.width, codec.height, f"a frame of {name}")
            yield video, name, limits


def _open(source: Any, limits: Limits, policy: Policy) -> tuple[IO[bytes], str]:
    address = isinstance(source, str) and "://" in source[:20]
    if isinstance(source, (str, os.PathLike)) and policy.local_files and not address:
        return open_path(os.fspath(source))
    found = file_of(source, limits, policy)
    if found is None:
        raise InvalidImage(f"a video is {type(source).__name__}, expected a path or bytes")
    return io.BytesIO(found[0]), found[1]


class _Reader:
    """The frames of a video, by their seconds from the first one on."""

    def __init__(self, video: Any, name: str) -> None:
        self.name = name
        self._video, self._stream = video, video.streams.video[0]
        self._frames = self._decoded()
        found = next(self._frames, None)
        if found is None:
            raise InvalidImage(f"{name}: no frame of it can be decoded; it is damaged")
        self._first, self._now = found[0], found

    @property
    def length(self) -> float:
        """Seconds, as the file says; 0 where it does not."""
        import av

        return float(self._video.duration or 0) / av.time_base

    @property
    def fps(self) -> float | None:
        """Frames a second, as the file says."""
        return None if self._stream.average_rate is None else float(self._stream.average_rate)

    def at(self, time: float) -> tuple[float, Any] | None:
        """The first frame that is not before `time`, and its own time; None behind the last."""
        if time < self._seconds - _SAME:
            self._rewind()
        elif time > self._seconds + AHEAD and not (
            self._seek(time) and self._seconds <= time + _SAME
        ):
            self._rewind()  # the file has no index
        while self._seconds < time - _SAME:
            found = next(self._frames, None)
            if found is None:
                return None
            self._now = found
        return self._seconds, self._now[1]

    def last(self) -> float:
        """The seconds of the last frame; what is before it is read where there is no index, and
        not decoded.
        """
        latest = 0.0
        for start in (self.length, 0.0):
            self._jump(start)
            for packet in self._packets():
                time = packet.dts if packet.pts is None else packet.pts
                if time is not None:
                    latest = max(latest, float(time * self._stream.time_base) - self._first)
            if latest:
                break
        self._rewind()
        return latest

    @property
    def _seconds(self) -> float:
        return self._now[0] - self._first

    def _rewind(self) -> None:
        # Some kinds of files are sought by when frames are decoded, which is before their time, and
        # some do not take a time before their beginning.
        for time in (0.0, -10.0):
            if self._seek(time) and self._seconds <= _SAME:
                break

    def _seek(self, time: float) -> bool:
        """Go to the keyframe before `time`, or where the file's index leads; False: to no frame."""
        self._jump(time)
        self._frames = self._decoded()
        found = next(self._frames, None)
        if found is not None:
            self._now = found
        return found is not None

    def _jump(self, time: float) -> None:
        import av

        at = int((self._first + time) / self._stream.time_base)
        with suppress(av.FFmpegError):
            self._video.seek(at, stream=self._stream)

    def _packets(self) -> Iterator[Any]:
        """The packets of the track from here on."""
        import av

        packets = self._video.demux(self._stream)
        with suppress(av.FFmpegError):  # it is cut off
            yield from packets

    def _decoded(self) -> Iterator[tuple[float, Any]]:
        """The frames from here on and their own times; what is damaged is left out."""
        import av

        failures = 0
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                failures += 1
                if failures > MOST_DAMAGE:
                    raise InvalidImage(f"{self.name} is damaged: {reason_of(error)}") from None
                continue
            yield from ((frame.time, frame) for frame in frames if frame.time is not None)


def _at_rate(reader: _Reader, rate: float, most: int) -> Iterator[tuple[float, Any]]:
    if reader.length * min(rate, reader.fps or rate) > most:
        raise _too_many(reader.name, rate, most, f"{reader.length:.0f} s long")
    count, time = 0, 0.0
    while (found := reader.at(time)) is not None:
        if count == most:
            raise _too_many(reader.name, rate, most, f"more than {found[0]:.0f} s long")
        yield found
        count += 1
        time = (int(found[0] * rate + _SAME) + 1) / rate


def _too_many(name: str, rate: float, most: int, length: str) -> InvalidImage:
    return InvalidImage(
        f"{name} is {length}: at {rate:g} frames a second these are more than {most}; lower the "
        "rate, or allow more frames"
    )


def _at_times(reader: _Reader, times: Sequence[float]) -> Iterator[tuple[float, Any]]:
    for time in times:
        found = reader.at(time)
        if found is None:
            raise InvalidImage(
                f"{reader.name} has no frame at {time:g} s: its last is at {reader.last():.1f} s"
            )
        yield found


def _picture(frame: Any, name: str, limits: Limits) -> Picture:
    import numpy as np

    limits.check_size(frame.width, frame.height, name)
    turns = round(getattr(frame, "rotation", 0) / 90)  # counterclockwise
    pixels = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
    pixels.setflags(write=False)
    return Picture(pixels, name)
