"""The prompt of ``cactus_transcribe``: special tokens that steer, and text that is context."""

from __future__ import annotations

import re
from typing import Any

from cactus.errors import InvalidRequest
from cactus.inputs.text import cut
from cactus.speech.vocabulary import TASKS

_TOKENS = re.compile(r"\s*((?:<\|[^<>|]*\|>\s*)+)")
_TOKEN = re.compile(r"<\|([^<>|]*)\|>")


def parse_prompt(prompt: str) -> dict[str, Any]:
    """Options of a prompt such as "<|startoftranscript|><|en|><|transcribe|><|notimestamps|>".

    Tokens come first: a language, a task, and whether times are wanted. What follows them is text
    that the recording is a continuation of (``initial_prompt``). An empty prompt has no options:
    the language is detected. Raises InvalidRequest for a token that says none of these.
    """
    if not isinstance(prompt, str):
        raise InvalidRequest(f"prompt must be a string, got {type(prompt).__name__}")
    options: dict[str, Any] = {}
    match = _TOKENS.match(prompt)
    for name in _TOKEN.findall(match[1]) if match else ():
        if name in TASKS:
            options["task"] = name
        elif name == "notimestamps":
            options["timestamps"] = False
        elif re.fullmatch(r"[a-z]{2,3}", name):
            options["language"] = name
        elif name not in ("startoftranscript", "0.00"):
            raise InvalidRequest(
                f"prompt: <|{cut(name)}|> is not a language, a task or <|notimestamps|>; a prompt "
                "is like <|startoftranscript|><|en|><|transcribe|><|notimestamps|>"
            )
    text = (prompt[match.end() :] if match else prompt).strip()
    return options | ({"initial_prompt": text} if text else {})
