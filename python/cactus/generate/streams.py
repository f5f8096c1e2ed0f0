"""A completion that is read token by token: what its reader holds."""

from __future__ import annotations

from collections.abc import Callable

from cactus.calls.aio import AsyncEventStream
from cactus.calls.stream import EventStream
from cactus.calls.turns import Call
from cactus.errors import InvalidRequest
from cactus.generate.generation import Generation
from cactus.inputs.checks import short
from cactus.types import Completion, StreamEvent


class CompletionStream(EventStream[StreamEvent]):
    """Events of one completion; `completion` is there once the stream has ended or was closed."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._told: Callable[[Completion], None] | None = None
        super().__init__(generation)

    def when_ended(self, told: Callable[[Completion], None]) -> None:
        """Call `told` with the completion, once, when there is one."""
        self._told = told

    def __next__(self) -> StreamEvent:
        try:
            return super().__next__()
        except StopIteration:
            self._tell()
            raise

    def close(self) -> None:
        """End the stream now and let other calls go on; safe to call twice."""
        super().close()
        self._tell()

    def _tell(self) -> None:
        told, self._told = self._told, None
        if told is not None and self._generation.result is not None:
            told(self._generation.result)

    def __repr__(self) -> str:
        return stream_repr(self, self._generation)

    @property
    def completion(self) -> Completion:
        """The whole answer. Raises InvalidRequest while the stream is still running or failed."""
        return completion_of(self._generation)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, which are known once the stream has been entered."""
        return prompt_tokens_of(self._generation)


class AsyncCompletionStream(AsyncEventStream[StreamEvent]):
    """The events of one completion; `completion` is there once it has ended or was closed."""

    def __init__(self, start: Callable[[Call], Generation]) -> None:
        super().__init__(start)
        self._generate = start
        self._generation: Generation | None = None
        self._told: Callable[[Completion], None] | None = None

    def when_ended(self, told: Callable[[Completion], None]) -> None:
        """Call `told` with the completion, once, when there is one."""
        self._told = told

    def __repr__(self) -> str:
        return stream_repr(self, self._generation)

    @property
    def completion(self) -> Completion:
        """The whole answer. Raises InvalidRequest while the stream is still running or failed."""
        return completion_of(self._generation)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, which are known once the stream has been entered."""
        return prompt_tokens_of(self._generation)

    def _make(self) -> Generation:
        self._generation = self._generate(self._call)
        return self._generation

    def _end(self) -> None:
        super()._end()
        told, self._told = self._told, None
        generation = self._generation
        if told is not None and generation is not None and generation.result is not None:
            told(generation.result)


def stream_repr(stream: object, generation: Generation | None) -> str:
    """How a stream of a completion shows itself: its state, and the text that has come."""
    state, text = ("not begun", "") if generation is None else generation.progress
    shown = f": {short(text)}" if text else ""
    return f"<{type(stream).__name__} {state}{shown}>"


def completion_of(generation: Generation | None) -> Completion:
    """The completion of a stream. Raises InvalidRequest while there is none."""
    completion = None if generation is None else generation.result
    if completion is None:
        raise InvalidRequest("the stream has no completion: it has not been read to its end")
    return completion


def prompt_tokens_of(generation: Generation | None) -> int:
    """Tokens of the prompt of a stream. Raises InvalidRequest before it was checked."""
    if generation is None:
        raise InvalidRequest("the stream has no prompt yet: enter it, or ask for an event")
    return generation.prompt_tokens
