"""What a docstring says of a function, and of each of its parameters.

Google's, NumPy's and Sphinx's forms are read. What stands behind the parameters (returns, errors,
examples) is for readers of the code and left out.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field

_SECTIONS = (
    "Args|Arguments|Parameters|Params|Attributes|Returns?|Yields?|Raises|Warns|Examples?|Notes?|"
    "See|References|Warnings?|Todo|Keyword Args|Keyword Arguments|Other Parameters|See Also"
)
_HEADING = re.compile(rf"({_SECTIONS})\s*:?\s*")
_OF_PARAMETERS = ("Args", "Arguments", "Param", "Keyword", "Other", "Attributes")
_GOOGLE_ITEM = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_NUMPY_ITEM = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?")
_SPHINX_FIELD = re.compile(r"[:@](\w+)(?:\s+[^:]*?)??(?:\s+\*{0,2}(\w+))?\s*:(?:\s+(.*)|$)")
_SPHINX_PARAMETERS = ("param", "parameter", "arg", "argument", "key", "keyword", "ivar", "var")


@dataclass
class Docstring:
    """``description``: what stands before the parameters. ``parameters``: a text for each name."""

    description: str = ""
    parameters: dict[str, str] = field(default_factory=dict)


def parse_docstring(text: str | None) -> Docstring:
    """Read a docstring; whatever is not understood is left out, nothing is an error."""
    lines = inspect.cleandoc(text or "").splitlines()
    found = Docstring()
    before: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        following = lines[at + 1] if at + 1 < len(lines) else ""
        numpy = bool(line.strip()) and re.fullmatch(r"-{3,}\s*", following) is not None
        heading = _HEADING.fullmatch(line)
        sphinx = _SPHINX_FIELD.match(line)
        if heading and (numpy or (line.rstrip().endswith(":") and _is_indented(following))):
            end = _end(lines, at + 1 + numpy, numpy)
            if heading[1].startswith(_OF_PARAMETERS):
                body = lines[at + 1 + numpy : end]
                found.parameters |= _items(body, _NUMPY_ITEM if numpy else _GOOGLE_ITEM)
            at = end
        elif sphinx:
            end = at + 1
            while end < len(lines) and (_is_indented(lines[end]) or not lines[end].strip()):
                end += 1
            if sphinx[1] in _SPHINX_PARAMETERS and sphinx[2]:
                found.parameters[sphinx[2]] = _joined([sphinx[3] or "", *lines[at + 1 : end]])
            at = end
        else:
            before.append(line)
            at += 1
    paragraphs = re.split(r"\n\s*\n", "\n".join(before))
    found.description = "\n".join(filter(None, (_joined(each.splitlines()) for each in paragraphs)))
    return found


def _end(lines: list[str], start: int, numpy: bool) -> int:
    """The line behind a section: the first that is not indented, or the next heading."""
    for at in range(start, len(lines)):
        line = lines[at]
        underlined = at + 1 < len(lines) and re.fullmatch(r"-{3,}\s*", lines[at + 1])
        if numpy and line.strip() and underlined:
            return at
        if not numpy and line.strip() and not _is_indented(line):
            return at
    return len(lines)


def _items(lines: list[str], item: re.Pattern[str]) -> dict[str, str]:
    """The items of a section: those indented least begin one, the others go on."""
    depths = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    least = min(depths, default=0)
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        begins = line.strip() and len(line) - len(line.lstrip()) == least
        match = item.fullmatch(line.strip()) if begins else None
        if match is None:
            current.append(line)
            continue
        current = [match[2]] if item is _GOOGLE_ITEM else []
        for name in match[1].split(","):
            found[name.strip().lstrip("*")] = current
    return {name: text for name, each in found.items() if (text := _joined(each))}


def _joined(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def _is_indented(line: str) -> bool:
    return line[:1] in (" ", "\t") and bool(line.strip())
