"""Texts that are far too long: refused before all of their tokens are made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cactus import Model
from cactus.errors import ContextLengthExceeded
from cactus.generate import prompt
from cactus.tokenizer import Tokenizer, write_tokenizer
from tests.tokenizer.conftest import sentencepiece_metadata

LONG = "Grüße aus 東京 an Ada, 12 of the 345 words. " * 40
PARTS = [("<|im_start|>user\n", True), (LONG, False), ("<|im_end|>", True), (LONG[:999], False)]


@pytest.fixture(params=["starter", "sentencepiece"])
def tokenizer(request: pytest.FixtureRequest, starter_folder: Path, tmp_path: Path) -> Tokenizer:
    if request.param == "starter":
        return Tokenizer.load(starter_folder)
    write_tokenizer(sentencepiece_metadata(), tmp_path)
    return Tokenizer.load(tmp_path)


@pytest.mark.fault("F29", "F30")
def test_a_huge_text_is_refused_when_the_context_is_full(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = 0
    with Model(tiny_model) as model:
        tokenizer: Any = model._engine.tokenizer
        whole = tokenizer.encode_prompt

        def counted(parts: Iterable[tuple[str, bool]]) -> Any:
            nonlocal seen
            parts = list(parts)
            seen += sum(len(text) for text, _ in parts)
            return whole(parts)

        monkeypatch.setattr(tokenizer, "encode_prompt", counted)
        with pytest.raises(ContextLengthExceeded, match=r"^the prompt has 320") as counted_whole:
            model.chat([{"role": "user", "content": "x" * 32_000}])
        assert (counted_whole.value.prompt_tokens or 0) > 32_000
        seen = 0
        said = "at least [0-9]+ tokens, and the context is 512"
        asked = [{"role": "user", "content": "ab " * 3_000_000}]
        with monkeypatch.context() as unrendered, pytest.raises(ContextLengthExceeded):
            unrendered.setattr(prompt, "render", None)  # a question of such a length is not
            model.chat(asked)
        seen = 0
        for ask in (
            lambda: model.chat(asked),
            lambda: model.chat([{"role": "assistant", "content": "ab " * 3_000_000}]),
            lambda: model.complete("ab " * 3_000_000),
        ):
            with pytest.raises(ContextLengthExceeded, match=f"[0-9]{{7}} characters.*{said}") as it:
                ask()
            assert it.value.limit == 512 < (it.value.prompt_tokens or 0)
            assert seen <= prompt.UNQUESTIONED
            seen = 0


def test_a_text_in_pieces_has_no_fewer_tokens_than_are_counted(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nothing that fits is refused, wherever it is cut."""
    tokens = len(tokenizer.encode_prompt(PARTS))
    text = "".join(text for text, _ in PARTS)
    for size in range(300, 1500, 23):
        monkeypatch.setattr(prompt, "UNQUESTIONED", size)
        pieces = list(prompt._pieces(PARTS))
        assert "".join(text for piece in pieces for text, _ in piece) == text
        assert max(sum(len(text) for text, _ in piece) for piece in pieces) <= size
        engine: Any = SimpleNamespace(context_length=tokens, tokenizer=tokenizer)
        prompt.check_size(engine, PARTS, size)
        engine.context_length = tokens // 2
        with pytest.raises(ContextLengthExceeded):
            prompt.check_size(engine, PARTS * 20, size)


def test_what_is_likely_to_fit_is_tokenised_once(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    with Model(tiny_model) as model:
        tokenizer: Any = model._engine.tokenizer
        whole = tokenizer.encode_prompt

        def counted(parts: Iterable[tuple[str, bool]]) -> Any:
            parts = list(parts)
            seen.append(sum(len(text) for text, _ in parts))
            return whole(parts)

        monkeypatch.setattr(tokenizer, "encode_prompt", counted)
        monkeypatch.setattr(prompt, "UNQUESTIONED", 100)
        text = "ab " * 100
        assert 100 < len(text) <= prompt.LIKELY * model.context_length
        model.chat([{"role": "user", "content": text}], max_tokens=1)
    assert len(seen) == 1 and seen[0] > 300
