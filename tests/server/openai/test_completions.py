"""OpenAI's own client against ``/v1/completions``."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import httpx
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


def test_an_echoed_prompt_is_scored(tiny_server: tuple[str, Model]) -> None:
    """In the form in which lm-evaluation-harness asks for log-likelihoods."""
    url, model = tiny_server
    ids = model.tokenize(TEXT)
    prompts = [ids, model.tokenize("A cactus is a plant.")]
    body = {"model": "tiny", "prompt": prompts, "temperature": 0, "max_tokens": 1, "echo": True}
    reply = httpx.post(f"{url}/v1/completions", json={**body, "logprobs": 2, "seed": 1234}).json()
    for prompt, choice in zip(prompts, reply["choices"], strict=True):
        want, found = model.score(prompt, top_logprobs=2), choice["logprobs"]
        next_token = model.complete(prompt, max_tokens=1, logprobs=True, top_logprobs=2)
        assert next_token.token_logprobs is not None
        want += next_token.token_logprobs
        assert len(want) == len(prompt) + 1 and choice["text"] == "".join(e.text for e in want)
        assert found["tokens"] == [each.text for each in want]
        assert found["token_logprobs"] == [None, *(each.logprob for each in want[1:])]
        tops = [{other.text: other.logprob for other in each.top} for each in want]
        assert found["top_logprobs"] == [None, *tops[1:]]
        places = found["text_offset"]
        text = choice["text"]
        cut = [text[start:end] for start, end in pairwise([*places, len(text)])]
        assert cut == found["tokens"]


def test_a_prompt_is_scored_without_an_answer_and_in_a_stream(
    tiny_server: tuple[str, Model],
) -> None:
    url, model = tiny_server
    want = model.score(TEXT)
    told: Any = {"model": "tiny", "prompt": TEXT, "echo": True, "logprobs": 0, "temperature": 0}
    # OpenAI's document has no null for the first token, which its servers send all the same.
    tiny = OpenAI(base_url=f"{url}/v1", api_key="none")
    only = tiny.completions.create(max_tokens=0, **told)
    assert only.usage is not None and only.usage.prompt_tokens_details is not None
    assert only.usage.prompt_tokens_details.cached_tokens == 0  # all of it was read
    (alone,) = only.choices
    assert alone.text == TEXT and alone.logprobs is not None
    assert alone.logprobs.token_logprobs == [None, *(each.logprob for each in want[1:])]
    whole = tiny.completions.create(max_tokens=5, n=2, **told).choices
    tokens: dict[int, list[Any]] = {0: [], 1: []}
    for chunk in tiny.completions.create(max_tokens=5, n=2, stream=True, **told):
        for choice in chunk.choices:
            if choice.logprobs is not None:
                given = choice.logprobs
                tokens[choice.index] += zip(
                    given.tokens or (), given.token_logprobs or (), given.text_offset or (),
                    strict=True,
                )  # fmt: skip
    for each in whole:
        told_whole = each.logprobs
        assert told_whole is not None and each.text.startswith(TEXT)
        assert tokens[each.index] == list(
            zip(
                told_whole.tokens or (), told_whole.token_logprobs or (),
                told_whole.text_offset or (), strict=True,
            )
        )  # fmt: skip


def test_a_prompt_that_cannot_be_scored_is_named(tiny_server: tuple[str, Model]) -> None:
    body = {"model": "tiny", "prompt": ["a", "b" * 600], "max_tokens": 0, "echo": True}
    reply = httpx.post(f"{tiny_server[0]}/v1/completions", json={**body, "logprobs": 1})
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["code"] == "context_length_exceeded" and "600" in error["message"]
