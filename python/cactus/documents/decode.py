"""Bytes to text: which encoding a file has, and whether it is text at all."""

from __future__ import annotations

import codecs
import re

from cactus.documents.unread import Unread

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32-le-bom"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be-bom"),
    (codecs.BOM_UTF16_LE, "utf-16-le-bom"),
    (codecs.BOM_UTF16_BE, "utf-16-be-bom"),
)

_SAMPLE = 1 << 16
_HIGH = re.compile(rb"[^\x00-\x7f]")
# Controls that no text has: all but tab, newlines, form feed, backspace, bell and escape.
_CONTROLS = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")
_WESTERN = re.compile(r"[A-Za-zÀ-ÖØ-öø-ÿŒœŠšŽžŸ\s0-9‘’“”–—…«»€§°ºª·¡¿£©®™±²³½¼¾\x00-\x7f]*\Z")


def decode(data: bytes) -> tuple[str, str, list[str]]:
    """The text of a file, its encoding, and notes on what could not be decoded.

    Newlines stay as they are. A byte order mark is not part of the text. Raises Unread "binary"
    for what is not text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            codec = encoding.removesuffix("-bom").removesuffix("-sig")
            return _replaced(data[len(mark) :], codec, encoding)
    sample = data[:_SAMPLE]
    if b"\0" in sample:
        return _without_mark(data, sample)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _legacy(data)
    if len(_CONTROLS.findall(sample)) > len(sample) // 50:
        raise Unread("binary", "control characters")
    if "\0" in text:
        raise Unread("binary", "NUL bytes")
    return text, "utf-8", []


def _replaced(data: bytes, codec: str, encoding: str) -> tuple[str, str, list[str]]:
    text = data.decode(codec, "replace")
    bad = text.count("\ufffd")
    if bad > len(text) // 20 + 1 or text.count("\0") > len(text) // 100:
        raise Unread("binary", f"it begins as {codec} does and is not")
    return text, encoding, [f"{bad} places are not {codec}"] if bad else []


def _without_mark(data: bytes, sample: bytes) -> tuple[str, str, list[str]]:
    """UTF-16 or UTF-32 without its mark: the NUL bytes of Latin letters lie at regular places."""
    for width, zeros, codec in (
        (4, (1, 2, 3), "utf-32-le"),
        (4, (0, 1, 2), "utf-32-be"),
        (2, (1,), "utf-16-le"),
        (2, (0,), "utf-16-be"),
    ):
        count = len(sample) // width
        if len(data) % width or count < 4:
            continue
        others = [place for place in range(width) if place not in zeros]
        if all(sample[place::width].count(0) * 10 >= count * 6 for place in zeros) and not any(
            sample[place::width].count(0) * 20 > count for place in others
        ):
            try:
                text = data.decode(codec)
            except UnicodeDecodeError:
                continue
            if not _CONTROLS.search(text.encode("ascii", "ignore")):
                return text, codec, []
    raise Unread("binary", "NUL bytes")


def _legacy(data: bytes) -> tuple[str, str, list[str]]:
    """Text that is not UTF-8: UTF-8 with a few wrong bytes, or an older encoding."""
    if b"\0" in data or len(_CONTROLS.findall(data[:_SAMPLE])) > min(len(data), _SAMPLE) // 50:
        raise Unread("binary", "neither text nor a kind that is read")
    text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    valid = len(text) - len(text.encode("ascii", "ignore")) - bad
    if valid > 8 * bad and bad <= len(text) // 200:
        return text, "utf-8", [f"{bad} places are not UTF-8"]
    sample = _lines_with_high_bytes(data)
    try:
        western = sample.decode("cp1252")
    except UnicodeDecodeError:
        western = None
    if western is not None and _WESTERN.match(western) and _mostly_ascii(western):
        return _in(data, "cp1252")
    import charset_normalizer

    found = charset_normalizer.from_bytes(sample).best()
    if found is None:
        raise Unread("binary", "its encoding is not known")
    return _in(data, found.encoding)


def _in(data: bytes, encoding: str) -> tuple[str, str, list[str]]:
    text = data.decode(encoding, "replace")
    bad = text.count("\ufffd")
    if bad > len(text) // 50:
        raise Unread("binary", "its encoding is not known")
    return text, encoding, [f"{bad} places are not {encoding}"] if bad else []


def _mostly_ascii(text: str) -> bool:
    letters = sum(character.isalpha() for character in text)
    return sum(character > "\x7f" for character in text) * 3 <= letters


def _lines_with_high_bytes(data: bytes, most: int = 1 << 14) -> bytes:
    """Lines that show the encoding, up to about `most` bytes of them."""
    lines: list[bytes] = []
    size, at = 0, 0
    while size < most and (found := _HIGH.search(data, at)):
        begin = max(data.rfind(b"\n", at, found.start()) + 1, found.start() - 200, at)
        end = data.find(b"\n", found.start(), found.start() + 400)
        at = end if end >= 0 else min(found.start() + 400, len(data))
        lines.append(data[begin:at])
        size += at - begin
    return b"\n".join(lines)
