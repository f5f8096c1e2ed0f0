"""What can be given as an image, and what is refused, with which words."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from cactus.errors import InvalidImage, InvalidRequest
from cactus.images.door import load, measure
from cactus.images.picture import Limits, Policy
from tests.images.made import exif, picture, save, scene

PNG = save(picture(13, 7), "PNG")


def data_url(data: bytes, media: str = "image/png") -> str:
    return f"data:{media};base64,{base64.b64encode(data).decode()}"


def test_all_sources_give_the_same_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a picture.jpg"  # the name says nothing
    path.write_bytes(PNG)
    file = io.BytesIO(PNG)
    percent = "data:image/png," + quote(PNG)
    escaped = data_url(PNG).replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    escaped = escaped.replace("data:image%2Fpng", "DATA:Image/PNG;x=1")
    sources = (path, str(path), PNG, bytearray(PNG), memoryview(PNG), file, data_url(PNG))
    for source in (*sources, percent, escaped, Image.open(path), scene(13, 7)):
        loaded = load(source)
        assert np.array_equal(loaded.pixels, scene(13, 7))
        assert not loaded.pixels.flags.writeable
        assert (loaded.width, loaded.height) == (13, 7)
        assert load(loaded) is loaded
        assert measure(source) == (13, 7)


def test_one_pixel_and_the_shape_change_the_digest() -> None:
    first = scene(12, 8)
    second = first.copy()
    second[3, 4, 1] ^= 1
    images = (first, second, first.reshape(8, 12, 3).copy().reshape(6, 16, 3))
    assert len({load(image).digest for image in images}) == 3
    assert load(first).digest == load(save(Image.fromarray(first), "PNG")).digest


def test_an_array_is_copied() -> None:
    array = scene(9, 9)
    loaded = load(array)
    array[:] = 0
    assert loaded.pixels.any()


def test_arrays_of_other_kinds() -> None:
    rgb = scene(20, 10)
    grey = rgb[..., 0]
    threefold = np.repeat(grey[..., None], 3, 2)
    assert np.array_equal(load(grey).pixels, threefold)
    assert np.array_equal(load(grey[..., None]).pixels, threefold)
    assert np.array_equal(load(rgb.astype(np.uint16) << 8 | 255).pixels, rgb)
    assert np.array_equal(load(rgb.astype(np.float64) / 255).pixels, rgb)
    assert np.array_equal(load(grey.view(np.matrix)).pixels, threefold)
    assert np.array_equal(load(grey > 128).pixels[..., 0], (grey > 128) * 255)
    alpha = np.full((10, 20, 1), 64, np.uint8)
    wanted = np.rint((rgb * 64.0 + 255 * (255 - 64)) / 255)
    assert np.array_equal(load(np.concatenate([rgb, alpha], 2)).pixels, wanted)
    assert np.array_equal(load(rgb[::-1, ::2]).pixels, rgb[::-1, ::2])


@pytest.mark.fault("F40")
@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "image is empty"),
        (np.zeros((3, 8, 8), np.uint8), "channels"),
        (np.zeros((8, 8, 2), np.uint8), "channels"),
        (np.zeros((2, 8, 8, 3), np.uint8), "channels"),
        (np.zeros((0, 8, 3), np.uint8), "nothing to see"),
        (np.zeros((8, 8, 3), np.int64), "type int64"),
        (np.full((8, 8, 3), 255.0), "outside 0 to 1"),
        (np.full((8, 8, 3), np.nan), "outside 0 to 1"),
        (np.zeros((8, 8, 3), object), "type object"),
        (Image.new("F", (4, 4)), "mode F"),
        (Image.new("I", (4, 4)), "mode I"),
        (Image.new("RGB", (0, 4)), "nothing to see"),
        (None, "NoneType"),
        (7, "int"),
        ([PNG], "list"),
        (io.StringIO("text"), "file object"),
        ("", "path of the image is empty"),
        ("no/such/file.png", "no such file"),
        ("a\0b", "cannot be opened"),
        ("/", "is a directory"),
        ("/dev/zero", "a pipe or a device"),
        ("file:///etc/passwd", "file: addresses are not read"),
        ("FILE:/etc/passwd", "file: addresses are not read"),
        ("ftp://example.com/a.png", "ftp: addresses are not read"),
        ("gopher://example.com/a.png", "gopher: addresses are not read"),
        ("https://example.com/a.png", "is not allowed here"),
        ("HTTP://example.com/a.png", "is not allowed here"),
        ("data:,x", "not the data: URL of an image"),
        ("data:image/png", "not the data: URL of an image"),
        ("data:text/html;base64,PGI+", "not the data: URL of an image"),
        ("data:image/png;base64,", "is empty"),
        ("data:image/png;base64,iVBO*w==", "not base64"),
        ("data:image/png;base64,iVBORw=", "not base64"),
        ("data:image/png;base64,iVBOR", "not base64"),
        ("data:image/png;base64,ééé", "not base64"),
        ("data:image/png;base64,aGVsbG8gd29ybGQ=", "text, beginning with 'hello world'"),
        ("data:image/svg+xml,<svg/>", "an SVG drawing"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_image_is_refused(source: Any, words: str) -> None:
    for door in (load, measure):
        with pytest.raises(InvalidImage, match=words):
            door(source)


@pytest.mark.fault("F20")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidImage, match="a pipe or a device"):
        load(tmp_path / "pipe")


@pytest.mark.fault("F42")
def test_without_local_files_a_path_is_refused_whether_it_is_there_or_not(tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(PNG)
    policy = Policy(local_files=False)
    said = set()
    for name in ("there.png", "not-there.png"):
        with pytest.raises(InvalidImage, match="given as a path") as caught:
            load(tmp_path / name, policy=policy)
        said.add(str(caught.value))
    assert len(said) == 1
    for source in (PNG, data_url(PNG), Image.open(io.BytesIO(PNG)), scene(2, 2)):
        load(source, policy=policy)


@pytest.mark.fault("F40")
def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    limits = Limits(file_bytes=len(PNG) - 1)
    (tmp_path / "long.png").write_bytes(PNG)
    for source in (tmp_path / "long.png", PNG, data_url(PNG), io.BytesIO(PNG)):
        with pytest.raises(InvalidImage, match="bytes; at most"):
            load(source, limits)
    with open(tmp_path / "endless", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidImage, match="1,099,511,627,776 bytes"):
        load(tmp_path / "endless")


def test_a_file_object_is_read_from_where_it_is_and_left_there(tmp_path: Path) -> None:
    (tmp_path / "box").write_bytes(b"head" + PNG)
    with open(tmp_path / "box", "rb") as file:
        file.seek(4)
        for _ in range(2):
            assert load(file).width == 13 and file.tell() == 4
        file.seek(0, io.SEEK_END)
        with pytest.raises(InvalidImage, match=r"is at its end.*seek\(0\) goes back"):
            load(file)
    with pytest.raises(InvalidImage, match=r"cannot be read: .* closed file"):
        load(file)
    first, second = os.pipe()
    with open(first, "rb") as pipe, open(second, "wb") as other:
        other.write(PNG)
        other.close()
        assert load(pipe).width == 13


@pytest.mark.fault("F40")
def test_a_file_object_that_never_ends_is_read_to_the_limit() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            Endless.given += min(size, 1000)
            return PNG[:1] * min(size, 1000)

    with pytest.raises(InvalidImage, match="at most 5,000"):
        load(Endless(), Limits(file_bytes=5000))
    assert Endless.given == 5001


@pytest.mark.fault("F40")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_an_image_with_too_many_pixels_is_refused(kind: str) -> None:
    data = save(picture(30, 20), kind)
    assert load(data, Limits(pixels=600)).width == 30
    for door in (load, measure):
        with pytest.raises(InvalidImage, match="30 x 20, 600 pixels; at most 599"):
            door(data, Limits(pixels=599))
    for source in (scene(30, 20), picture(30, 20), load(data)):
        with pytest.raises(InvalidImage, match="at most 599"):
            load(source, Limits(pixels=599))


def test_limits_can_only_be_lowered() -> None:
    for wrong in ({"pixels": 64_000_001}, {"file_bytes": 0}, {"pixels": 1.5}):
        with pytest.raises(InvalidRequest, match="expected an integer"):
            Limits(**wrong)


@pytest.mark.fault("F40")
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_every_source_is_turned_as_exif_says(
    kind: str, orientation: int, order: str, tmp_path: Path
) -> None:
    from PIL import ImageOps

    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    data = save(picture(11, 6), kind, exif=b"Exif\0\0" + exif(orientation, order), **options)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    (tmp_path / "turned").write_bytes(data)
    for source in (data, tmp_path / "turned", data_url(data), Image.open(io.BytesIO(data))):
        assert np.array_equal(load(source).pixels, np.asarray(turned))
        assert measure(source) == turned.size
