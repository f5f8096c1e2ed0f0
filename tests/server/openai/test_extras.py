"""What only this server does: the field `cactus` of a chat."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from math import exp
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cactus.corpus.corpus import Corpus
from cactus.model import Model
from cactus.types import TokenLogprob
from tests.generate.scripted import saying
from tests.server.openai.spec import events_in

USER = [{"role": "user", "content": "Hi"}]


def chunks(url: str, **fields: Any) -> list[Any]:
    body = {"messages": USER, "stream": True, "temperature": 0} | fields
    got = httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    assert got.status_code == 200, got.text
    return [value for _, value in events_in(got.content)]


def sure_of(chunk: Any) -> list[list[Any]]:
    """How sure the model was of the tokens of a chunk."""
    sure: list[list[Any]] = chunk.get("cactus", {}).get("confidences", [])
    return sure


def test_nothing_more_is_told_unasked(tiny_server: tuple[str, Model]) -> None:
    assert not any("cactus" in chunk for chunk in chunks(tiny_server[0], max_tokens=5))


def test_how_sure_the_model_is_of_each_token(tiny_server: tuple[str, Model]) -> None:
    url, model = tiny_server
    want = model.chat(USER, max_tokens=9, logprobs=True)
    found = chunks(url, max_tokens=9, cactus={"confidences": True})
    told = [pair for chunk in found for pair in sure_of(chunk)]
    tokens: tuple[TokenLogprob, ...] = want.token_logprobs or ()
    assert told == [[token.text, round(exp(token.logprob), 4)] for token in tokens]
    assert not any("logprobs" in chunk["choices"][0] for chunk in found)
    last = found[-1]["cactus"]
    assert last["confidence"] == round(want.confidence, 4)
    assert last["prompt_tokens"] == model.count_tokens(USER)
    assert last["context_length"] == model.context_length
    assert last["citations"] == [] and last["reading"] is None


def test_what_is_told_of_whole_answers_is_told_once(tiny_server: tuple[str, Model]) -> None:
    """Of one answer at the top, as in a stream; of several in each of them."""
    body = {"messages": USER, "max_tokens": 3, "temperature": 0, "cactus": {}}
    address = f"{tiny_server[0]}/v1/chat/completions"
    one = httpx2.post(address, json=body).json()
    assert "cactus" not in one["choices"][0]
    assert one["cactus"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    two = httpx2.post(address, json=body | {"n": 2}).json()
    assert "cactus" not in two
    for choice in two["choices"]:
        assert choice["cactus"]["prompt_tokens"] == two["usage"]["prompt_tokens"]
    none = httpx2.post(address, json=body | {"cactus": None}).json()
    assert "cactus" not in none and "cactus" not in none["choices"][0]


def looking(history: list[int], answered: int) -> Any:
    """Says that it looks, calls a tool, and says what that has said."""
    call = '<tool_call>{"name": "get_weather", "arguments": {"location": "Ulm"}}</tool_call>'
    known = b"sunny in Ulm" in bytes(each for each in history if each < 256)
    return saying("It is sunny." if known else f"I look.{call}")(history, answered)


def get_weather(location: str) -> str:
    """The weather at a place."""
    return f"sunny in {location}"


def test_the_servers_own_tools_run(serve: Any) -> None:
    ran = threading.Event()

    def get_weather(location: str) -> str:
        """The weather at a place."""
        ran.set()
        return f"sunny in {location}"

    url = serve(looking, tools=[get_weather], context=8000)
    found = chunks(url, cactus={"tools": True})
    told = [chunk["cactus"]["tool"] for chunk in found if "tool" in chunk.get("cactus", {})]
    assert ran.is_set()
    assert [each["state"] for each in told] == ["running", "done"]
    assert told[0]["arguments"] == {"location": "Ulm"} and told[1]["result"] == "sunny in Ulm"
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in found)
    assert text == "I look.It is sunny."
    assert found[-1]["choices"][0]["finish_reason"] == "stop"
    ran.clear()
    chunks(url)
    assert not ran.is_set()
    body = {"messages": USER, "cactus": {"tools": True}}
    whole = httpx2.post(f"{url}/v1/chat/completions", json=body).json()
    assert whole["choices"][0]["message"]["content"] == text


def leaving(history: list[int], answered: int) -> Any:
    """Calls a tool, and says that it has ended where that stands in the history."""
    call = '<tool_call>{"name": "leave", "arguments": {"status": 3}}</tool_call>'
    known = b"SystemExit(3)" in bytes(each for each in history if each < 256)
    return saying("It has ended." if known else call)(history, answered)


@pytest.mark.parametrize("awaited", [False, True])
def test_a_tool_that_exits_does_not_end_the_server(serve: Any, awaited: bool) -> None:
    def leave(status: int) -> None:
        """End."""
        sys.exit(status)

    async def leave_later(status: int) -> None:
        """End."""
        await asyncio.sleep(0)
        sys.exit(status)

    leave_later.__name__ = "leave"
    url = serve(leaving, tools=[leave_later if awaited else leave], context=8000)
    found = chunks(url, cactus={"tools": True})
    told = [chunk["cactus"]["tool"] for chunk in found if "tool" in chunk.get("cactus", {})]
    assert [each["state"] for each in told] == ["running", "failed"]
    assert told[1]["arguments"] == {"status": 3} and "SystemExit(3)" in told[1]["result"]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in found)
    assert text == "It has ended."
    assert httpx2.get(f"{url}/health").status_code == 200


def test_how_sure_the_model_is_is_told_around_tools(serve: Any) -> None:
    """Of all that is shown, and not of the call."""
    url = serve(looking, tools=[get_weather], context=8000)
    found = chunks(url, cactus={"tools": True, "confidences": True})
    told = [pair for chunk in found for pair in sure_of(chunk)]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in found)
    assert "".join(token for token, _ in told) == text == "I look.It is sunny."
    assert all(0 <= sure <= 1 for _, sure in told)
    running = next(chunk for chunk in found if "tool" in chunk.get("cactus", {}))
    before = [pair for chunk in found[: found.index(running) + 1] for pair in sure_of(chunk)]
    assert "".join(token for token, _ in before) == "I look."


def test_logprobs_are_told_around_tools(serve: Any) -> None:
    url = serve(looking, tools=[get_weather], context=8000)
    body = {"messages": USER, "cactus": {"tools": True}, "logprobs": True, "top_logprobs": 0}
    choice = httpx2.post(f"{url}/v1/chat/completions", json=body).json()["choices"][0]
    tokens = [token["token"] for token in choice["logprobs"]["content"]]
    assert "".join(tokens) == choice["message"]["content"] == "I look.It is sunny."


def test_answers_from_documents_cite_them(
    serve: Any, minilm: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("documents")
    (folder / "ulm.md").write_text("# Ulm\n\nThe minster of Ulm has the tallest church spire.\n")
    with Corpus(folder, embedder=str(minilm)) as corpus:
        said = "The minster of Ulm has the tallest church spire."
        url = serve(saying(said), documents=corpus, context=8000)
        asked = [{"role": "user", "content": "What does the minster of Ulm have?"}]
        last = chunks(url, messages=asked, cactus={"documents": True})[-1]["cactus"]
        (cited,) = last["citations"]
        assert cited["source"] == "ulm.md" and cited["place"].startswith("ulm.md")
        assert said[cited["text_start"] : cited["text_end"]] == said
        assert last["reading"]
        passage = httpx2.get(f"{url}/cactus/documents/{cited['passage_id']}").json()
        assert "tallest church spire" in passage["text"]


def test_thirty_clients_at_once_hear_what_each_hears_alone(
    tiny_server: tuple[str, Model],
) -> None:
    url, model = tiny_server
    asked = [[{"role": "user", "content": f"{n} times {n}"}] for n in range(30)]
    want = [model.chat(messages, max_tokens=12).text for messages in asked]

    def whole(n: int) -> str:
        body = {"messages": asked[n], "max_tokens": 12, "temperature": 0}
        got = httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=120).json()
        return str(got["choices"][0]["message"]["content"])

    def streamed(n: int) -> str:
        found = chunks(url, messages=asked[n], max_tokens=12)
        return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in found)

    with ThreadPoolExecutor(30) as pool:
        found = list(pool.map(lambda n: (streamed if n % 2 else whole)(n), range(30)))
    assert found == want, json.dumps(found)
