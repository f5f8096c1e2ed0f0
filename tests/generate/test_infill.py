"""The prompt of a model that writes what belongs between two texts."""

from __future__ import annotations

from typing import Any

import pytest

from cactus.errors import ContextLengthExceeded, InvalidRequest, UnsupportedModel
from cactus.generate.infill import MARKUP
from tests.generate.scripted import saying


@pytest.mark.parametrize("names", MARKUP, ids=lambda names: names[0])
def test_the_texts_stand_behind_the_markup(names: tuple[str, ...], scripted_model: Any) -> None:
    model = scripted_model(saying("ok"))
    tokenizer: Any = model._engine.tokenizer
    tokenizer._special |= {name: 300 + n for n, name in enumerate(names)}
    ids = model.infill_prompt("ab", "<fim_middle>")
    assert ids == [300, *b"ab", 301, *b"<fim_middle>", 302]


def test_a_model_without_the_markup_says_so(scripted_model: Any) -> None:
    model = scripted_model(saying("ok"))
    with pytest.raises(UnsupportedModel, match=r"^suffix: scripted was not trained"):
        model.infill_prompt("ab", "cd")
    with pytest.raises(InvalidRequest, match="prefix must be a string"):
        model.infill_prompt(5, "cd")


@pytest.mark.fault("F29", "F30")
def test_a_text_that_cannot_fit_is_not_read_to_its_end(scripted_model: Any) -> None:
    model = scripted_model(saying("ok"))
    tokenizer: Any = model._engine.tokenizer
    tokenizer._special |= {name: 300 + n for n, name in enumerate(MARKUP[0])}
    for texts in (("x " * 1_000_000, "cd"), ("ab", "x " * 1_000_000)):
        with pytest.raises(
            ContextLengthExceeded, match=r"has 20000\d+ characters, the first"
        ) as it:
            model.infill_prompt(*texts)
        assert it.value.limit == model.context_length < it.value.prompt_tokens < 200_000
