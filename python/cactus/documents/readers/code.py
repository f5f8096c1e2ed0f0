"""Source code: its functions and classes are headings, the rest is code.

Definitions are found by how their lines begin, in whichever language: no grammar, nothing that a
file with errors or of an old version would break.
"""

from __future__ import annotations

import re

from cactus.documents.readers.lines import Blocks, lines_of
from cactus.documents.types import Block
from cactus.documents.words import words

_WORDS = (
    "def|class|func|function|fn|fun|struct|enum|trait|impl|interface|module|defmodule|defp|"
    "namespace|union|protocol|extension|object|record|type|sub|proc|macro_rules!|procedure"
)
_DEFINITION = re.compile(
    r"(?P<indent>[ \t]*)"
    r"(?:(?:pub(?:\([a-z]{1,9}\))?|public|private|protected|internal|static|final|abstract|async|"
    r"export|default|override|open|sealed|virtual|inline|constexpr|unsafe|extern|const|data|"
    r"partial|readonly|suspend|local|typedef|template ?<[^<>]{0,80}>)[ \t]+){0,6}"
    rf"(?P<word>{_WORDS})\b[ \t*]*"
    r"(?:\([^()]{0,80}\)[ \t]*|<[^<>]{0,80}>[ \t]*)?"  # a receiver of Go, parameters of Rust
    r"(?P<name>[A-Za-z_$][\w$.:]{0,80}[?!]?)"
)
# A function of C and its kin begins in the first column and has its parameters on that line.
_C_FUNCTION = re.compile(
    r"(?:[A-Za-z_][\w:<>,\[\]]{0,60}[ \t*&]+){1,6}(?P<name>[A-Za-z_~][\w:~]{0,80})[ \t]*\("
)
_NOT_TYPES = words("return else if for while switch case goto new delete throw using")
_ABOVE = re.compile(r"[ \t]*(?:@|#\[|///?|/\*|\*|--|;;|# )")  # decorators and comments
_LONG = 400
_C_LIKE = frozenset({"c", "c++", "c#", "java", "cuda", "cu", "d", "objective-c", "m", "glsl"})
_NO_DEFINITIONS = words(
    "css scss sass less xml xsd svg yaml toml ini cfg conf properties json sql diff patch po "
    "pot plist bib"
)


def code(text: str, language: str) -> list[Block]:
    """Blocks of source code; a definition's heading is empty and lies where it begins."""
    blocks = Blocks()
    if language not in _NO_DEFINITIONS:
        c_like = language in _C_LIKE
        levels: list[int] = []  # indentations of the definitions around
        above = -1  # where comments and decorators right above begin
        for at, _, line in lines_of(text):
            found = None
            if len(line) < _LONG:
                found = _DEFINITION.match(line)
                if found is None and c_like and line[:1] not in ("", " ", "\t", "#", "/", "*", "}"):
                    found = _C_FUNCTION.match(line)
                    if found and (line.rstrip().endswith(";") or line.split()[0] in _NOT_TYPES):
                        found = None
                elif found is not None and line.rstrip().endswith(";") and c_like:
                    found = None  # declared, not defined
            if found is None:
                if not _ABOVE.match(line[:_LONG]):
                    above = -1
                elif above < 0:
                    above = at
                continue
            begin = at if above < 0 else above
            above = -1
            indent = len(line) - len(line.lstrip())
            while levels and levels[-1] >= indent:
                levels.pop()
            levels.append(indent)
            if begin > blocks.covered:
                blocks.add("code", blocks.covered, begin)
            blocks.heading(begin, begin, len(levels), _name(found))
    blocks.add("code", blocks.covered, len(text))
    return blocks


def _name(found: re.Match[str]) -> str:
    word = found.groupdict().get("word")
    return f"{word} {found['name']}" if word else found["name"]
