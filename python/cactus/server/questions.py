"""A question to a language model, in whatever dialect it came, and the answers to it.

A dialect makes a `Question` of a body, and its own replies of `Answered` or of `Piece`s. Answers
are those of ``Model.chat`` with the same messages and options, to the last token.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cactus.server.errors import ApiError
from cactus.server.params import refused
from cactus.server.pieces import Answered, Piece, Reader
from cactus.server.together import side_by_side, together

if TYPE_CHECKING:
    from cactus.corpus.corpus import Corpus
    from cactus.model import Model
    from cactus.types import Completion

SEEDS = 1 << 64


@dataclass
class Question:
    """What is asked of a model.

    `prompt` are messages as ``Model.chat`` takes them, or with `raw` a text or token ids, as
    ``Model.complete`` does; `options` are those of that method. There are as many answers as
    `choices`; each has a seed of its own, `seed` + its number. `names` are what the dialect calls
    options, for errors. `documents`: the answer is made from these. `functions` are run here when
    the model calls them.
    """

    prompt: Any
    options: dict[str, Any]
    raw: bool = False
    choices: int = 1
    names: Mapping[str, str] = field(default_factory=dict)
    documents: Corpus | None = None
    functions: Sequence[Callable[..., Any]] = ()

    @property
    def sure(self) -> bool:
        """Whether a grammar sees to it that what begins like a call is one."""
        options = self.options
        form = options.get("response_format") or {"type": "text"}
        if options.get("tools") and form.get("type") != "text":
            return True
        return options.get("tool_choice") not in (None, "auto", "none")

    def options_of(self, choice: int) -> dict[str, Any]:
        """The options of one of the answers."""
        seed = self.options.get("seed")
        if seed is None or choice == 0:
            return self.options
        return {**self.options, "seed": (seed + choice) % SEEDS}


def sampling(temperature: float | None) -> Literal["greedy", "model"]:
    """How tokens are chosen where the request does not say: as the model's makers do it.

    Temperature 0 means the likeliest token, and nothing of theirs that would make it another.
    """
    return "greedy" if temperature == 0 else "model"


def seed_of(seed: int | None, param: str = "seed") -> int | None:
    """A seed as the model takes it: from 0 on. Raises ApiError past 64 bits."""
    if seed is None or 0 <= seed < SEEDS:
        return seed
    if seed < -(SEEDS // 2) or seed >= SEEDS:
        raise ApiError(
            400, f"{param}: expected an integer of 64 bits", code="invalid_value", param=param
        )
    return seed % SEEDS


async def answer(model: Model, question: Question) -> list[Answered]:
    """All answers to a question. Raises ApiError and what the model raises."""
    if question.options.get("logprobs") or question.functions:
        # What is content of the answer only a stream tells.
        return await together([_read(pieces(model, question, n)) for n in range(question.choices)])
    found = await together([_whole(model, question, n) for n in range(question.choices)])
    return [Answered(_ended(each)) for each in found]


async def _read(source: AsyncGenerator[Piece, None]) -> Answered:
    tokens: list[Any] = []
    async with aclosing(source) as read:
        async for piece in read:
            tokens += piece.tokens
            if piece.done is not None:
                return Answered(piece.done, tuple(tokens))
    raise AssertionError("a stream ended without its completion")


async def _whole(model: Model, question: Question, choice: int) -> Completion:
    options = question.options_of(choice)
    try:
        if question.raw:
            return await model.acomplete(question.prompt, **options)
        if question.documents is not None:
            return await question.documents.aask(model, question.prompt, **options)
        return await model.achat(question.prompt, **options)
    except Exception as error:
        raise refused(error, question.names) from None


def _ended(done: Completion) -> Completion:
    """The answer, where it has come to an end of its own."""
    if done.finish_reason == "cancelled":
        raise ApiError(503, "the answer was stopped by the server", code="cancelled", retry_after=5)
    return done


async def streamed(model: Model, question: Question) -> AsyncGenerator[Piece, None]:
    """The pieces of all answers, as they come. The first says that the request is accepted."""
    if question.choices == 1:
        async with aclosing(pieces(model, question, 0)) as read:
            async for piece in read:
                yield piece
        return
    sources = [pieces(model, question, n) for n in range(question.choices)]
    async with aclosing(all_begun(side_by_side(sources), question.choices)) as read:
        async for piece in read:
            yield piece


async def all_begun(source: AsyncGenerator[Piece, None], count: int) -> AsyncGenerator[Piece, None]:
    """The pieces, once so many answers have begun: what fails before that is a plain error."""
    held: list[Piece] = []
    async with aclosing(source) as read:
        async for piece in read:
            count -= piece.kind == "begin"
            held.append(piece)
            if count <= 0:
                for each in held:
                    yield each
                held.clear()


async def pieces(model: Model, question: Question, choice: int) -> AsyncGenerator[Piece, None]:
    """The pieces of one answer; the last one has the whole. Raises as `answer` does."""
    if question.functions:
        from cactus.server.functions import run_functions

        options = question.options_of(choice)
        try:
            async with aclosing(
                run_functions(model, question.prompt, options, question.functions, choice)
            ) as run:
                async for piece in run:
                    yield piece
        except Exception as error:
            raise refused(error, question.names) from None
        return
    reader = Reader(choice, live=question.sure)
    try:
        async with _stream(model, question, choice) as stream:
            yield Piece(choice, "begin", prompt_tokens=stream.prompt_tokens)
            async for event in stream:
                for piece in reader.read(event):
                    yield piece
        done = _ended(stream.completion)
    except Exception as error:
        raise refused(error, question.names) from None
    yield Piece(choice, "end", tokens=reader.rest(), done=done)


def _stream(model: Model, question: Question, choice: int) -> Any:
    options = question.options_of(choice)
    if question.raw:
        return model.acomplete_stream(question.prompt, **options)
    if question.documents is not None:
        return question.documents.aask_stream(model, question.prompt, **options)
    return model.astream(question.prompt, **options)
