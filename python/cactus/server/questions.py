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


async def answer(model: Model, *questions: Question) -> list[Answered]:
    """All answers to some questions, one after the other. Raises ApiError, and as the model."""
    return await together([_answer(model, *each) for each in _asked(questions)])


def _asked(questions: Sequence[Question]) -> list[tuple[Question, int]]:
    """The questions with the numbers of their choices, in the order of the answers."""
    return [(each, choice) for each in questions for choice in range(each.choices)]


async def _answer(model: Model, question: Question, choice: int) -> Answered:
    if question.options.get("logprobs") or question.functions:
        # What is content of the answer only a stream tells.
        return await _read(_pieces(model, question, choice, choice))
    return Answered(_ended(await _whole(model, question, choice)))


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


def streamed(model: Model, *questions: Question) -> AsyncGenerator[Piece, None]:
    """The pieces of all answers, as they come. The first says that the request is accepted."""
    asked = enumerate(_asked(questions))
    return side_by_side([_pieces(model, *each, number) for number, each in asked])


async def _pieces(
    model: Model, question: Question, choice: int, number: int
) -> AsyncGenerator[Piece, None]:
    """The pieces of one answer; the last one has the whole. Raises as `answer` does.

    It is one of the question's `choices`, and the answer `number` of the request.
    """
    if question.functions:
        from cactus.server.functions import run_functions

        options = question.options_of(choice)
        try:
            async with aclosing(
                run_functions(model, question.prompt, options, question.functions, number)
            ) as run:
                async for piece in run:
                    yield piece
        except Exception as error:
            raise refused(error, question.names) from None
        return
    reader = Reader(number, live=question.sure)
    try:
        async with _stream(model, question, choice) as stream:
            yield Piece(number, "begin", prompt_tokens=stream.prompt_tokens)
            async for event in stream:
                for piece in reader.read(event):
                    yield piece
        done = _ended(stream.completion)
    except Exception as error:
        raise refused(error, question.names) from None
    yield Piece(number, "end", tokens=reader.rest(), done=done)


def _stream(model: Model, question: Question, choice: int) -> Any:
    options = question.options_of(choice)
    if question.raw:
        return model.acomplete_stream(question.prompt, **options)
    if question.documents is not None:
        return question.documents.aask_stream(model, question.prompt, **options)
    return model.astream(question.prompt, **options)
