"""What a file is, by its first bytes; its name is never asked."""

from __future__ import annotations

from cactus.audio.mpeg import parse_frame
from cactus.errors import InvalidAudio, UnsupportedAudio

SUPPORTED = "WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF, AU, CAF and W64"

HEAD_BYTES = 1024
"""How much of a file's beginning `recognise` is given, in bytes."""

_READ = (
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"ID3", "mp3"),
    (b"RF64", "rf64"),
    (b".snd", "au"),
    (b"caff", "caf"),
    (b"RIFX", "rifx"),
    (b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb", "w64"),
)

_OTHERS = (
    (b"\x1a\x45\xdf\xa3", "a WebM or Matroska file"),
    (b"\x30\x26\xb2\x75", "a WMA (ASF) file"),
    (b"#!AMR", "an AMR file"),
    (b"MThd", "a MIDI file, which holds notes and no sound"),
    (b"FLV\x01", "a Flash video"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x7fELF", "a program"),
    (b"GGUF", "a model's weights"),
    (b"version https://git-lfs", "a Git LFS pointer in place of the file it stands for"),
)


def recognise(head: bytes, name: str) -> str:
    """The container, in one word, of a file that begins with `head`; `name` is for messages.

    Raises `InvalidAudio` for an empty file and `UnsupportedAudio` for what is not read.
    """
    if not head:
        raise InvalidAudio(f"{name} is empty; expected a sound file ({SUPPORTED})")
    for magic, container in _READ:
        if head.startswith(magic):
            return container
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if _is_mpeg_frame(head):
        return "mp3"
    raise UnsupportedAudio(
        f"{name} is {_describe(head)}; supported are {SUPPORTED}. "
        "Other sound and video files are converted with: ffmpeg -i FILE sound.wav"
    )


def looks_like_a_file(head: bytes) -> bool:
    """Whether what begins with `head` is a file of some kind and not raw samples.

    Bytes that a quiet recording may begin with do not count: MPEG's sync bits are samples of -1,
    so another frame has to follow the first one.
    """
    magics = (magic for magic, _ in _READ + _OTHERS)
    if not head or head.startswith((b"RIFF", b"FORM", *magics)) or head[4:8] == b"ftyp":
        return True
    if _is_text(head):
        return True
    frame = parse_frame(head)
    return frame is not None and parse_frame(head[frame.size :]) is not None


def _is_text(head: bytes) -> bool:
    """Whether these are characters; as samples they would be deafening, if they are ASCII."""
    return all(32 <= byte < 127 or byte in b"\t\n\r\f\x1b" for byte in head)


def _is_mpeg_frame(head: bytes) -> bool:
    """Whether an MPEG audio frame header begins the file: sync bits, and no reserved value."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer != 0 and bitrate != 15 and rate != 3


def _describe(head: bytes) -> str:
    for magic, what in _OTHERS:
        if head.startswith(magic):
            return what
    if head[4:8] == b"ftyp":
        return "an MP4, M4A or QuickTime file"
    if head[:4] == b"RIFF":
        return f"a RIFF file of the kind {head[8:12]!r}, not WAVE"
    if head[0] == 0xFF and len(head) > 1 and head[1] & 0xF6 == 0xF0:
        return "an AAC stream"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if not any(head):
        return "nothing but zero bytes"
    if all(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in head):
        return f"text, beginning with {head[:20].decode('utf-8', 'replace')!r}"
    return f"no sound file that is known here: it begins with {head[:12]!r}"
