"""``/api/chat`` and ``/api/generate``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol

from msgspec import UNSET

from cactus.model import Model
from cactus.server.endpoint import Ask, Endpoint, Reply, Stream, ndjson
from cactus.server.ollama.body import ChatRequest, GenerateRequest, Request
from cactus.server.ollama.errors import DIALECT
from cactus.server.ollama.keep import seconds, using
from cactus.server.ollama.reply import (
    CallOut,
    ChatLine,
    Clock,
    FunctionOut,
    GenerateLine,
    MessageOut,
    costs,
    logprobs_of,
    now,
)
from cactus.server.ollama.translate import (
    chat_question,
    generate_question,
    remembered,
)
from cactus.server.params import renaming
from cactus.server.questions import Question, answer, streamed
from cactus.types import Completion


class Writer(Protocol):
    """How an endpoint writes its lines; `told` are the fields that all lines have."""

    def line(
        self, told: dict[str, Any], text: str = "", thought: str = "", calls: Any = ()
    ) -> Reply:
        """A line with more of the answer."""
        ...

    def remember(self, line: Any, done: Completion) -> None:
        """Add to the last line what continues the conversation."""
        ...


class ChatWriter:
    """Lines of a chat."""

    def line(
        self, told: dict[str, Any], text: str = "", thought: str = "", calls: Any = ()
    ) -> ChatLine:
        """A line with more of the answer."""
        message = MessageOut(
            content=text, thinking=thought or UNSET, tool_calls=list(calls) or UNSET
        )
        return ChatLine(**told, message=message)

    def remember(self, line: Any, done: Completion) -> None:
        """The client keeps its messages."""


class GenerateWriter:
    """Lines of what follows a prompt."""

    def __init__(self, question: Question) -> None:
        self._question = question

    def line(
        self, told: dict[str, Any], text: str = "", thought: str = "", calls: Any = ()
    ) -> GenerateLine:
        """A line with more of the answer."""
        return GenerateLine(**told, response=text, thinking=thought or UNSET)

    def remember(self, line: Any, done: Completion) -> None:
        """The conversation, as `context` of the next prompt; a raw prompt is none."""
        if not self._question.raw:
            said = {"role": "assistant", "content": done.text}
            line.context = remembered([*self._question.prompt, said])


async def chat(ask: Ask[ChatRequest]) -> Reply | Stream:
    """Answer a chat."""
    question, writer = chat_question(ask.body), ChatWriter()
    if not ask.body.messages:
        return await _load(ask, question, writer)
    return await _answer(ask, question, writer)


async def generate(ask: Ask[GenerateRequest]) -> Reply | Stream:
    """Go on behind a prompt."""
    question = generate_question(ask.body)
    writer = GenerateWriter(question)
    if not (ask.body.prompt or ask.body.images or ask.body.suffix):
        return await _load(ask, question, writer)
    return await _answer(ask, question, writer)


async def _answer(ask: Ask[Any], question: Question, writer: Writer) -> Reply | Stream:
    if ask.body.stream is not False:
        return Stream(_lines(ask, question, writer), form="ndjson")
    clock = Clock()
    async with using(ask, _ability(question)) as model:
        clock.loaded()
        found = (await answer(model, _filled(model, question, ask.body)))[0]
    done = found.done
    told = _told(ask, **costs(done, clock))
    if question.options.get("logprobs"):
        told["logprobs"] = logprobs_of(found.tokens)
    line = writer.line(told, done.text, done.reasoning or "", _calls_of(done))
    writer.remember(line, done)
    return line


async def _lines(ask: Ask[Any], question: Question, writer: Writer) -> AsyncIterator[bytes]:
    clock = Clock()
    async with using(ask, _ability(question)) as model:
        clock.loaded()
        asked = _filled(model, question, ask.body)
        async with aclosing(streamed(model, asked)) as pieces:
            async for piece in pieces:
                told = _told(ask)
                if piece.tokens:
                    told["logprobs"] = logprobs_of(piece.tokens)
                if piece.kind == "text":
                    yield ndjson(writer.line(told, piece.text))
                elif piece.kind == "reasoning":
                    yield ndjson(writer.line(told, "", piece.text))
                elif piece.done is not None:
                    done = piece.done
                    if done.function_calls:
                        yield ndjson(writer.line(_told(ask), calls=_calls_of(done)))
                    line = writer.line({**told, **costs(done, clock)})
                    writer.remember(line, done)
                    yield ndjson(line)


async def _load(ask: Ask[Any], question: Question, writer: Writer) -> Reply | Stream:
    """Nothing is asked: load the model, or let it go."""
    keep = seconds(ask.body.keep_alive)
    clock = Clock()
    if keep == 0:
        served = ask.service.find(ask.body.model, _ability(question))
        await ask.service.models.unload(served)
    else:
        async with using(ask, _ability(question)):
            clock.loaded()
    reason = "unload" if keep == 0 else "load"
    line = writer.line(_told(ask, done=True, done_reason=reason, **clock.times()))
    if ask.body.stream is False:
        return line
    return Stream(_once(line), form="ndjson")


async def _once(line: Reply) -> AsyncIterator[bytes]:
    yield ndjson(line)


def _filled(model: Model, question: Question, body: Request) -> Question:
    """The question with what a `suffix` makes of the prompt."""
    if not (isinstance(body, GenerateRequest) and body.suffix):
        return question
    with renaming():
        return replace(question, prompt=model.infill_prompt(body.prompt or "", body.suffix))


def _told(ask: Ask[Any], **more: Any) -> dict[str, Any]:
    return {"model": ask.body.model, "created_at": now(), **more}


def _ability(question: Question) -> str:
    return "complete" if question.raw else "chat"


def _calls_of(done: Completion) -> list[CallOut]:
    return [
        CallOut(
            id=id,
            function=FunctionOut(index=index, name=call["name"], arguments=call["arguments"]),
        )
        for index, (call, id) in enumerate(zip(done.function_calls, done.call_ids, strict=True))
    ]


ENDPOINTS = [
    Endpoint(
        "POST",
        "/api/chat",
        chat,
        DIALECT,
        "Answer a chat.",
        body=ChatRequest,
        reply=ChatLine,
        event=ChatLine,
        errors=(404, 413, 429, 503),
    ),
    Endpoint(
        "POST",
        "/api/generate",
        generate,
        DIALECT,
        "Go on behind a prompt.",
        body=GenerateRequest,
        reply=GenerateLine,
        event=GenerateLine,
        errors=(404, 413, 429, 503),
    ),
]
