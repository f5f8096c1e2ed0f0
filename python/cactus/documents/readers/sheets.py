"""Excel files: every row with the names of its columns, every sheet under its name."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from cactus.documents.readers.archive import Archive
from cactus.documents.readers.lines import Blocks
from cactus.documents.readers.office import core_properties
from cactus.documents.readers.tables import Rows, column_names, named
from cactus.documents.types import Document, Limits

# Formats that are dates without saying so.
_DATES = {14, 15, 16, 17, 22, *range(27, 37), *range(50, 59)}
_QUOTED = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')
_COLUMNS = 16_384


def xlsx(data: bytes, limits: Limits) -> Document:
    """The document in an Excel file; a sheet is a page. Raises Unread."""
    archive = Archive(data, limits)
    relations = archive.relations("xl/workbook.xml")
    sheets: list[tuple[str, str]] = []
    date_1904 = False

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal date_1904
        if tag == "sheet" and (part := relations.get(attributes.get("r:id", ""))):
            sheets.append((attributes.get("name", ""), part))
        elif tag == "workbookPr":
            date_1904 = attributes.get("date1904") in ("1", "true")

    archive.parse("xl/workbook.xml", start)
    strings = _strings(archive)
    dates = _date_styles(archive)
    origin = datetime(1904, 1, 1) if date_1904 else datetime(1899, 12, 30)
    rows = Rows(limits.characters)
    blocks = Blocks()
    pages: list[int] = []
    for name, part in sheets:
        if part not in archive.names or "/worksheets/" not in part:
            continue  # a chart
        begin = rows.length
        pages.append(begin)
        blocks.heading(begin, begin, 1, name)
        names: dict[int, str] | None = None
        header = 0
        for number, row in _Sheet(archive, part, strings, dates, origin).rows:
            if names is None:
                names = dict(zip(row, column_names(list(row.values())), strict=False))
                if names:
                    header = number
                    continue
            rows.add(named((names.get(column, ""), value) for column, value in row.items()), number)
        if names and begin == rows.length:  # nothing but a header
            rows.add("; ".join(names.values()), header)
        blocks.add("lines", begin, rows.length)
    metadata = core_properties(archive)
    return Document(str(rows), blocks, "xlsx", metadata, pages=pages, lines=rows.lines)


class _Sheet:
    """`rows`: (number, {column: text}) of the rows of a sheet that are not empty."""

    def __init__(
        self,
        archive: Archive,
        part: str,
        strings: list[str],
        dates: list[bool],
        origin: datetime,
    ) -> None:
        self.rows: list[tuple[int, dict[int, str]]] = []
        self._strings, self._dates, self._origin = strings, dates, origin
        self._row: dict[int, str] = {}
        self._number = self._column = 0
        self._kind = self._style = ""
        self._value: list[str] = []
        self._reads = False
        archive.parse(part, self._start, self._end, self._data)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "row":
            number = attributes.get("r", "")
            self._number = int(number) if number.isdecimal() else self._number + 1
            self._row, self._column = {}, 0
        elif tag == "c":
            self._column = _column(attributes.get("r", ""), self._column)
            self._kind, self._style = attributes.get("t", "n"), attributes.get("s", "")
            self._value = []
        elif tag in ("v", "t"):
            self._reads = True

    def _end(self, tag: str) -> None:
        if tag in ("v", "t"):
            self._reads = False
        elif tag == "c":
            if self._value:
                self._row[self._column] = self._text("".join(self._value))
            self._column += 1
        elif tag == "row" and self._row:
            self.rows.append((self._number, self._row))

    def _data(self, text: str) -> None:
        if self._reads:
            self._value.append(text)

    def _text(self, value: str) -> str:
        if self._kind == "s":
            known = value.isdecimal() and int(value) < len(self._strings)
            return self._strings[int(value)] if known else ""
        if self._kind == "b":
            return "true" if value == "1" else "false"
        if self._kind == "n" and self._style.isdecimal() and int(self._style) < len(self._dates):
            return self._date(value) if self._dates[int(self._style)] else value
        return value

    def _date(self, value: str) -> str:
        try:
            moment = self._origin + timedelta(days=float(value))
        except (ValueError, OverflowError):
            return value
        moment = (moment + timedelta(milliseconds=500)).replace(microsecond=0)
        return str(moment.date() if moment.time() == datetime.min.time() else moment)


def _column(reference: str, expected: int) -> int:
    """The column of ``AB12``, from 0."""
    number = 0
    for letter in reference[:3]:
        if not letter.isascii() or not letter.isalpha():
            break
        number = number * 26 + ord(letter.upper()) - 64
    return number - 1 if 0 < number <= _COLUMNS else min(expected, _COLUMNS)


def _strings(archive: Archive) -> list[str]:
    """The texts that cells share."""
    found: list[str] = []
    current: list[str] = []
    reads = phonetic = False

    def start(tag: str, _: dict[str, str]) -> None:
        nonlocal reads, phonetic
        if tag == "si":
            current.clear()
        reads = tag == "t" and not phonetic
        phonetic = phonetic or tag == "rPh"

    def end(tag: str) -> None:
        nonlocal reads, phonetic
        reads = False
        if tag == "si":
            found.append("".join(current))
        elif tag == "rPh":
            phonetic = False

    def data(text: str) -> None:
        if reads:
            current.append(text)

    if "xl/sharedStrings.xml" in archive.names:
        archive.parse("xl/sharedStrings.xml", start, end, data)
    return found


def _date_styles(archive: Archive) -> list[bool]:
    """Whether each style of cells is that of a date."""
    own: dict[str, bool] = {}
    found: list[bool] = []
    inside = False

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal inside
        if tag == "numFmt":
            code = _QUOTED.sub("", attributes.get("formatCode", "")).lower()
            own[attributes.get("numFmtId", "")] = any(letter in code for letter in "yd")
        elif tag == "cellXfs":
            inside = True
        elif tag == "xf" and inside:
            number = attributes.get("numFmtId", "")
            found.append(own.get(number, number.isdecimal() and int(number) in _DATES))

    def end(tag: str) -> None:
        nonlocal inside
        inside = inside and tag != "cellXfs"

    if "xl/styles.xml" in archive.names:
        archive.parse("xl/styles.xml", start, end)
    return found
