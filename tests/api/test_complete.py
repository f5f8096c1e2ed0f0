"""Raw text without a chat template."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cactus import Model
from cactus.errors import ContextLengthExceeded, InvalidRequest
from cactus.tokenizer import Tokenizer
from tests.generate.scripted import babbling, joined, saying

Make = Callable[..., Model]


def fed(model: Model) -> bytes:
    program: Any = model._engine.program
    return bytes(program.fed)


def test_a_text_is_the_prompt_as_it_stands(scripted_model: Make) -> None:
    model = scripted_model(saying(" world"))
    assert model.complete("Hello,").text == " world"
    assert fed(model).startswith(b"Hello, wor")


def test_token_ids_are_the_prompt_as_they_are(scripted_model: Make) -> None:
    model = scripted_model(saying("!"))
    assert model.complete([72, 257, 105]).text == "!"
    program: Any = model._engine.program
    assert program.fed[:3] == [72, 257, 105]
    assert model.complete((72, 105)).text == "!"


def test_all_forms_give_the_same_completion(scripted_model: Make) -> None:
    expected = scripted_model(babbling).complete("Once", max_tokens=9).text
    with scripted_model(babbling).complete_stream("Once", max_tokens=9) as stream:
        assert joined(stream) == expected == stream.completion.text

    async def work() -> None:
        assert (await scripted_model(babbling).acomplete("Once", max_tokens=9)).text == expected
        async with scripted_model(babbling).acomplete_stream("Once", max_tokens=9) as stream:
            assert "".join([event.text async for event in stream]) == expected

    asyncio.run(work())


def test_a_tag_in_raw_text_is_text(scripted_model: Make) -> None:
    model = scripted_model(saying("<think>x</think>y"), template="<think>{{ messages }}")
    done = model.complete("Write: ")
    assert (done.text, done.reasoning) == ("<think>x</think>y", None)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ("", {}, "prompt is empty"),
        ([], {}, "prompt is empty"),
        (None, {}, "prompt must be a text or a list of token ids, got NoneType"),
        (5, {}, "prompt must be a text or a list of token ids, got int"),
        (b"Hi", {}, "prompt must be a text or a list of token ids, got bytes"),
        ([1, 300], {}, r"prompt\[1\] must be an integer from 0 to 299"),
        ([True], {}, r"prompt\[0\]"),
        ("\ud800", {}, "prompt holds half a surrogate pair"),
        ("Hi", {"parse_special": 1}, "parse_special must be True or False"),
        ("Hi", {"tools": []}, "tools is an option of chat"),
        ("Hi", {"thinking": True}, "thinking is an option of chat"),
        ("Hi", {"continue_final_message": True}, "continue_final_message is an option of chat"),
        ("Hi", {"max_tokens": -1}, "max_tokens"),
        ("Hi", {"nonsense": 1}, "unknown option 'nonsense'"),
    ],
)
def test_what_is_wrong_is_named(
    scripted_model: Make, prompt: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        scripted_model(saying("Hi")).complete(prompt, **options)


def test_a_long_text_is_refused_before_anything_is_read(scripted_model: Make) -> None:
    model = scripted_model(babbling, context=100)
    with pytest.raises(ContextLengthExceeded) as caught:
        model.complete("x" * 101)
    assert (caught.value.prompt_tokens, caught.value.limit) == (101, 100)
    assert not fed(model)


def test_raw_text_continues_what_the_cache_holds(scripted_model: Make) -> None:
    model = scripted_model(saying("abc"))
    model.complete("Once upon")
    assert model.complete("Once upon a time").metrics.cached_tokens == len("Once upon")


def prompt_ids(model: Model, prompt: Any, **options: Any) -> list[int]:
    """The ids that a completion has read."""
    model.reset()
    model.complete(prompt, max_tokens=0, **options)
    return list(model._chat()._conversations.remembered[-1].tokens)


@pytest.fixture
def with_bos(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The tiny model with a tokenizer that puts its BOS before a text, and an end behind it."""
    model = Model(tiny_model)
    tokenizer: Any = model._engine.tokenizer
    bos, end = (tokenizer.token_to_id(token) for token in ("<|im_start|>", "<|im_end|>"))
    tokenizer.bos_id = bos
    tokenizer.__dict__["around"] = ([bos], [end])
    return model


def test_a_text_begins_with_the_bos_of_the_tokenizer(with_bos: Model) -> None:
    tokenizer: Tokenizer = with_bos._engine.tokenizer
    plain = tokenizer.encode("Hello")
    assert prompt_ids(with_bos, "Hello") == [tokenizer.bos_id, *plain], "and has no end"
    assert prompt_ids(with_bos, plain) == plain, "ids are taken as they are"


def test_markup_is_text_unless_it_is_asked_for(with_bos: Model) -> None:
    tokenizer: Tokenizer = with_bos._engine.tokenizer
    text = "a<|im_end|>b"
    end = tokenizer.token_to_id("<|im_end|>")
    assert end not in prompt_ids(with_bos, text)
    a, b = tokenizer.encode("a"), tokenizer.encode("b")
    assert prompt_ids(with_bos, text, parse_special=True) == [tokenizer.bos_id, *a, end, *b]
    twice = prompt_ids(with_bos, "<|im_start|>a", parse_special=True)
    assert twice == [tokenizer.bos_id, *a], "a BOS that is written is not doubled"
    with_bos.close()
