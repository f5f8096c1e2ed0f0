"""Makes tests/chat/golden/continued.json: final messages as transformers continues them.

    python tools/make_golden_continued.py

Needs transformers (without torch), which the test suite does not. The templates are those of
tests/chat/templates and the starter's, as in tools/make_golden_chat.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

CHAT = Path(__file__).resolve().parent.parent / "tests" / "chat"

SYSTEM = {"role": "system", "content": "You are terse."}
USER = {"role": "user", "content": "What's the weather in Zürich?"}
MORE = {"role": "user", "content": "And tomorrow?"}


def said(content: str, **more: str) -> dict[str, str]:
    return {"role": "assistant", "content": content, **more}


CASES: dict[str, list[dict[str, str]]] = {
    "a beginning": [USER, said("It is sunny and")],
    "a blank at the end": [SYSTEM, USER, said("It is sunny and ")],
    "blanks around": [USER, said("\n It is {{ sunny }}:\n\n")],
    "nothing": [USER, said("")],
    "after other turns": [SYSTEM, USER, said("Sunny."), MORE, said("Sunny.")],
    "said before by the user": [{"role": "user", "content": "Sunny"}, said("Sunny")],
    "reasoning begun": [USER, said("<think>\nThe user asks")],
    "reasoning ended": [USER, said("<think>\nhm\n</think>\n\nIt is")],
    "reasoning beside": [USER, said("It is", reasoning_content="hm")],
    "two assistants": [USER, said("One."), said("Two")],
}


def main() -> None:
    golden = json.loads((CHAT / "golden" / "rendered.json").read_text())
    sources = {path.stem: path.read_text() for path in sorted(CHAT.glob("templates/*.jinja"))}
    sources["starter"] = golden["starter"]
    rendered = {
        name: {
            case: render(name, source, messages, golden["special_tokens"])
            for case, messages in CASES.items()
        }
        for name, source in sources.items()
    }
    target = CHAT / "golden" / "continued.json"
    target.write_text(json.dumps({"cases": CASES, "rendered": rendered}, indent=1) + "\n")


def render(
    name: str, source: str, messages: list[dict[str, str]], special: dict[str, str]
) -> dict[str, str]:
    """The text, or the error of a template that refuses or hides the message."""
    turns: list[dict[str, Any]] = [dict(message) for message in messages]
    if name == "vision":
        for turn in turns:
            turn["content"] = [{"type": "text", "text": turn["content"]}]
    try:
        texts, _ = render_jinja_template(
            [turns], chat_template=source, continue_final_message=True, **special
        )
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}".partition("Final message to")[0]}
    return {"text": texts[0]}


if __name__ == "__main__":
    main()
