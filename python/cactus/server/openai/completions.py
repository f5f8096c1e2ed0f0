"""``/v1/completions``: what a model writes behind a text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from msgspec import UNSET, Meta, UnsetType

from cactus.errors import CactusError
from cactus.server.endpoint import Ask, Endpoint, Reply, Stream, sse
from cactus.server.openai import replies
from cactus.server.openai.asked import Asked
from cactus.server.openai.errors import DIALECT
from cactus.server.openai.replies import DONE, Head, Usage, head_of
from cactus.server.params import invalid, refused, renaming
from cactus.server.pieces import Answered
from cactus.server.questions import (
    Question,
    answer,
    streamed,
)
from cactus.server.usage import Tokens, tokens_of

if TYPE_CHECKING:
    from cactus.model import Model
    from cactus.types import Completion, TokenLogprob

DEFAULT_TOKENS = 16
MOST_PROMPTS = 128
MOST_ANSWERS = 128
"""Of one request, to all of its prompts."""

Prompt = str | list[int]


class CompletionRequest(Asked, kw_only=True):
    """What is asked. `prompt` is a text, token ids, or a list of either."""

    prompt: str | list[Any]
    suffix: str | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    best_of: Annotated[int, Meta(ge=0, le=20)] | None = None
    echo: bool | None = None

    @property
    def scores_prompt(self) -> bool:
        """Whether the prompt's tokens are told with their probabilities, too."""
        return bool(self.echo) and self.logprobs is not None


class LegacyLogprobs(Reply, kw_only=True):
    """The tokens of the text, and where each begins in it.

    Nothing stands before the first token of a prompt that is echoed: it has null.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


Reason = Literal["stop", "length"]


class TextChoice(Reply, kw_only=True):
    """One text, or more of it."""

    text: str
    index: int
    logprobs: LegacyLogprobs | None = None
    finish_reason: Reason | None


class CompletionReply(Head, kw_only=True):
    """What the model writes, or more of it."""

    object: Literal["text_completion"] = "text_completion"
    choices: list[TextChoice]
    usage: Usage | UnsetType = UNSET


async def complete(ask: Ask[CompletionRequest]) -> CompletionReply | Stream:
    """Go on with a text."""
    body = ask.body
    _check(body)
    prompts = prompts_of(body.prompt)
    _check_answers(body, len(prompts))
    if body.stream:
        return Stream(_events(ask, prompts))
    async with ask.service.use(body.model, "complete") as model:
        questions = await _questions(body, model, prompts)
        echoes = await _echoes(body, model, prompts, questions)
        flat, each_has = await answer(model, *questions), questions[0].choices
        answers = [flat[at : at + each_has] for at in range(0, len(flat), each_has)]
        usage = _usage([_tokens(body, model, found) for found in answers])
        choices: list[TextChoice] = []
        for echoed, found in zip(echoes, answers, strict=True):
            for each in _best(found, body.n or 1):
                text, tokens = echoed.text + each.done.text, (*echoed.tokens, *each.tokens)
                logprobs = None if body.logprobs is None else _logprobs(tokens, echoed.offset)
                reason: Reason = "length" if each.done.finish_reason == "length" else "stop"
                choices.append(
                    TextChoice(
                        text=text, index=len(choices), logprobs=logprobs, finish_reason=reason
                    )
                )
        head = head_of("cmpl", model, body.model)
        return CompletionReply(**head, choices=choices, usage=usage)


def _check(body: CompletionRequest) -> None:
    n, best_of = body.n or 1, body.best_of or 0
    if best_of and best_of < n:
        raise invalid(f"expected at least n, which is {n}, got {best_of}", "best_of")
    if best_of > n and body.stream:
        raise invalid("the best cannot be known while it is streamed", "best_of")


def _check_answers(body: CompletionRequest, prompts: int) -> None:
    """Refuse more answers than a request may have. Raises ApiError naming the field."""
    name = "best_of" if (body.best_of or 0) > (body.n or 1) else "n"
    each = max(body.n or 1, body.best_of or 0)
    if prompts * each > MOST_ANSWERS:
        raise invalid(
            f"expected {MOST_ANSWERS} answers to all prompts at most, got {prompts} prompts with "
            f"{each} each",
            name,
        )


def prompts_of(given: str | list[Any]) -> list[Prompt]:
    """The prompts: one, or a list of them. Raises ApiError naming what is none."""
    if isinstance(given, str):
        return [given]
    if not given:
        raise invalid("expected a text, token ids, or a list of these, got []", "prompt")
    if all(type(each) is int for each in given):
        return [given]
    if len(given) > MOST_PROMPTS:
        raise invalid(f"expected {MOST_PROMPTS} at most, got {len(given)}", "prompt")
    for index, each in enumerate(given):
        ids = isinstance(each, list) and each and all(type(id) is int for id in each)
        if not (isinstance(each, str) or ids):
            raise invalid("expected a text or a list of token ids", f"prompt[{index}]")
    return given


async def _questions(
    body: CompletionRequest, model: Model, prompts: Sequence[Prompt]
) -> list[Question]:
    """A question for each prompt."""
    wanted = DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens
    options = body.options() | {
        "max_tokens": min(wanted, model.context_length),
        "logprobs": body.logprobs is not None or None,
        "top_logprobs": body.logprobs,
    }
    choices = max(body.n or 1, body.best_of or 0)
    alone = len(prompts) == 1
    shown: Sequence[Prompt] = prompts
    if body.suffix:
        shown = [await _infill(model, each, body.suffix) for each in prompts]
    return [
        Question(
            prompt,
            options,
            raw=True,
            choices=choices,
            names={} if alone else {"prompt": f"prompt[{index}]"},
        )
        for index, prompt in enumerate(shown)
    ]


async def _infill(model: Model, prompt: Prompt, suffix: str) -> Prompt:
    """The prompt behind which the model writes what belongs before the suffix."""
    if not isinstance(prompt, str):
        raise invalid("expected a text, since there is a suffix", "prompt")
    try:
        return await asyncio.to_thread(model.infill_prompt, prompt, suffix)
    except CactusError as error:
        raise refused(error) from None


class _Echo(NamedTuple):
    """What stands before each answer: the prompt, where it is to be repeated.

    With its tokens, where log-probabilities are asked for; the first begins at `offset`: before the
    text, where it is one that no text has, such as BOS.
    """

    text: str = ""
    tokens: Sequence[TokenLogprob] = ()
    offset: int = 0


async def _echoes(
    body: CompletionRequest, model: Model, prompts: Sequence[Prompt], questions: Sequence[Question]
) -> list[_Echo]:
    """For each prompt. Raises ApiError for one that cannot be scored."""
    if not body.echo:
        return [_Echo()] * len(prompts)
    found = []
    for prompt, question in zip(prompts, questions, strict=True):
        with renaming(question.names):
            found.append(await _echo(body, model, prompt))
    return found


async def _echo(body: CompletionRequest, model: Model, prompt: Prompt) -> _Echo:
    text = prompt
    if not isinstance(text, str):
        text = await asyncio.to_thread(model.detokenize, text, skip_special=False)
    if not body.scores_prompt:
        return _Echo(text)
    tokens = await model.ascore(prompt, top_logprobs=body.logprobs or 0)
    first = tokens[0].text
    return _Echo(text, tokens, 0 if text.startswith(first) else -len(first))


def _best(found: Sequence[Answered], n: int) -> list[Answered]:
    """The answers that the model finds likeliest, by the mean of their tokens' logprobs."""
    return (
        sorted(found, key=lambda each: -_likelihood(each.done))[:n] if n < len(found) else [*found]
    )


def _likelihood(done: Completion) -> float:
    return sum(done.logprobs) / len(done.logprobs) if done.logprobs else float("-inf")


def _logprobs(tokens: Sequence[TokenLogprob], offset: int) -> LegacyLogprobs:
    """Tokens in the form of this endpoint; the first begins at `offset`."""
    offsets = []
    for token in tokens:
        offsets.append(max(0, offset))
        offset += len(token.text)
    first = [isnan(token.logprob) for token in tokens]
    return LegacyLogprobs(
        tokens=[token.text for token in tokens],
        token_logprobs=[
            None if alone else token.logprob for alone, token in zip(first, tokens, strict=True)
        ],
        top_logprobs=[
            None if alone else {each.text: each.logprob for each in token.top}
            for alone, token in zip(first, tokens, strict=True)
        ],
        text_offset=offsets,
    )


def _tokens(body: CompletionRequest, model: Model, found: Sequence[Answered]) -> Tokens:
    tokens = tokens_of(model, [each.done for each in found])
    # A prompt that is scored is read whole; what the answer finds of it has cost that.
    return replace(tokens, cached=0) if body.scores_prompt else tokens


def _usage(tokens: Sequence[Tokens]) -> Usage:
    """The tokens of all prompts and answers."""
    return replies.usage_of(
        Tokens(
            prompt=sum(each.prompt for each in tokens),
            cached=sum(each.cached for each in tokens),
            written=sum(each.written for each in tokens),
            reasoning=0,
        )
    )


async def _events(
    ask: Ask[CompletionRequest], prompts: Sequence[Prompt]
) -> AsyncGenerator[bytes, None]:
    body = ask.body
    n = body.n or 1
    async with ask.service.use(body.model, "complete") as model:
        head = head_of("cmpl", model, body.model)
        questions = await _questions(body, model, prompts)
        echoes = await _echoes(body, model, prompts, questions)
        done: dict[int, Answered] = {}
        offsets = {index: echoes[index // n].offset for index in range(n * len(prompts))}
        async with aclosing(streamed(model, *questions)) as pieces:
            async for piece in pieces:
                text, index = piece.text, piece.choice
                shown: Sequence[TokenLogprob] = piece.tokens
                if piece.kind == "begin":
                    text, shown, _ = echoes[index // n]
                    if not text:
                        continue
                reason: Reason | None = None
                if piece.done is not None:
                    done[index] = Answered(piece.done)
                    reason = "length" if piece.done.finish_reason == "length" else "stop"
                logprobs = None
                if body.logprobs is not None and shown:
                    logprobs = _logprobs(shown, offsets[index])
                    offsets[index] += sum(len(token.text) for token in shown)
                choice = TextChoice(text=text, index=index, logprobs=logprobs, finish_reason=reason)
                yield sse(CompletionReply(**head, choices=[choice]))
        if body.wants_usage:
            tokens = [
                _tokens(body, model, [done[i * n + k] for k in range(n)])
                for i in range(len(prompts))
            ]
            yield sse(CompletionReply(**head, choices=[], usage=_usage(tokens)))
    yield DONE


ENDPOINTS = [
    Endpoint(
        "POST",
        "/v1/completions",
        complete,
        DIALECT,
        "Go on with a text.",
        body=CompletionRequest,
        reply=CompletionReply,
        event=CompletionReply,
        errors=(404, 413, 415, 429, 503),
        tag="completions",
    ),
]
