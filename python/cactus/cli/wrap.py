"""Words that come in pieces, broken between words at the edge of a terminal."""

from __future__ import annotations

from collections.abc import Callable

FENCE = "```"


class WordWrap:
    """What to write to a terminal for text that comes in pieces.

    A piece is shown at once; where the word that it belongs to reaches the edge, the word is
    erased and begun again on the next line. Lines between fences of ``` are left as they are, to
    be copied. `columns` gives the width of the terminal, which may change.
    """

    def __init__(self, columns: Callable[[], int]) -> None:
        self._columns = columns
        self._column = 0  # cells on this row of the terminal
        self._word = ""  # the word at the end of the row, which may go on
        self._broken = False  # the row began with our own line break: no spaces at its start
        self._line = ""  # the beginning of the line of text, as far as a fence is long
        self._fenced = False
        self._long = 0  # cells of a word that is longer than a row; the terminal breaks it

    def feed(self, text: str) -> str:
        """The characters and control sequences to write for the next piece."""
        columns = self._columns()
        return "".join(self._put(character, columns) for character in text)

    def _put(self, character: str, columns: int) -> str:
        from rich.cells import cell_len

        if character == "\n":
            if self._line.strip() == FENCE:
                self._fenced = not self._fenced
            self._column, self._word, self._line, self._broken = 0, "", "", False
            self._long = 0
            return character
        if len(self._line.lstrip()) < len(FENCE):
            self._line += character
        # The last column stays free: a cursor there is already half on the next row.
        edge = columns - 1
        width = 8 - self._column % 8 if character == "\t" else cell_len(character)
        inside = self._column + width <= edge
        if self._fenced or edge < 2:
            return character
        if self._long and not character.isspace():
            self._long += width
            return character
        if self._long:
            self._column, self._long = self._long % columns, 0
            self._broken = not self._column
            inside = self._column + width <= edge
        if character.isspace() and character != "\u00a0":
            self._word = ""
            if self._broken and self._column == 0:
                return ""
            if not inside:
                return self._new_row()
            self._column += width
            return character
        if inside:
            self._column += width
            self._word = "" if width == 2 else self._word + character
            self._broken = self._broken and not self._column
            return character
        if width == 2:  # Chinese, Japanese: a row may end before any character
            return self._new_row() + self._put(character, columns)
        taken, length = self._word, cell_len(self._word)
        if length == self._column:
            self._long = length + width
            return character
        erased = f"\x1b[{length}D\x1b[K" if length else ""
        row = self._new_row()
        self._column, self._word = length, taken
        return erased + row + taken + self._put(character, columns)

    def _new_row(self) -> str:
        self._column, self._word, self._broken = 0, "", True
        return "\n"
