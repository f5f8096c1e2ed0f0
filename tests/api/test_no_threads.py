"""A system that gives no more threads: some calls fail for it, and all others are what they are."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from cactus import Model
from cactus.errors import InsufficientMemory
from tests.server.running import serving

PROMPTS = [f"hi {n}" for n in range(6)]


def give(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """So many threads can be started, and then no more."""
    start, left = threading.Thread.start, number

    def limited(thread: threading.Thread) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)


async def _chat(model: Model, prompt: str) -> str:
    return (await model.achat(prompt, max_tokens=4)).text


async def _stream(model: Model, prompt: str) -> str:
    async with model.astream(prompt, max_tokens=4) as stream:
        return "".join([event.text async for event in stream])


@pytest.mark.fault("F56")
@pytest.mark.parametrize("ask", [_chat, _stream])
def test_each_call_has_its_answer_or_says_why_not(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, ask: Any
) -> None:
    async def all_at_once(model: Model) -> list[Any]:
        asked = [ask(model, prompt) for prompt in PROMPTS]
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 60)

    failed = []
    with Model(tiny_model) as model:
        wanted = [model.chat(prompt, max_tokens=4).text for prompt in PROMPTS]
        # How many a call needs is a matter of timing: the thread of the batch ends when it is idle.
        for number in [*range(10), 1_000]:
            with monkeypatch.context() as limited:
                give(limited, number)
                found = asyncio.run(all_at_once(model))
            failed.append(sum(isinstance(each, InsufficientMemory) for each in found))
            for each, want in zip(found, wanted, strict=True):
                assert each == want or "pids.max" in str(each)
            assert model.chat(PROMPTS[0], max_tokens=4).text == wanted[0]
    assert failed[0] == len(PROMPTS) and failed[-1] == 0


@pytest.mark.fault("F56")
def test_a_server_answers_503_and_goes_on(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "n": 16}
    with serving(tiny_model) as server:
        assert server.ask("POST", "/v1/chat/completions", json=body).status_code == 200
        with monkeypatch.context() as limited:
            give(limited, 3)
            reply = server.ask("POST", "/v1/chat/completions", json=body)
        assert reply.status_code == 503
        assert reply.json()["error"]["code"] == "insufficient_memory"
        assert server.ask("POST", "/v1/chat/completions", json=body).status_code == 200
