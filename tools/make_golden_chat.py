"""Makes tests/chat/golden/rendered.json: conversations as transformers renders them.

    python tools/make_golden_chat.py <folder with the starter model's GGUF file> <its name>

Needs torch, transformers and gguf, which the test suite does not. The templates are those of
tests/chat/templates and the starter's own (SmolLM2), for which the ids are given too.
Those of our writing are built as those of a family are, with the constructs that these use:

    lfm2          LFM2, LFM2.5            headers     Llama 3
    opened        LFM2.5-Thinking, QwQ    modes       SmolLM3
    thinking      Qwen3                   roles       Phi-3, Phi-4-mini
    chatml_tools  Qwen2.5                 documents   Granite
    turns, typed  Gemma                   inst, generation, vision  others
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

TESTS = Path(__file__).resolve().parent.parent / "tests" / "chat"

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a place, e.g. 'São Paulo' <now>",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "enum": ["Paris", "Zürich"]}},
            "required": ["place"],
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "The time",
        "parameters": {"type": "object", "properties": {}},
    },
}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": {"place": "Zürich", "days": 2}},
}
SYSTEM = {"role": "system", "content": "  You are terse.\nUse 3 words. "}
USER = {"role": "user", "content": "What's the weather in Zürich? 🌤 "}
ANSWER = {"role": "assistant", "content": "\n<think>\nhm\n</think>\n\nSunny & warm: 21° "}
MORE = {"role": "user", "content": "And tomorrow?\n\n- hourly\n- {{ braces }} 你好"}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TALKING = {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL, CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "name": "get_weather", "content": '{"t": 21.5}'}

CASES: dict[str, dict[str, Any]] = {
    "one turn": {"messages": [USER]},
    "no generation prompt": {"messages": [USER], "add_generation_prompt": False},
    "empty content": {"messages": [{"role": "user", "content": ""}]},
    "system": {"messages": [SYSTEM, USER]},
    "only system": {"messages": [SYSTEM]},
    "turns": {"messages": [USER, ANSWER, MORE]},
    "system and turns": {"messages": [SYSTEM, USER, ANSWER, MORE, ANSWER]},
    "two users": {"messages": [USER, MORE]},
    "reasoning": {
        "messages": [USER, {"role": "assistant", "content": "21°", "reasoning_content": "hm"}]
    },
    "tools": {"messages": [USER], "tools": [WEATHER, CLOCK]},
    "tools and system": {"messages": [SYSTEM, USER], "tools": [WEATHER]},
    "tool result": {"messages": [USER, CALLING, RESULT], "tools": [WEATHER]},
    "tool results": {
        "messages": [SYSTEM, USER, TALKING, RESULT, RESULT, ANSWER, MORE],
        "tools": [WEATHER, CLOCK],
    },
    "extra": {
        "messages": [USER],
        "extra": {"enable_thinking": False, "date_string": "1 Jan 2026"},
    },
}


def main(folder: str, name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    # transformers ignores tokenizer.ggml.pre; this is SmolLM2's published pre-tokenizer
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    sources = {path.stem: path.read_text() for path in sorted(TESTS.glob("templates/*.jinja"))}
    sources["starter"] = tokenizer.chat_template
    golden = {
        "starter": tokenizer.chat_template,
        "special_tokens": tokenizer.special_tokens_map,
        "cases": CASES,
        "rendered": {
            template: {case: render(tokenizer, template, source, CASES[case]) for case in CASES}
            for template, source in sources.items()
        },
    }
    target = TESTS / "golden" / "rendered.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(golden, indent=1) + "\n")


def render(tokenizer: Any, template: str, source: str, case: dict[str, Any]) -> dict[str, Any]:
    """The text, or the error of a template that refuses; for the starter the ids too."""
    messages = case["messages"]
    if template == "vision":
        messages = [
            {**message, "content": [{"type": "text", "text": message["content"] or ""}]}
            for message in messages
        ]
    arguments = {
        "tools": case.get("tools"),
        "add_generation_prompt": case.get("add_generation_prompt", True),
        "chat_template": source,
        **case.get("extra", {}),
    }
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, **arguments)
    except (TemplateError, TypeError) as error:
        return {"error": str(error)}
    if template != "starter":
        return {"text": text}
    return {"text": text, "ids": tokenizer.apply_chat_template(messages, **arguments)["input_ids"]}


if __name__ == "__main__":
    main(*sys.argv[1:])
