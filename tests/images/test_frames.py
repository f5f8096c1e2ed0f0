"""Frames of videos as images."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from cactus.errors import InvalidImage, InvalidRequest
from cactus.images.frames import find_times, load_frames
from cactus.images.picture import Limits, Policy
from tests.images.made import video


@pytest.mark.parametrize(("form", "codec"), [("mp4", "mpeg4"), ("matroska", "mpeg4")])
def test_frames_come_at_a_rate(form: str, codec: str, tmp_path: Path) -> None:
    data = video(2, form, codec)
    (tmp_path / "video").write_bytes(data)
    for source in (data, tmp_path / "video", str(tmp_path / "video"), io.BytesIO(data)):
        frames = list(load_frames(source, rate=2))
        assert [frame.pixels.shape for frame in frames] == [(48, 64, 3)] * 4
        bright = [int(frame.pixels[:, 40:].mean()) for frame in frames]
        assert np.abs(np.subtract(bright, [0, 40, 80, 120])).max() <= 4
        assert frames[3].name.startswith("the frame at 1.5 s of ")
    assert len(list(load_frames(data, rate=100, most=100))) == 20  # no more than there are


def test_frames_are_decoded_when_they_are_asked_for(tmp_path: Path) -> None:
    frames = load_frames(video(2), rate=10, most=20)
    assert next(frames).width == 64
    frames.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("form", "codec"), [("mp4", "mpeg4"), ("avi", "mpeg4"), ("mpegts", "mpeg2video")]
)
def test_frames_at_given_times_are_those_that_come_one_after_another(form: str, codec: str) -> None:
    data = video(22, form, codec)
    each = {frame.name: frame.pixels for frame in load_frames(data, rate=10, most=220)}
    for times in ([0, 3.2, 9.9, 21.9], [21.9, 0.1, 7, 7]):  # skipping ahead, and back
        found = list(load_frames(data, times=times))
        assert [frame.name.partition(" of")[0] for frame in found] == [
            f"the frame at {time:.1f} s" for time in times
        ]
        assert all((frame.pixels == each[frame.name]).all() for frame in found)
    with pytest.raises(InvalidImage, match=r"no frame at 22 s: its last is at 21\.9 s"):
        list(load_frames(data, times=[3, 22]))


def test_times_are_a_second_apart_or_evenly_spread() -> None:
    three = video(3)
    assert find_times(three) == [0, 1, 2]
    assert find_times(three, most=2) == [0, 1.5]
    assert find_times(three, most=1) == [0]
    assert find_times(three, start=1.5, end=2.5) == [1.5, 2.5]
    assert find_times(three, start=2, end=99) == [2]
    with pytest.raises(InvalidImage, match=r"no frame at 5 s: its last is at 2\.9 s"):
        find_times(three, start=5)


def test_times_of_a_video_that_does_not_say_how_long_it_is() -> None:
    data = video(3, "mpegts", "mpeg2video")
    assert find_times(data) == [0, 1, 2]
    assert find_times(data[: len(data) // 2]) == [0, 1]


def test_more_frames_than_allowed_are_an_error_and_not_left_out() -> None:
    with pytest.raises(InvalidImage, match="2 s long: at 10 frames a second these are more than 5"):
        next(load_frames(video(2), rate=10, most=5))
    with pytest.raises(InvalidRequest, match="rate"):
        next(load_frames(video(1), rate=0))


def test_a_video_that_was_filmed_upright_is_upright() -> None:
    data = bytearray(video(1))
    at = data.index(b"tkhd") + 4 + 40
    turned = (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)  # by 90 degrees, clockwise
    data[at : at + 36] = b"".join(each.to_bytes(4, "big", signed=True) for each in turned)
    frame = next(load_frames(bytes(data)))
    assert frame.pixels.shape == (64, 48, 3)
    assert frame.pixels[:32].mean() > frame.pixels[32:].mean() + 20  # left has become top


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    playlist = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
    for data in (b"no video", playlist, video(1)[:60]):
        with pytest.raises(InvalidImage, match="cannot be read as a video"):
            next(load_frames(data))
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(InvalidImage, match="is empty; expected a video"):
        find_times(tmp_path / "empty.mp4")
    with pytest.raises(InvalidImage, match="cannot be from 2 to 1 s"):
        find_times(video(3), start=2, end=1)
    with pytest.raises(InvalidImage, match="no such file"):
        next(load_frames(tmp_path / "none.mp4"))
    with pytest.raises(InvalidImage, match="not allowed here"):
        next(load_frames("https://example.com/video.mp4"))
    with pytest.raises(InvalidImage, match="given as a path"):
        next(load_frames(tmp_path / "none.mp4", policy=Policy(local_files=False)))
    with pytest.raises(InvalidImage, match="at most 3,000 are taken"):
        next(load_frames(video(1), limits=Limits(pixels=3000)))
    with pytest.raises(InvalidImage, match="int"):
        next(load_frames(3))


def test_damage_costs_the_frames_that_it_hits() -> None:
    data = bytearray(video(2))
    middle = data.index(b"mdat") + 400
    data[middle : middle + 200] = bytes(200)
    assert 1 <= len(list(load_frames(bytes(data), rate=10, most=20))) <= 20


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InvalidImage, match=r"pip install 'cactus\[av\]'"):
        next(load_frames(b"data"))
