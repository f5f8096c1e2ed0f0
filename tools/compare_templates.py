"""Renders all chat templates of a folder with transformers and with our sandbox, and compares.

    PYTHONPATH=python python tools/compare_templates.py FOLDER [FOLDER ...]

Needs transformers, which the test suite does not. A template is a ``.jinja`` file or the
``chat_template`` of a ``tokenizer_config.json``. The conversations are those of
tools/make_golden_chat.py, and some long ones with many tools. Exit status 1 if one differs, or is
refused by the sandbox alone.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from make_golden_chat import ANSWER, CALL, CALLING, CASES, MORE, RESULT, SYSTEM, USER, WEATHER
from transformers.utils.chat_template_utils import render_jinja_template

from cactus.chat.messages import parse_messages, validate_tools
from cactus.chat.template import ChatTemplate
from cactus.errors import TemplateError

SPECIAL = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
}
TOOLS = [
    {
        "type": "function",
        "function": {
            **WEATHER["function"],
            "name": f"tool_{number}",
            "parameters": {
                "type": "object",
                "properties": {
                    f"argument_{index}": {
                        "type": ["string", "integer", "boolean", "array"][index % 4],
                        "description": "What it is for. " * 10,
                        **({"items": {"type": "number"}} if index % 4 == 3 else {}),
                    }
                    for index in range(8)
                },
                "required": ["argument_0", "argument_1"],
            },
        },
    }
    for number in range(50)
]
# Many templates want users and assistants in turn, and some nine characters as the id of a call.
NAMED = {**CALL, "id": "call00001"}
ASKED = {**CALLING, "content": "", "tool_calls": [NAMED]}
TOLD = {**RESULT, "tool_call_id": "call00001"}
MORE_CASES: dict[str, dict[str, Any]] = {
    "alternating": {"messages": [USER, ANSWER, MORE]},
    "called": {"messages": [USER, ASKED, TOLD], "tools": [WEATHER]},
    "called and answered": {
        "messages": [SYSTEM, USER, ASKED, TOLD, {"role": "assistant", "content": "21°"}, MORE],
        "tools": [WEATHER],
    },
    "thought, called and answered": {
        "messages": [USER, {**ASKED, "reasoning_content": "hm"}, TOLD],
        "tools": [WEATHER],
    },
    "thinking": {"messages": [USER], "extra": {"enable_thinking": True, "thinking": True}},
    "not thinking": {
        "messages": [SYSTEM, USER, ANSWER, MORE],
        "extra": {"enable_thinking": False, "thinking": False},
    },
    "200 turns": {"messages": [SYSTEM, *[USER, ANSWER] * 100, MORE]},
    "200 turns, 50 tools": {
        "messages": [SYSTEM, *[USER, ASKED, TOLD, ANSWER] * 50, MORE],
        "tools": TOOLS,
    },
}


def main(folders: list[str]) -> int:
    total: Counter[str] = Counter()
    for name, source in templates(folders):
        outcomes: Counter[str] = Counter()
        for case, conversation in (CASES | MORE_CASES).items():
            outcome, note = compare(source, conversation)
            outcomes[outcome] += 1
            if note:
                print(f"  {name}, {case}: {outcome}: {note}")
        total += outcomes
        total["templates"] += 1
        total["templates equal"] += not (outcomes["different"] or outcomes["refused"])
        print(f"{name}: {', '.join(f'{n} {kind}' for kind, n in outcomes.items())}")
    print(", ".join(f"{number} {kind}" for kind, number in total.items()))
    return 1 if total["different"] or total["refused"] else 0


def templates(folders: list[str]) -> Iterator[tuple[str, str]]:
    """Name and source of every template under `folders`, each source once."""
    seen = set()
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            for name, source in sources(path):
                if source not in seen:
                    seen.add(source)
                    yield f"{path.relative_to(folder)}{name}", source


def sources(path: Path) -> Iterator[tuple[str, str]]:
    if path.suffix == ".jinja":
        yield "", path.read_text()
    elif path.name.endswith("tokenizer_config.json"):
        found = json.loads(path.read_text()).get("chat_template") or []
        if isinstance(found, str):
            found = [{"name": "", "template": found}]
        for entry in found:
            yield entry["name"] and f" ({entry['name']})", entry["template"]


def compare(source: str, case: dict[str, Any]) -> tuple[str, str]:
    """What came of one conversation, and what there is to say of it.

    "ours renders" what transformers cannot; "refused" by us alone.
    """
    template = ChatTemplate(source, SPECIAL)
    messages = parse_messages(case["messages"])
    # What `apply_chat_template` does before it renders.
    theirs = [{k: v for k, v in turn.items() if v is not None} for turn in case["messages"]]
    if template.wants_parts:
        theirs = [message.to_template(as_parts=True) for message in messages]
    arguments = {"add_generation_prompt": case.get("add_generation_prompt", True)}
    arguments |= case.get("extra", {})
    expected, error = None, ""
    try:
        expected = render_jinja_template(
            [theirs], tools=case.get("tools"), chat_template=source, **SPECIAL, **arguments
        )[0][0]
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
    try:
        ours = template.render(messages, validate_tools(case.get("tools")), **arguments).text
    except TemplateError as raised:
        both = f"{error:.150} | {raised!s:.150}"
        return ("both refuse", both) if expected is None else ("refused", str(raised))
    if expected is None:
        return "ours renders", error
    if ours == expected:
        return "equal", ""
    pairs = zip(ours, expected, strict=False)
    at = max(0, next((i for i, (a, b) in enumerate(pairs) if a != b), 0) - 40)
    return "different", f"ours {ours[at : at + 100]!r}, theirs {expected[at : at + 100]!r}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
