"""OpenAI's own client against ``/v1/completions``."""

from __future__ import annotations

from typing import Any

from openai import OpenAI

from cactus.model import Model

TEXT = "Once upon"


def test_a_text_goes_on_as_the_model_does(tiny_server: tuple[str, Model], tiny: OpenAI) -> None:
    want = tiny_server[1].complete(TEXT, max_tokens=16)
    got = tiny.completions.create(model="tiny", prompt=TEXT, temperature=0)
    (choice,) = got.choices
    assert (choice.text, choice.finish_reason) == (want.text, want.finish_reason)
    assert got.usage is not None and got.usage.completion_tokens == want.metrics.decode_tokens
    echoed = tiny.completions.create(model="tiny", prompt=TEXT, temperature=0, echo=True)
    assert echoed.choices[0].text == TEXT + want.text


def test_token_ids_and_lists_are_prompts(tiny_server: tuple[str, Model], tiny: OpenAI) -> None:
    model = tiny_server[1]
    ids = model.tokenize(TEXT)
    want = [model.complete(prompt, max_tokens=5).text for prompt in (ids, ids[:3])]
    told: Any = {"model": "tiny", "max_tokens": 5, "temperature": 0}
    assert tiny.completions.create(prompt=ids, **told).choices[0].text == want[0]
    got = tiny.completions.create(prompt=[ids, ids[:3]], echo=True, **told)
    assert [choice.text for choice in got.choices] == [TEXT + want[0], TEXT[:3] + want[1]]
    several = tiny.completions.create(prompt=["a", "b", "c"], **told)
    assert [choice.text for choice in several.choices] == [
        model.complete(prompt, max_tokens=5).text for prompt in "abc"
    ]


def test_logprobs_have_their_old_form(tiny_server: tuple[str, Model], tiny: OpenAI) -> None:
    want = tiny_server[1].complete(TEXT, max_tokens=6, logprobs=True, top_logprobs=3)
    got = tiny.completions.create(
        model="tiny", prompt=TEXT, max_tokens=6, temperature=0, logprobs=3
    )
    found = got.choices[0].logprobs
    assert found is not None and found.tokens is not None and found.text_offset is not None
    assert found.token_logprobs == list(want.logprobs)
    assert all(len(each) <= 3 for each in found.top_logprobs or ())
    text = "".join(found.tokens)
    assert [
        text[offset : offset + len(token)]
        for offset, token in zip(found.text_offset, found.tokens, strict=True)
    ] == found.tokens


def test_streams_of_several_prompts_and_choices(
    tiny_server: tuple[str, Model], tiny: OpenAI
) -> None:
    """In its strict mode the client refuses the null that says that a text goes on."""
    told: Any = {"model": "tiny", "max_tokens": 6, "temperature": 1.2, "seed": 4, "n": 2}
    want = [
        tiny_server[1].complete(prompt, max_tokens=6, temperature=1.2, seed=seed).text
        for prompt in ("ab", "cd")
        for seed in (4, 5)
    ]
    whole = tiny.completions.create(prompt=["ab", "cd"], **told)
    assert [choice.text for choice in whole.choices] == want
    texts = [""] * 4
    usage = None
    tiny._strict_response_validation = False
    for chunk in tiny.completions.create(
        prompt=["ab", "cd"], stream=True, stream_options={"include_usage": True}, **told
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == want
    assert usage is not None and whole.usage is not None
    assert usage.total_tokens == whole.usage.total_tokens


def test_the_best_of_several_is_the_likeliest(tiny_server: tuple[str, Model], tiny: OpenAI) -> None:
    told: Any = {"max_tokens": 6, "temperature": 1.2}
    found = [tiny_server[1].complete(TEXT, seed=9 + n, **told) for n in range(5)]
    best = max(found, key=lambda done: sum(done.logprobs) / len(done.logprobs))
    got = tiny.completions.create(model="tiny", prompt=TEXT, seed=9, best_of=5, **told)
    assert [choice.text for choice in got.choices] == [best.text]
    assert got.usage is not None
    assert got.usage.completion_tokens == sum(done.metrics.decode_tokens for done in found)
