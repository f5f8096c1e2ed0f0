"""What becomes of the pixels of every kind of file, and that no damaged one gives any."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cactus.errors import InvalidImage
from cactus.images import picture as images
from cactus.images.door import load
from cactus.images.headers import exif_orientation
from tests.images.made import chunk, exif, picture, png, save, scene


def on_white(image: Image.Image) -> np.ndarray:
    """By the formula, in floats."""
    rgba = np.asarray(image.convert("RGBA")).astype(np.float64)
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_opaque_images_keep_their_values(kind: str, mode: str) -> None:
    image = picture(33, 21, mode)
    if (kind, mode) == ("GIF", "RGB"):
        image = image.convert("P")
    assert np.array_equal(load(save(image, kind)).pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_is_laid_on_white(kind: str, mode: str) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    image = picture(40, 9, mode)
    pixels = load(save(image, kind, **options)).pixels
    assert np.abs(pixels - on_white(image)).max() <= 1
    assert (pixels[:, 0] == 255).all()


@pytest.mark.fault("F40")
def test_alpha_of_palettes_and_transparent_colours_is_laid_on_white() -> None:
    palette = picture(40, 9, "P")
    clear = save(palette, "PNG", transparency=3)
    gradual = save(palette, "PNG", transparency=bytes(range(0, 160, 10)))
    gif = save(palette, "GIF", transparency=3)
    for data in (clear, gradual, gif):
        image = Image.open(io.BytesIO(data))
        assert np.abs(load(data).pixels - on_white(image)).max() <= 1
    rgb = picture(40, 9)
    keyed = load(save(rgb, "PNG", transparency=rgb.getpixel((5, 5)))).pixels
    assert (keyed[5, 5] == 255).all() and (keyed[5, 7] == scene(40, 9)[5, 7]).all()
    grey = picture(40, 9, "L")
    keyed = load(save(grey, "PNG", transparency=grey.getpixel((5, 5)))).pixels
    assert (keyed[5, 5] == 255).all() and keyed[5, 7, 0] == grey.getpixel((7, 5))


@pytest.mark.fault("F40")
def test_of_sixteen_bits_the_higher_eight_count() -> None:
    grey = picture(31, 17, "I;16")
    pixels = load(save(grey, "PNG")).pixels
    assert np.array_equal(pixels[..., 0], np.asarray(grey) >> 8)
    assert pixels[..., 0].std() > 10  # not all white
    assert np.array_equal(load(grey).pixels, pixels)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in scene(8, 4) * np.uint16(257))
    data = png(8, 4, chunk(b"IDAT", zlib.compress(rows)), depth=16)
    assert np.array_equal(load(data).pixels, scene(8, 4))


def test_a_transparent_colour_of_sixteen_bits() -> None:
    grey = np.asarray(picture(8, 4, "I;16"))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in grey)
    clear = chunk(b"tRNS", struct.pack(">H", grey[2, 3]))
    pixels = load(png(8, 4, clear, chunk(b"IDAT", zlib.compress(rows)), depth=16, colour=0)).pixels
    assert (pixels[2, 3] == 255).all()
    deep = scene(8, 4).astype(np.uint16) << 8 | 0x5A
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    clear = chunk(b"tRNS", struct.pack(">HHH", *deep[2, 3]))
    pixels = load(png(8, 4, clear, chunk(b"IDAT", zlib.compress(rows)), depth=16)).pixels
    assert (pixels[2, 3] == 255).all() and (pixels[0, 0] == scene(8, 4)[0, 0]).all()


@pytest.mark.fault("F40")
def test_cmyk_and_grey_jpegs() -> None:
    for mode in ("CMYK", "L"):
        image = picture(33, 21, mode)
        pixels = load(save(image, "JPEG", quality=95)).pixels
        assert np.abs(pixels.astype(int) - np.asarray(image.convert("RGB"))).mean() < 8


@pytest.mark.fault("F40")
@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    frames = [picture(16, 16, seed=seed) for seed in range(5)]
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    data = save(frames[0], kind, save_all=True, append_images=frames[1:], duration=10, **options)
    image = Image.open(io.BytesIO(data))
    assert image.n_frames == 5
    assert np.array_equal(load(data).pixels, np.asarray(image.convert("RGB")))
    image.seek(3)  # of a PIL image, the frame at which it is
    assert np.array_equal(load(image).pixels, np.asarray(image.convert("RGB")))
    assert not np.array_equal(load(image).pixels, load(data).pixels)


@pytest.mark.fault("F40")
def test_comments_profiles_and_previews_are_left_out() -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 22), 9))
    profile = chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(1 << 22), 9))
    plain = save(picture(12, 9), "PNG")
    heavy = plain[:33] + text + profile + plain[33:] + b"and something behind it"
    assert np.array_equal(load(heavy).pixels, scene(12, 9))
    for kind in ("JPEG", "WEBP"):
        plain = save(picture(12, 9), kind)
        heavy = save(picture(12, 9), kind, icc_profile=bytes(9000), exif=exif(1), xmp=b"<x/>" * 99)
        assert len(heavy) > len(plain) + 9000
        assert np.array_equal(load(heavy).pixels, load(plain).pixels)


@pytest.mark.fault("F40")
def test_exif_that_claims_more_than_memory_holds_costs_nothing() -> None:
    entry = struct.pack("<HHII", 0x9000, 7, 1 << 31, 8)
    block = b"II*\0" + struct.pack("<IH", 8, 65535) + entry * 65535
    assert exif_orientation(block) == 1
    assert exif_orientation(block[:8] + b"\xff\xff") == 1
    assert exif_orientation(b"II*\0" + struct.pack("<I", 1 << 31)) == 1
    assert exif_orientation(b"") == exif_orientation(exif(6)[:-8]) == exif_orientation(exif(9)) == 1
    assert exif_orientation(b"Exif\0\0" + exif(6, ">")) == 6


def bombs() -> dict[str, bytes]:
    """Files of some bytes that claim 65,535 x 65,535 pixels or the most that their kind can."""
    jpeg = bytearray(save(picture(8, 8), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    gif = bytearray(save(picture(8, 8, "P"), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    frame = bytearray(save(picture(8, 8, "P"), "GIF"))
    at = frame.index(b",\0\0\0\0\x08\0\x08\0")
    frame[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    bmp = bytearray(save(picture(8, 8), "BMP"))
    bmp[18:26] = struct.pack("<ii", 65535, -65535)
    lossless = bytearray(save(picture(8, 8), "WEBP", lossless=True))
    at = lossless.index(b"VP8L") + 9
    lossless[at : at + 4] = b"\xff\xff\xff\x0f"
    lossy = bytearray(save(picture(8, 8), "WEBP"))
    at = lossy.index(b"\x9d\x01\x2a") + 3
    lossy[at : at + 4] = b"\xff\x3f\xff\x3f"
    extended = bytearray(save(picture(8, 8, "RGBA"), "WEBP"))
    at = extended.index(b"VP8X") + 12
    extended[at : at + 6] = b"\xff\xff\x00\xff\xff\x00"
    rows = zlib.compress(bytes(1 << 20))
    made = {"gif frame": frame, "lossless webp": lossless, "lossy webp": lossy, "webp": extended}
    made |= {"jpeg": jpeg, "gif": gif, "bmp": bmp}
    return {"png": png(65535, 65535, chunk(b"IDAT", rows))} | {k: bytes(v) for k, v in made.items()}


@pytest.mark.fault("F40")
@pytest.mark.parametrize("kind", bombs())
def test_a_bomb_is_refused_by_its_header(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", None)  # nothing is asked to decode it
    with pytest.raises(InvalidImage, match=r"pixels; at most 64,000,000 are taken"):
        load(bombs()[kind])


@pytest.mark.fault("F40")
@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "progressive", "WEBP", "lossless", "GIF", "BMP"])
def test_a_cut_file_is_refused_or_lacks_no_pixel(kind: str, mode: str) -> None:
    options = {"progressive": {"progressive": True}, "lossless": {"lossless": True}}.get(kind, {})
    format = {"progressive": "JPEG", "lossless": "WEBP"}.get(kind, kind)
    image = picture(64, 48, mode if format in ("PNG", "GIF", "BMP") else "RGB")
    data = save(image, format, **options)
    whole = load(data).pixels
    refused = 0
    for size in {*range(0, len(data), max(1, len(data) // 150)), *range(len(data) - 16, len(data))}:
        try:
            assert np.array_equal(load(data[:size]).pixels, whole), size
        except InvalidImage:
            refused += 1
    assert refused > 140


@pytest.mark.fault("F40")
def test_a_jpeg_with_thousands_of_passes_is_refused() -> None:
    data = save(picture(64, 64), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    assert load(data[:-2] + last + data[-2:]).width == 64
    with pytest.raises(InvalidImage, match="more than 100 passes"):
        load(data[:-2] + last * 100 + data[-2:])


@pytest.mark.fault("F40")
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"II*\0" + bytes(100), "a TIFF image"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "a HEIC image"),
        (b"\0\0\0\x18ftypavif" + bytes(20), "an AVIF image"),
        (b"%PDF-1.7", "a PDF document"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (bytes(50), "nothing but zero bytes"),
        (b"BM and so on, which is not a bitmap", "text, beginning with 'BM and"),
        (b"\x89PNG\r\n\x1a\n", "cut off"),
        (b"\xff\xd8\xff\xe0", "cut off"),
        (b"GIF89a", "cut off"),
        (b"RIFF\x04\0\0\0WEBP", "without an image"),
        (png(1, 0), "nothing to see"),
        (png(1, 1), "cannot be decoded"),
        (png(1, 1)[:8] + chunk(b"PLTE", bytes(30)), "damaged"),
        (b"\xff\xd8\xff\xd9", "cut off"),
        (b"\xff\xd8\xff\xe0\0\1", "a segment of 1 bytes"),
        (b"\xff\xd8\xff\xe0\0\2xx", "expected a marker"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_image_is_named(data: bytes, words: str) -> None:
    with pytest.raises(InvalidImage, match=words):
        load(data)


@pytest.mark.parametrize("mode", ["RGBA", "P", "I;16"])
def test_what_is_converted_in_strips_is_what_is_converted_as_a_whole(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = save(picture(150, 90, mode), "PNG", exif=b"Exif\0\0" + exif(7))
    whole = load(data).pixels
    monkeypatch.setattr(images, "STRIP_PIXELS", 1000)
    assert np.array_equal(load(data).pixels, whole)
