"""Which syntax of calls a model has, from its chat template and its vocabulary."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cactus.chat.calls.syntax import (
    CODE,
    GEMMA,
    GRANITE,
    IN_WORDS,
    LFM2,
    LLAMA,
    PARAMETERS,
    PHI,
    TOOL_CALL,
    Form,
    Syntax,
)
from cactus.chat.messages import Message

if TYPE_CHECKING:
    from cactus.chat.template import ChatTemplate

_NAME, _KEY, _VALUE = "cactus_probe", "cactus_key", "cactus_value"
_SAID = "cactus_said"
_WRITTEN: tuple[tuple[Form, str], ...] = (
    (
        "json",
        rf'\{{\s*"name":\s*"{_NAME}",\s*"(\w+)":\s*\{{\s*"{_KEY}":\s*"{_VALUE}"\s*\}}[^{{}}]*\}}',
    ),
    ("python", rf"{_NAME}\({_KEY}=[\"']{_VALUE}[\"']\)"),
)


def find_syntax(template: ChatTemplate | None, in_vocabulary: Callable[[str], bool]) -> Syntax:
    """How a model writes calls: told by the markup of its template, else by that of its vocabulary.

    A template whose markup is not known is made to render a call. One that knows no tools gets them
    in words, which ask for ``<tool_call>``.
    """
    source = "" if template is None else template.source

    def marked(*spellings: str) -> bool:
        return any(spelling in source or in_vocabulary(spelling) for spelling in spellings)

    if "<start_function_call>" in source:
        return GEMMA
    if "<|tool_call_start|>" in source or "<|tool_list_start|>" in source:
        return LFM2
    if "<function=" in source and "<parameter=" in source:
        return PARAMETERS
    if "<tool_call>" in source:
        return TOOL_CALL
    if "python_tools" in source and "<code>" in source:
        return CODE
    if "<|tool_call|>" in source:
        return PHI if marked("<|/tool_call|>") else GRANITE
    if '"parameters": ' in source and ("ipython" in source or in_vocabulary("<|python_tag|>")):
        return LLAMA
    found = None if template is None else _rendered_syntax(template)
    if found is not None:
        return found
    for syntax in (GEMMA, LFM2, PHI, GRANITE):
        if all(map(in_vocabulary, syntax.markers)):
            return syntax
    return IN_WORDS


def _rendered_syntax(template: ChatTemplate) -> Syntax | None:
    """The syntax in which a template renders calls; None if it renders none, or one unknown."""
    said = _render(template, _SAID, 0)
    one = _render(template, "", 1)
    header = said.partition(_SAID)[0]
    if not header or not one.startswith(header.rstrip()):
        return None
    for form, pattern in _WRITTEN:
        match = re.search(pattern, one)
        if match is None:
            continue
        begin = one[len(header.rstrip()) : match.start()].lstrip()
        end = one[match.end() :]
        end = end[: len(end) - _common_end(end, said.partition(_SAID)[2])]
        opener = begin.rstrip(" \n[")
        closer = end.lstrip(" \n]")
        return Syntax(
            "template",
            form,
            begin=begin,
            end=end,
            between=_between(template, pattern) or (", " if begin.endswith("[") else "\n"),
            openers=(opener,) if opener else (),
            closers=(closer.rstrip(),) if closer.strip() else (),
            markers=tuple(filter(None, (opener, closer.strip()))),
            arguments_key=match[1] if form == "json" else "arguments",
        )
    return None


def _common_end(text: str, other: str) -> int:
    """How many characters the ends of two texts have in common."""
    pairs = enumerate(zip(reversed(text), reversed(other), strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(text), len(other)))


def _between(template: ChatTemplate, pattern: str) -> str:
    found = list(re.finditer(pattern, _render(template, "", 2)))
    if len(found) != 2:
        return ""
    return found[0].string[found[0].end() : found[1].start()]


def _render(template: ChatTemplate, content: str, calls: int) -> str:
    """A question and an answer with so many calls; "" if the template refuses that."""
    call: dict[str, Any] = {"name": _NAME, "arguments": {_KEY: _VALUE}}
    made = tuple(
        {"id": f"probe000{index}", "type": "function", "function": call} for index in range(calls)
    )
    turns = [Message("user", "cactus_asked"), Message("assistant", content, tool_calls=made)]
    return template.rendered_or_nothing(turns, add_generation_prompt=False)
