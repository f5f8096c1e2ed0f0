"""Where a stop string ends an answer, nothing is told of tokens that is not in its text."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from cactus.model import Model
from tests.generate.scripted import saying
from tests.server.openai.spec import events_in

HELLO: Any = [{"role": "user", "content": "Hello!"}]
SIZE = 24


def stops_of(text: str) -> list[str]:
    """Stop strings at every place of a text, of one character and of three."""
    return [text[at : at + size] for at in range(0, len(text) - 3, 3) for size in (1, 3)]


def test_logprobs_of_chats_end_with_the_content(
    starter_server: tuple[str, Model], starter: OpenAI
) -> None:
    whole = starter_server[1].chat(HELLO, max_tokens=SIZE)
    told: Any = {
        "model": starter_server[1].name,
        "messages": HELLO,
        "max_tokens": SIZE,
        "temperature": 0,
    }
    told |= {"logprobs": True, "top_logprobs": 1}
    cut = 0
    for stop in stops_of(whole.text):
        got = starter.chat.completions.create(stop=stop, **told).choices[0]
        tokens = got.logprobs.content
        content = b"".join(bytes(token.bytes) for token in tokens).decode("utf-8", "replace")
        assert content == got.message.content == whole.text[: whole.text.index(stop)], stop
        logprobs = [token.logprob for token in tokens]
        assert logprobs == list(whole.logprobs[: len(tokens)]), stop
        cut += tokens != [] and tokens[-1].token != tokens[-1].top_logprobs[0].token
        chunks = [
            c.choices[0] for c in starter.chat.completions.create(stop=stop, stream=True, **told)
        ]
        assert [t for c in chunks if c.logprobs for t in c.logprobs.content] == tokens, stop
    assert cut  # some began within a token


def test_logprobs_of_completions_end_with_the_text(
    starter_server: tuple[str, Model], starter: OpenAI
) -> None:
    whole = starter_server[1].complete("Once", max_tokens=SIZE).text
    told: Any = {
        "model": starter_server[1].name,
        "prompt": "Once",
        "max_tokens": SIZE,
        "temperature": 0,
    }
    starter._strict_response_validation = False
    for stop in stops_of(whole)[::3]:
        got = starter.completions.create(stop=stop, logprobs=1, **told).choices[0]
        assert got.text == whole[: whole.index(stop)]
        assert got.logprobs is not None and got.logprobs.tokens is not None
        offsets = [*got.logprobs.text_offset, len(got.text)]
        parts = [got.text[a:b] for a, b in pairwise(offsets)]
        assert parts == got.logprobs.tokens, stop
        found = [
            token
            for chunk in starter.completions.create(stop=stop, logprobs=1, stream=True, **told)
            for token in (chunk.choices[0].logprobs and chunk.choices[0].logprobs.tokens) or ()
        ]
        assert found == got.logprobs.tokens, stop


@pytest.mark.parametrize(("said", "want"), [("one END two", "one "), ("one €ND", "one ")])
def test_so_do_confidences(said: str, want: str, serve: Any) -> None:
    url = serve(saying(said), context=4000)
    body = {"messages": HELLO, "stop": ["END", "€N"], "cactus": {"confidences": True}}
    whole = httpx2.post(f"{url}/v1/chat/completions", json=body).json()
    assert whole["choices"][0]["message"]["content"] == want
    assert "".join(text for text, _ in whole["cactus"]["confidences"]) == want
    got = httpx2.post(f"{url}/v1/chat/completions", json=body | {"stream": True})
    chunks = [value for _, value in events_in(got.content)]
    told = [chunk.get("cactus", {}).get("confidences", []) for chunk in chunks]
    pairs = [pair for each in told for pair in each]
    assert pairs == whole["cactus"]["confidences"]
