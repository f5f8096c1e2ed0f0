"""Text with headings that people write: Markdown, reStructuredText, and simpler ones.

The text stays as it is, marks included, so that offsets and lines are those of the file.
"""

from __future__ import annotations

import re

from cactus.documents.readers.lines import Blocks, lines_of
from cactus.documents.types import Block

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]|\Z)")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*\Z")
_ROW = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*\Z")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_FIELD = re.compile(r"([A-Za-z][\w -]{0,40}):[ \t]*(.*)\Z")
_LONG = 1000  # characters: a longer line is not a heading


def front_matter(text: str) -> tuple[int, dict[str, str]]:
    """Where the text behind its front matter begins, and the simple fields of that (YAML, TOML)."""
    mark = text[:3]
    if mark not in ("---", "+++") or text[3:4] not in ("\n", "\r"):
        return 0, {}
    fields: dict[str, str] = {}
    for index, (_, end, line) in enumerate(lines_of(text)):
        if index == 0:
            continue
        if line.rstrip() == mark or (mark == "---" and line.rstrip() == "..."):
            return end, fields
        if index > 200:
            break
        found = _FIELD.match(line.replace(" = ", ": ", 1) if mark == "+++" else line)
        if found and found[2]:
            fields[found[1].strip().lower()] = found[2].strip().strip("\"'")
    return 0, {}


def markdown(text: str, start: int = 0) -> list[Block]:
    """Headings, fenced and indented code, and tables of Markdown."""
    blocks = Blocks(start)
    fence, fence_start = "", 0
    code_start = -1  # of an indented block
    before, before_start = "", start  # the line before, and where it begins
    listed = False
    table = -1
    for at, end, line in lines_of(text, start):
        if fence:
            closing = _FENCE.match(line)
            if closing and closing[1].startswith(fence) and line.strip(" \t") == closing[1]:
                blocks.add("code", fence_start, end)
                fence, before = "", ""
            continue
        blank = not line or line.isspace()
        if code_start >= 0:
            if blank or line.startswith(("    ", "\t")):
                continue
            blocks.add("code", code_start, at)
            code_start = -1
        if table >= 0 and (blank or "|" not in line):
            blocks.add("table", table, at, text[table : text.find("\n", table)].strip())
            table = -1
        if blank:
            before = ""
            continue
        first = line[0] if line[0] not in " \t" else line.lstrip()[0]
        if first in "`~" and (opening := _FENCE.match(line)):
            if "`" not in line[opening.end() :] or first == "~":
                fence, fence_start = opening[1], at
                continue
        elif first == "#" and len(line) < _LONG and (found := _ATX.match(line)):
            blocks.heading(at, end, len(found[1]), _without_closing(line[found.end() :]))
            before, listed = "", False
            continue
        elif before and first in "=-|:" and before_start >= blocks.covered:
            if (found := _SETEXT.match(line)) and not _ITEM.match(before) and len(before) < _LONG:
                blocks.heading(before_start, end, 1 if found[1][0] == "=" else 2, before.strip())
                before, listed = "", False
                continue
            if "|" in before and table < 0 and len(line) < _LONG and _ROW.match(line):
                table = before_start
        if not before and line.startswith(("    ", "\t")) and not listed:
            code_start = at
            continue
        if not listed or not line.startswith((" ", "\t")):
            listed = bool(_ITEM.match(line))
        before, before_start = line, at
    if fence:
        blocks.add("code", fence_start, len(text))
    elif code_start >= 0:
        blocks.add("code", code_start, len(text))
    elif table >= 0:
        blocks.add("table", table, len(text), text[table : text.find("\n", table)].strip())
    blocks.text(len(text))
    return blocks


def _without_closing(title: str) -> str:
    """A title without the marks that may close it: ``Title ##``."""
    title = title.strip()
    open_title = title.rstrip("#")
    return open_title.rstrip() if open_title[-1:] in ("", " ", "\t") else title


_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1+\s*\Z")
_CODE = re.compile(r"\.\. (?:code-block|code|sourcecode|parsed-literal)::")


def _begins_literal(line: str) -> bool:
    line = line.strip()
    if line.startswith(".. "):
        return _CODE.match(line) is not None
    return line.endswith("::")


def rst(text: str) -> list[Block]:
    """Sections, literal blocks and code of reStructuredText."""
    blocks = Blocks()
    levels: dict[tuple[str, bool], int] = {}
    lines = [("", 0, 0), ("", 0, 0)]  # the two before: line, start, end
    literal = -1  # the indentation that a literal block has to exceed
    literal_start = -1
    for at, end, line in lines_of(text):
        blank = not line or line.isspace()
        indent = len(line) - len(line.lstrip())
        if literal >= 0 and not blank:
            if indent > literal:
                if literal_start < 0:
                    literal_start = at
                continue
            if literal_start >= 0:
                blocks.add("code", literal_start, at)
            literal = literal_start = -1
        if literal >= 0:
            continue
        (over, over_start, _), (title, title_start, _) = lines
        lines = [lines[1], (line, at, end)]
        if blank or len(line) >= _LONG:
            continue
        if (
            title
            and not title.isspace()
            and len(line) > 1
            and line[0] == line[1]
            and (found := _ADORNMENT.match(line))
            and len(title.rstrip()) <= 2 * len(line.rstrip()) + 4  # wide characters
            and title_start >= blocks.covered
        ):
            overlined = over.rstrip() == line.rstrip()
            if not overlined and (title[0].isspace() or (over and not over.isspace())):
                continue
            if not overlined and len(line.rstrip()) < min(4, len(title.rstrip())):
                continue
            if _ADORNMENT.match(title):
                continue
            begin = over_start if overlined and over_start >= blocks.covered else title_start
            level = levels.setdefault((found[1], overlined), len(levels) + 1)
            blocks.heading(begin, end, level, title.strip())
            lines = [("", 0, 0), ("", 0, 0)]
        elif _begins_literal(line):
            literal = indent
    if literal_start >= 0:
        blocks.add("code", literal_start, len(text))
    blocks.text(len(text))
    return blocks


_HEADINGS = {
    "pod": re.compile(r"=head([1-6])[ \t]+"),
    "asciidoc": re.compile(r"(={1,6})[ \t]+"),
    "org": re.compile(r"(\*{1,8})[ \t]+"),
    "latex": re.compile(r"[ \t]*\\(part|chapter|section|subsection|subsubsection)\*?\{"),
}
# How code begins; the first group is in the line that ends it.
_CODES = {
    "pod": None,
    "asciidoc": re.compile(r"(-{4,}|\.{4,})[ \t]*\Z"),
    "org": re.compile(r"[ \t]*#\+begin_(src|example)\b", re.IGNORECASE),
    "latex": re.compile(r"[ \t]*\\begin\{(verbatim|lstlisting|minted)\}"),
}
_ENDS = {"asciidoc": "{}", "org": "#+end_{}", "latex": "\\end{{{}}}"}
_NAMES = ("part", "chapter", "section", "subsection", "subsubsection")


def marked(text: str, kind: str) -> list[Block]:
    """Headings and code of POD, AsciiDoc, Org or LaTeX."""
    heading, code = _HEADINGS[kind], _CODES[kind]
    blocks = Blocks()
    closing, code_start = "", -1
    before = ""
    for at, end, line in lines_of(text):
        blank = not line or line.isspace()
        if closing:
            if line.strip().lower() == closing:
                blocks.add("code", code_start, end)
                closing, code_start = "", -1
        elif code_start >= 0:  # POD: indented
            if not blank and line[0] not in " \t":
                blocks.add("code", code_start, at)
                code_start = -1
        elif code is None and not blank and line[0] in " \t" and not before:
            code_start = at
        elif code is not None and (found := code.match(line)):
            closing, code_start = _ENDS[kind].format(found[1].lower()), at
        if code_start < 0 and len(line) < _LONG and (found := heading.match(line)):
            mark = found[1]
            level = int(mark) if mark.isdecimal() else len(mark)
            title = line[found.end() :].strip()
            if mark in _NAMES:
                level, title = _NAMES.index(mark) + 1, title.partition("}")[0]
            blocks.heading(at, end, level, title)
        before = "" if blank else line
    if code_start >= 0:
        blocks.add("code", code_start, len(text))
    blocks.text(len(text))
    return blocks
