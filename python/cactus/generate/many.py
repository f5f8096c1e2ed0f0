"""Many conversations at once: their rows share every step, and so every reading of the weights.

A step takes one row of each answer that is being written; the rest of its rows read the prompts
of those that follow. As one answer ends, the next request takes its place. A row has the same bits
in any company, so every answer is the one that it would be alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence, Sized
from contextlib import closing
from typing import TYPE_CHECKING, Any

from cactus.calls.stop_flag import StopFlag
from cactus.calls.stream import drain
from cactus.calls.turns import Call, Turns
from cactus.errors import (
    CactusError,
    Cancelled,
    InsufficientMemory,
    InvalidRequest,
    NonFiniteLogits,
    ReentrantCall,
)
from cactus.generate.answer import Answer, Request
from cactus.generate.loop import Progress
from cactus.generate.options import Options
from cactus.generate.prefix import CachedSession, common_prefix
from cactus.generate.prompt import build_request
from cactus.types import Completion

if TYPE_CHECKING:
    from cactus.engine.loaded import Loaded

LANES = 8
"""Conversations in one step at most."""

WORTH_SHARING = 16
"""A common beginning of fewer tokens is read by each: sharing takes a step and a copied page."""

Result = Completion | CactusError


def prepare_many(
    engine: Loaded,
    conversations: Iterable[Sequence[Mapping[str, Any]] | str],
    options: Options,
    stop: StopFlag,
    return_exceptions: bool = True,
) -> list[Request | CactusError]:
    """A request for each conversation, or the error that is its result.

    Once stopped, those that are left of a list get empty requests; an iterator, which may have no
    end, is asked for no more. Raises InvalidRequest if `conversations` is not a list of
    conversations, and without `return_exceptions` the first error of one of them.
    """
    single = isinstance(conversations, (str, bytes, bytearray, memoryview, Mapping))
    if single or not isinstance(conversations, Iterable):
        raise InvalidRequest(
            "chat_many takes a list of conversations, each a list of messages, "
            f"got {type(conversations).__name__}"
        )
    requests: list[Request | CactusError] = []
    for messages in conversations:
        if stop:
            requests.append(Request([], options))
            if isinstance(conversations, Sized):
                continue
            break
        try:
            requests.append(build_request(engine, messages, options, time.perf_counter()))
        except CactusError as error:
            if not return_exceptions:
                raise _numbered(len(requests), error) from None
            requests.append(_as_value(error))
    return requests


def _numbered(index: int, error: CactusError) -> CactusError:
    """The error with the conversation that it is of."""
    error.args = (f"conversations[{index}]: {error}", *error.args[1:])
    return error


def _as_value(error: CactusError) -> CactusError:
    """The error without what led to it, which would keep everything on the stack alive."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


class ManyRun:
    """Drives one call with many requests; errors among them are the results of their own.

    Without `return_exceptions` the first error ends the call and is raised. What ends the call as a
    whole is raised either way: Cancelled if the model was closed meanwhile, ReentrantCall.
    """

    def __init__(
        self,
        engine: Loaded,
        turns: Turns,
        call: Call,
        requests: Sequence[Request | CactusError],
        return_exceptions: bool,
        forget: Callable[[], bool],
    ) -> None:
        self._engine, self._turns, self._call = engine, turns, call
        self._requests, self._forget = requests, forget
        self._return_exceptions = return_exceptions

    def run(self, progress: Callable[[int, int], object] | None = None) -> list[Result]:
        """All results in order; `progress` gets how many there are, and of how many."""
        total = len(self._requests)
        results: dict[int, Result] = {}
        with closing(self.events()) as events:
            for index, result in events:
                results[index] = result
                if progress is not None:
                    progress(len(results), total)
        return [results[index] for index in range(total)]

    def events(self) -> Generator[tuple[int, Result], None, None]:
        """Wait for the turn and answer; each index and its result as soon as there is one."""
        turns, call = self._turns, self._call
        many = Many(self._engine, self._requests, call.flag, self._forget)
        shown: set[int] = set()
        refused = False
        try:
            if turns.enter(call):
                with closing(many.events()) as finished:
                    for index, result in finished:
                        shown.add(index)
                        self._check(index, result)
                        turns.step_outside()
                        yield index, result
                        turns.step_inside()
            if len(shown) < len(self._requests):
                turns.cancel_if_closed()
        except ReentrantCall:
            refused = True  # nothing has begun: it may be read later
            raise
        finally:
            if not refused:
                turns.leave(call)
        for index, result in enumerate(many.results()):
            if index not in shown:
                yield index, result

    def _check(self, index: int, result: Result) -> None:
        if isinstance(result, CactusError) and not self._return_exceptions:
            raise _numbered(index, result)


class Lane:
    """One request that is being answered, in a session of its own."""

    def __init__(
        self, engine: Loaded, index: int, request: Request, conversation: CachedSession[Any]
    ) -> None:
        self.index = index
        self.conversation = conversation
        self.answer = Answer(engine, request)
        self.answer.watch.start()
        self._prompt = request.prompt
        self.answer.cached = conversation.rewind(self._prompt)
        options = request.options
        self._sampler = engine.sampler(options.sampling, self._prompt)
        self.progress = Progress(
            engine.row,
            conversation,
            self._prompt,
            self._sampler,
            top_logprobs=options.top_logprobs,
        )

    def close(self) -> None:
        answer = self.answer
        read = min(len(self.conversation.tokens), len(self._prompt))
        answer.prefilled = max(0, read - answer.cached)
        answer.watch.pause()
        self._sampler.close()
        self.conversation.session.close()


class Many:
    """Answers `requests`, at most LANES at a time, in their order.

    `forget` gives back memory that only saves time, and says whether there was any.
    """

    def __init__(
        self,
        engine: Loaded,
        requests: Sequence[Request | CactusError],
        stop: StopFlag,
        forget: Callable[[], bool] = lambda: False,
    ) -> None:
        self._engine = engine
        self._requests = requests
        self._stop, self._forget = stop, forget
        self._results: list[Result | None] = [
            request if isinstance(request, CactusError) else None for request in requests
        ]
        self._waiting = deque(n for n, result in enumerate(self._results) if result is None)
        self._lanes: list[Lane] = []
        self._most = min(LANES, engine.program.chunk)
        prompts = [request.prompt for request in requests if isinstance(request, Request)]
        self._shared = _shared_tokens(prompts)
        self._trunk: Any = None  # a session that has read the shared tokens
        self._ended = deque(n for n, result in enumerate(self._results) if result is not None)

    def run(self) -> None:
        """Answer until all are answered, or until stopped."""
        drain(self.events())

    def events(self) -> Generator[tuple[int, Result], None, None]:
        """`run`, with each index and its result as soon as there is one."""
        try:
            while not self._stop:
                self._admit()
                yield from self._finished()
                if not self._lanes:
                    break
                self._step(self._rows())
                yield from self._finished()
        finally:
            for lane in self._lanes:
                lane.close()
            if self._trunk is not None:
                self._trunk.close()

    def _finished(self) -> Generator[tuple[int, Result], None, None]:
        while self._ended:
            index = self._ended.popleft()
            result = self._results[index]
            assert result is not None
            yield index, result

    def results(self) -> list[Result]:
        """One for each request, in order; those without an end are "cancelled"."""
        unfinished = {lane.index: lane.answer for lane in self._lanes}
        for index, result in enumerate(self._results):
            if result is None:
                request = self._requests[index]
                assert isinstance(request, Request)
                answer = unfinished.get(index) or Answer(self._engine, request)
                answer.cancel()
                self._results[index] = answer.completion()
        return [result for result in self._results if result is not None]

    # -- who takes part

    @property
    def _leading(self) -> bool:
        """True while the first lane reads the shared tokens for all."""
        return bool(self._shared) and self._trunk is None

    def _admit(self) -> None:
        while self._waiting and len(self._lanes) < self._most:
            if self._lanes and self._leading:
                return
            index = self._waiting.popleft()
            request = self._requests[index]
            assert isinstance(request, Request)
            try:
                self._lanes.append(Lane(self._engine, index, request, self._conversation()))
            except InsufficientMemory as error:
                self._waiting.appendleft(index)
                if not self._lanes:
                    self._out_of_memory(error)
                self._most = max(1, len(self._lanes))  # those that run go on, it comes later

    def _conversation(self) -> CachedSession[Any]:
        if self._trunk is None:
            return CachedSession(self._engine.program.session())
        conversation = CachedSession(self._trunk.fork())
        conversation.fed(self._shared)
        return conversation

    def _end(self, lane: Lane, result: CactusError | None = None) -> None:
        self._lanes.remove(lane)
        lane.close()
        self._set(lane.index, lane.answer.completion() if result is None else _as_value(result))

    def _set(self, index: int, result: Result) -> None:
        self._results[index] = result
        self._ended.append(index)

    def _out_of_memory(self, error: InsufficientMemory) -> None:
        """Go on with less; one that is alone, with nothing else in memory, fails.

        What only saves time goes first. Then the youngest begins again later, and at last
        the one that is left goes on without the session that later ones would begin from.
        """
        if self._forget():
            return
        if len(self._lanes) > 1:
            lane = self._lanes.pop()
            self._waiting.appendleft(lane.index)
            lane.close()
            self._most = len(self._lanes)
        elif self._trunk is not None:
            self._trunk.close()
            self._trunk, self._shared = None, []  # each reads its own prompt
        elif self._lanes:
            self._end(self._lanes[0], error)
        else:
            self._set(self._waiting.popleft(), _as_value(error))

    # -- a step

    def _rows(self) -> list[tuple[Lane, int]]:
        """Who gets how many rows of the next step: one for each writer, the rest for readers."""
        rows = []
        room = self._engine.program.chunk - sum(lane.progress.behind == 1 for lane in self._lanes)
        for lane in self._lanes:
            behind = lane.progress.behind
            if behind == 1:
                rows.append((lane, 1))
                continue
            if self._leading:
                behind = len(self._shared) - len(lane.conversation.tokens)
            if room > 0:
                rows.append((lane, min(room, behind)))
                room -= min(room, behind)
        return rows

    def _step(self, parts: Sequence[tuple[Lane, int]]) -> None:
        rows = [lane.progress.row(most) for lane, most in parts]
        try:
            outputs = self._engine.program.step(rows, stop=self._stop)
        except Cancelled:
            for lane, _ in parts:
                lane.progress.failed()
            return
        except (NonFiniteLogits, InsufficientMemory) as error:
            for lane, _ in parts:
                lane.progress.failed()
            if isinstance(error, InsufficientMemory):
                self._out_of_memory(error)
            elif len(parts) == 1:
                self._end(parts[0][0], error)
            else:
                for part in parts:  # one by one, to see whose they are
                    if part[0] in self._lanes:
                        self._step([part])
            return
        position = 0
        for (lane, _), row in zip(parts, rows, strict=True):
            count = 0 if row.outputs == "none" else 1
            self._take(lane, outputs[position : position + count])
            position += count

    def _take(self, lane: Lane, outputs: Sequence[Any]) -> None:
        try:
            for output in lane.progress.take(outputs):
                lane.answer.take(output)
        except NonFiniteLogits as error:
            self._end(lane, error)
            return
        if lane.answer.reason is not None:
            self._end(lane)
        elif self._leading and len(lane.conversation.tokens) == len(self._shared):
            try:
                self._trunk = lane.conversation.session.fork()
            except InsufficientMemory:
                self._shared = []  # each reads its own prompt


def _shared_tokens(prompts: Sequence[list[int]]) -> list[int]:
    """What all prompts begin with, if reading it once is worth it; none of them entirely."""
    if len(prompts) < 2:
        return []
    shared = prompts[0][:-1]
    for prompt in prompts[1:]:
        del shared[min(common_prefix(shared, prompt), len(prompt) - 1) :]
    return shared if len(shared) >= WORTH_SHARING else []
