"""Rows with the names of their columns: CSV and its kin, and JSON as lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

from cactus.documents.readers.lines import Text
from cactus.documents.types import Block, Document
from cactus.documents.unread import Unread

_FIELD = 1 << 20  # characters of one field of a CSV file
_DEEPEST = 30  # levels of JSON that are spelled out by name; what is deeper is JSON in one line


class Rows(Text):
    """Text made of the rows of a file, with the line that each is from."""

    def __init__(self, characters: int) -> None:
        super().__init__(characters)
        self.lines: list[tuple[int, int]] = []

    def add(self, row: str, line: int) -> None:
        """One row of the file, from a line of it."""
        if row.strip():
            self.lines.append((self.length, line))
            self.write(row + "\n")

    def document(self, kind: str, notes: Iterable[str] = ()) -> Document:
        """The document of all rows; cut between any two lines."""
        block = [Block("lines", 0, self.length)] if self.parts else []
        return Document(str(self), block, kind, lines=self.lines, notes=list(notes))


def named(pairs: Iterable[tuple[str, str]]) -> str:
    """A row in one line: ``name: value; name: value``, without empty values."""
    found = []
    for name, value in pairs:
        value = " ".join(value.split())
        if value:
            found.append(f"{name}: {value}" if name else value)
    return "; ".join(found)


def separated(text: str, name: str, characters: int) -> Document:
    """A CSV or TSV file; the first row names the columns if it looks like names."""
    delimiter = "\t" if name.endswith((".tsv", ".tab")) else _delimiter(text)
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD))
    reader = csv.reader(_physical_lines(text), delimiter=delimiter)
    rows = Rows(characters)
    names: list[str] | None = None
    line = 1
    try:
        for row in reader:
            if names is None and row:
                names = column_names(row)
                if names:
                    line = reader.line_num + 1
                    continue
            rows.add(named(zip_longest(names or [], row, fillvalue="")), line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise Unread("damaged", f"line {line}: {error}") from None
    return rows.document("csv")


def _physical_lines(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        stop = text.find("\n", at) + 1 or len(text)
        yield text[at:stop].replace("\r\n", "\n").replace("\r", "\n")
        at = stop


def _delimiter(text: str) -> str:
    head = text[: text.find("\n") if "\n" in text[: 1 << 14] else 1 << 14]
    return max(",;\t|", key=head.count) if head else ","


def column_names(row: list[str]) -> list[str]:
    """The first row as the names of the columns; none where a number or an empty field is in it."""
    names = [" ".join(field.split()) for field in row]
    if not all(names) or any(_is_number(name) for name in names) or len(set(names)) < len(names):
        return []
    return names if all(len(name) <= 80 for name in names) else []


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def json_lines(text: str, characters: int) -> Document:
    """One JSON value a line; a line that is not JSON stays as it is, and is noted."""
    rows = Rows(characters)
    wrong = 0
    for number, line in enumerate(_physical_lines(text), 1):
        if not line.strip():
            continue
        try:
            value = _parsed(line)
        except (ValueError, RecursionError):
            wrong += 1
            rows.add(line.strip(), number)
        else:
            rows.add("\n".join(_flat(value, "", 0)), number)
    return rows.document("jsonl", [f"{wrong} lines are not JSON"] if wrong else [])


def json_text(text: str, characters: int) -> Document | None:
    """A JSON file as lines of ``path: value``; a Jupyter notebook as Markdown and code.

    None for what is not JSON, as files with comments: they are read as code.
    """
    try:
        value = _parsed(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and isinstance(value.get("cells"), list) and "nbformat" in value:
        return _notebook(value)
    rows = Rows(characters)
    for number, line in enumerate(_flat(value, "", 0), 1):
        rows.add(line, number)
    rows.lines = []
    return rows.document("json")


def _parsed(text: str) -> Any:
    # Numbers stay as they are written, however many digits they have.
    return json.loads(text, parse_int=str, parse_float=str)


def _flat(value: Any, path: str, depth: int) -> Iterator[str]:
    """``path: value`` for everything inside of a JSON value."""
    if isinstance(value, dict) and value and depth < _DEEPEST:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list) and value and depth < _DEEPEST:
        if all(not isinstance(inner, (dict, list)) for inner in value) and len(value) <= 64:
            yield (
                f"{path}: {', '.join(map(_scalar, value))}"
                if path
                else ", ".join(map(_scalar, value))
            )
        else:
            for index, inner in enumerate(value):
                yield from _flat(inner, f"{path}[{index}]", depth + 1)
    else:
        yield f"{path}: {_scalar(value)}" if path else _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "..."


def _notebook(value: dict[str, Any]) -> Document:
    from cactus.documents.readers.markup import markdown

    parts: list[str] = []
    blocks: list[Block] = []
    length = 0
    for cell in value["cells"]:
        source = cell.get("source", "") if isinstance(cell, dict) else ""
        text = "".join(map(str, source)) if isinstance(source, list) else str(source)
        if not text.strip():
            continue
        text = text.rstrip() + "\n\n"
        if cell.get("cell_type") == "code":
            blocks.append(Block("code", length, length + len(text)))
        else:
            blocks += [
                block._replace(start=block.start + length, end=block.end + length)
                for block in markdown(text)
            ]
        parts.append(text)
        length += len(text)
    return Document("".join(parts), blocks, "notebook")
