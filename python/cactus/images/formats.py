"""Which kind of image a file is, by its own bytes, and what else it may be."""

from __future__ import annotations

from cactus.errors import InvalidImage

SUPPORTED = "PNG, JPEG, WebP, GIF and BMP"

_OTHERS = (
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"II+\0", "a BigTIFF image"),
    (b"MM\0+", "a BigTIFF image"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"%PDF", "a PDF document; its pages can be made images (docs/images.md)"),
    (
        b"\x1a\x45\xdf\xa3",
        "a WebM video; its frames can be made images (docs/images.md)",
    ),
    (b"RIFF", "a RIFF file of another kind"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "an MP3 file"),
    (b"fLaC", "a FLAC file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"GGUF", "a model's weights"),
    (b"version https://git-lfs", "a Git LFS pointer in place of the file it stands for"),
)


def recognise(data: bytes, name: str) -> str:
    """The kind of an image file: "PNG", "JPEG", "WEBP", "GIF" or "BMP".

    Raises InvalidImage for any other file, saying what it is where that can be seen.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in range(12, 256):
        return "BMP"
    raise InvalidImage(f"{name} is {_describe(data)}; supported are {SUPPORTED}")


def _describe(data: bytes) -> str:
    for magic, what in _OTHERS:
        if data.startswith(magic):
            return what
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
            return "a HEIC image; save it as a JPEG"
        if brand in (b"avif", b"avis"):
            return "an AVIF image"
        return "an MP4 or QuickTime file; a video's frames can be made images (docs/images.md)"
    text = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "an SVG drawing, which has no pixels; save it as a PNG"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if not any(data[:1024]):
        return "nothing but zero bytes"
    if all(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in data[:1024]):
        return f"text, beginning with {data[:20].decode('utf-8', 'replace')!r}"
    return f"not an image file that is known here: it begins with {data[:12]!r}"
