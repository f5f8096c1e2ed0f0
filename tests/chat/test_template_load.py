"""Where a model's template comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cactus.chat.messages import parse_messages
from cactus.chat.template import CHATML, ChatTemplate
from cactus.errors import TemplateError

MESSAGES = parse_messages(
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "bye"},
    ]
)


class Vocabulary:
    """As much of a tokenizer as a template needs."""

    def __init__(self, *tokens: str) -> None:
        self.markup = list(tokens)
        self.special_tokens = {"bos_token": "<s>"}

    def token_to_id(self, token: str) -> int | None:
        return self.markup.index(token) if token in self.markup else None


def load(folder: Path, *tokens: str) -> ChatTemplate:
    vocabulary: Any = Vocabulary(*tokens)
    return ChatTemplate.load(folder, vocabulary)


def test_the_jinja_file_comes_first(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}file")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "config"}))
    assert load(tmp_path).render(MESSAGES).text == "<s>file"
    (tmp_path / "chat_template.jinja").unlink()
    assert load(tmp_path).render(MESSAGES).text == "config"


def test_of_several_the_default_is_taken(tmp_path: Path) -> None:
    named = [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}, 5]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert load(tmp_path).render(MESSAGES).text == "d"


def test_without_a_template_chatml_is_spoken(tmp_path: Path) -> None:
    template = load(tmp_path, "<|im_start|>", "<|im_end|>")
    assert template.source == CHATML
    expected = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\nhello<|im_end|>\n<|im_start|>user\nbye<|im_end|>\n"
    )
    assert template.render(MESSAGES).text == expected + "<|im_start|>assistant\n"
    assert template.render(MESSAGES, add_generation_prompt=False).text == expected


def test_without_chatml_tokens_the_file_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"has no chat_template\.jinja, .* put the model's"):
        load(tmp_path, "<|im_start|>", "</s>")


@pytest.mark.fault("F24")
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("chat_template.jinja", b"\xff\xfe"),
        ("tokenizer_config.json", b"{"),
        ("tokenizer_config.json", b"[" * 100_000),
        ("tokenizer_config.json", b'{"chat_template": 5}'),
    ],
)
def test_what_cannot_be_read_is_named(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TemplateError, match=name.replace(".", r"\.")):
        load(tmp_path, "<|im_start|>", "<|im_end|>")


def test_an_empty_template_renders_nothing(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("")
    assert load(tmp_path).render(MESSAGES).parts == []
