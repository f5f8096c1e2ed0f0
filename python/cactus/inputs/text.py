"""Text from elsewhere: made whole, safe to show, or shortened; sizes as text."""

from __future__ import annotations

SHOWN = 80
"""Characters of a text that a message or a representation shows."""


# C0 and C1 controls except newline and tab: they move the cursor, change colours, or make the
# terminal answer as if the user had typed.
_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """`text` without control characters other than newline and tab."""
    return text.translate(_CONTROLS)


def escaped(text: str) -> str:
    """`text` with every character that does not print, newlines among them, spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def megabytes(size: float) -> str:
    """A size for people: 812 B, 41 kB, 98 MB, 1.6 GB."""
    for unit, factor in (("B", 1), ("kB", 1e3), ("MB", 1e6)):
        if size < 999.5 * factor:
            return f"{size / factor:.0f} {unit}"
    return f"{size / 1e9:.1f} GB"


def reason_of(error: BaseException) -> str:
    """What an error says, of a system's without its number; its kind where it says nothing."""
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def clean_text(text: str) -> str:
    """The text as plain ``str``; surrogate pairs are joined, lone surrogates become U+FFFD."""
    text = str.__str__(text)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def cut(text: str, most: int = SHOWN) -> str:
    """`text`; of a longer one the first `most` characters, and how many it has."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def one_line(text: str, most: int = 300) -> str:
    """A text from outside for a log or an error: one line, without controls, not longer than that.

    Controls, newlines among them, become spaces, so that it begins no line of its own.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return line if len(line) <= most else line[: most - 1] + "…"
