"""Many conversations at once: their rows share every step, and so every reading of the weights.

A step takes one row of each answer that is being written; the rest of its rows read the prompts
of those that follow. As one answer ends, the next request takes its place. A row has the same bits
in any company, so every answer is the one that it would be alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any

from cactus.errors import (
    CactusError,
    Cancelled,
    InsufficientMemory,
    InvalidRequest,
    NonFiniteLogits,
)
from cactus.generate.answer import Answer, Request
from cactus.generate.loop import Progress
from cactus.generate.options import Options
from cactus.generate.prefix import Conversation, common_prefix
from cactus.generate.prompt import build_request
from cactus.generate.turns import Call, Turns
from cactus.stop_flag import StopFlag
from cactus.types import Completion

if TYPE_CHECKING:
    from cactus.engine import Engine

LANES = 8
"""Conversations in one step at most."""

WORTH_SHARING = 16
"""A common beginning of fewer tokens is read by each: sharing takes a step and a copied page."""

Result = Completion | CactusError


def prepare_many(
    engine: Engine,
    conversations: Iterable[Sequence[Mapping[str, Any]] | str],
    options: Options,
    stop: StopFlag,
) -> list[Request | CactusError]:
    """A request for each conversation, or the error that is its result.

    Once stopped, those that are left of a list get empty requests; an iterator, which may have no
    end, is asked for no more. Raises InvalidRequest if `conversations` is no list of conversations.
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
            requests.append(_as_value(error))
    return requests


def _as_value(error: CactusError) -> CactusError:
    """The error without what led to it, which would keep everything on the stack alive."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


def complete_many(
    engine: Engine, turns: Turns, call: Call, requests: Sequence[Request | CactusError]
) -> list[Result]:
    """Wait for the turn of `call` and answer all `requests`; errors among them stay where they are.

    What concerns one request alone becomes its result. Raises what ends the call as a whole:
    Cancelled if the model was closed meanwhile, ReentrantCall.
    """
    many = Many(engine, requests, call.flag)
    try:
        if turns.enter(call):
            many.run()
        results = many.results()
        if any(isinstance(r, Completion) and r.finish_reason == "cancelled" for r in results):
            turns.cancel_if_closed()
        return results
    finally:
        turns.leave(call)


class Lane:
    """One request that is being answered, in a session of its own."""

    def __init__(
        self, engine: Engine, index: int, request: Request, conversation: Conversation[Any]
    ) -> None:
        self.index = index
        self.conversation = conversation
        self.answer = Answer(engine, request)
        self.answer.watch.start()
        self._prompt = request.prompt
        self.answer.cached = conversation.rewind(self._prompt)
        self._sampler = engine.sampler(request.options.sampling)
        self.progress = Progress(engine.row, conversation, self._prompt, self._sampler)

    def close(self) -> None:
        answer = self.answer
        read = min(len(self.conversation.tokens), len(self._prompt))
        answer.prefilled = max(0, read - answer.cached)
        answer.watch.pause()
        self._sampler.close()
        self.conversation.session.close()


class Many:
    """Answers `requests`, at most LANES at a time, in their order."""

    def __init__(
        self,
        engine: Engine,
        requests: Sequence[Request | CactusError],
        stop: StopFlag,
    ) -> None:
        self._engine = engine
        self._requests = requests
        self._stop = stop
        self._results: list[Result | None] = [
            request if isinstance(request, CactusError) else None for request in requests
        ]
        self._waiting = deque(n for n, result in enumerate(self._results) if result is None)
        self._lanes: list[Lane] = []
        self._most = min(LANES, engine.program.chunk)
        prompts = [request.prompt for request in requests if isinstance(request, Request)]
        self._shared = _shared_tokens(prompts)
        self._trunk: Any = None  # a session that has read the shared tokens

    def run(self) -> None:
        """Answer until all are answered, or until stopped."""
        try:
            while not self._stop:
                self._admit()
                if not self._lanes:
                    break
                self._step(self._rows())
        finally:
            for lane in self._lanes:
                lane.close()
            if self._trunk is not None:
                self._trunk.close()

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

    def _conversation(self) -> Conversation[Any]:
        if self._trunk is None:
            return Conversation(self._engine.program.session())
        conversation = Conversation(self._trunk.fork())
        conversation.fed(self._shared)
        return conversation

    def _end(self, lane: Lane, result: CactusError | None = None) -> None:
        self._lanes.remove(lane)
        lane.close()
        self._results[lane.index] = (
            lane.answer.completion() if result is None else _as_value(result)
        )

    def _out_of_memory(self, error: InsufficientMemory) -> None:
        """Go on with fewer: the youngest begins again later, and if it is alone it fails."""
        if len(self._lanes) > 1:
            lane = self._lanes.pop()
            self._waiting.appendleft(lane.index)
            lane.close()
            self._most = len(self._lanes)
        elif self._lanes:
            self._end(self._lanes[0], error)
        else:
            self._results[self._waiting.popleft()] = _as_value(error)

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
