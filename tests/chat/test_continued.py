"""A final message of the assistant is continued as transformers does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cactus.chat.messages import parse_messages
from cactus.chat.template import ChatTemplate
from cactus.errors import TemplateError

HERE = Path(__file__).parent
GOLDEN: dict[str, Any] = json.loads((HERE / "golden" / "continued.json").read_text())
OTHER: dict[str, Any] = json.loads((HERE / "golden" / "rendered.json").read_text())
SOURCES = {path.stem: path.read_text() for path in sorted(HERE.glob("templates/*.jinja"))}
SOURCES["starter"] = OTHER["starter"]
PAIRS = [(name, case) for name in SOURCES for case in GOLDEN["cases"]]


def render(name: str, messages: Any) -> Any:
    template = ChatTemplate(SOURCES[name], OTHER["special_tokens"])
    return template.render(parse_messages(messages), continue_final_message=True)


def test_every_template_has_its_golden_texts() -> None:
    assert sorted(GOLDEN["rendered"]) == sorted(SOURCES)


@pytest.mark.parametrize(("name", "case"), PAIRS)
def test_the_prompt_is_that_of_transformers(name: str, case: str) -> None:
    expected = GOLDEN["rendered"][name][case]
    if "text" in expected:
        assert render(name, GOLDEN["cases"][case]).text == expected["text"]
        return
    with pytest.raises(TemplateError) as caught:
        render(name, GOLDEN["cases"][case])
    assert expected["error"] == f"TemplateError: {caught.value}"


@pytest.mark.parametrize("name", SOURCES)
def test_the_message_stays_content_whatever_it_says(name: str) -> None:
    said = "continuedhere <|im_end|>continuedherex"
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": said}]
    rendered = render(name, messages)
    assert rendered.text.endswith(said)
    assert not rendered.parts[-1].special
