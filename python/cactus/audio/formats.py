"""What a file is, by its first bytes; its name does not count."""

from __future__ import annotations

from dataclasses import dataclass

from cactus.audio.mpeg import ROW_BYTES, find_row, parse_frame
from cactus.errors import InvalidAudio, UnsupportedAudio

SUPPORTED = "WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF, AU, CAF and W64"

INSTALL = (
    "M4A, AAC, MP4, WebM, MKV, WMA, AMR and other files are read with the package av "
    "(pip install 'cactus[av]') or the program ffmpeg, where one of them is installed"
)

HEAD_BYTES = 1 << 16
"""How much of a file's beginning `recognise` is given, in bytes."""

MEDIA = "media"
"""The kind of what PyAV and ffmpeg read."""


@dataclass(frozen=True)
class Container:
    """What a file is: `kind` in one word, `name` for messages, and the byte at which it begins."""

    kind: str
    name: str
    offset: int = 0


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

_MEDIA = (
    (b"\x1a\x45\xdf\xa3", "a WebM or Matroska file"),
    (b"\x30\x26\xb2\x75", "a WMA (ASF) file"),
    (b"#!AMR", "an AMR file"),
    (b"FLV\x01", "a Flash video"),
    (b"\0\0\1\xba", "an MPEG video"),
    (b"wvpk", "a WavPack file"),
    (b"MAC ", "a Monkey's Audio file"),
    (b"TTA1", "a True Audio file"),
    (b"MPCK", "a Musepack file"),
    (b"MP+", "a Musepack file"),
    (b"DSD ", "a DSF file"),
    (b".RMF", "a RealMedia file"),
    (b"\x0b\x77", "an AC-3 stream"),
)

_OTHERS = (
    (b"MThd", "a MIDI file, which holds notes and no audio"),
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


def recognise(head: bytes, name: str) -> Container:
    """The container of a file that begins with `head`; `name` is for messages.

    Raises `InvalidAudio` for an empty file and `UnsupportedAudio` for what is not audio.
    """
    if not head:
        raise InvalidAudio(f"{name} is empty; expected an audio file ({SUPPORTED})")
    for magic, kind in _READ:
        if head.startswith(magic):
            return Container(kind, kind.upper())
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return Container("wav", "WAV")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return Container("aiff", "AIFF")
    if _is_mpeg_frame(head):
        return Container("mp3", "MP3")
    what = _media(head)
    if what is not None:
        return Container(MEDIA, what)
    if not head.startswith(tuple(magic for magic, _ in _OTHERS)):
        # Cut out of a broadcast, or behind an empty block, its frames begin later.
        at = find_row(head)
        if at is not None:
            return Container("mp3", "MP3", at)
    raise UnsupportedAudio(f"{name} is {_describe(head)}; supported are {SUPPORTED}. {INSTALL}")


def may_begin(head: bytes) -> bool:
    """Whether a file may begin with `head`, 16 bytes, by marks that audio seldom has by chance."""
    magics = (magic for magic, _ in _READ + _MEDIA if len(magic) > 2)
    return head.startswith((b"RIFF", b"FORM", b"\xff", *magics)) or head[4:8] == b"ftyp"


def recognise_joined(head: bytes) -> Container | None:
    """The container of a file that begins among other bytes, None where that is not certain."""
    if not may_begin(head[:16]):
        return None
    if head[0] == 0xFF and find_row(head[:ROW_BYTES]) != 0 and not _is_adts_row(head):
        return None
    try:
        found = recognise(head, "")
    except UnsupportedAudio:
        return None
    return found if found.offset == 0 else None


def _is_adts_row(head: bytes) -> bool:
    """Whether several frames of AAC follow one another."""
    at = 0
    for _ in range(3):
        frame = head[at : at + 7]
        if len(frame) < 7 or frame[0] != 0xFF or frame[1] & 0xF6 != 0xF0:
            return False
        at += (frame[3] & 3) << 11 | frame[4] << 3 | frame[5] >> 5
    return at > 0


def _media(head: bytes) -> str | None:
    """What a file is that only PyAV and ffmpeg read, None for any other."""
    for magic, what in _MEDIA:
        if head.startswith(magic):
            return what
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return "an MP4, M4A or QuickTime file"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "an AVI video"
    if head[0] == 0xFF and len(head) > 1 and head[1] & 0xF6 == 0xF0:
        return "an AAC stream"
    if head[0] == 0x47 and len(head) > 376 and head[188] == head[376] == 0x47:
        return "an MPEG transport stream"
    return None


def looks_like_a_file(head: bytes) -> bool:
    """Whether what begins with `head` is a file of some kind and not raw samples.

    Bytes that a quiet recording may begin with do not count: MPEG's sync bits are samples of -1,
    so another frame has to follow the first one.
    """
    magics = (magic for magic, _ in _READ + _MEDIA + _OTHERS if len(magic) > 2)
    if not head or head.startswith((b"RIFF", b"FORM", *magics)) or head[4:8] == b"ftyp":
        return True
    if _is_text(head):
        return True
    frame = parse_frame(head[:4])
    return frame is not None and parse_frame(head[frame.size : frame.size + 4]) is not None


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
    if head[:4] == b"RIFF":
        return f"a RIFF file of the kind {head[8:12]!r}, not WAVE"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if not any(head):
        return "nothing but zero bytes"
    if all(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in head[:1024]):
        return f"text, beginning with {head[:20].decode('utf-8', 'replace')!r}"
    return f"not an audio file that is known here: it begins with {head[:12]!r}"
