"""Many conversations at once: a list of requests that join the batch, some at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence, Sized
from contextlib import closing
from typing import TYPE_CHECKING, Any

from cactus.calls.run import Run
from cactus.calls.stop_flag import StopFlag
from cactus.calls.turns import Call
from cactus.errors import CactusError, InvalidRequest
from cactus.generate.answer import Answer, Request
from cactus.generate.batch import Batch
from cactus.generate.lane import Lane
from cactus.generate.options import Options
from cactus.generate.prompt import build_request
from cactus.generate.second import SecondOpinion, wait_for_news
from cactus.types import Completion

if TYPE_CHECKING:
    from cactus.engine.loaded import Loaded
    from cactus.generate.documents import Documents
    from cactus.generate.elsewhere import Elsewhere
    from cactus.vision.work import Vision

AT_ONCE = 32
"""Requests of one list in the batch at most: others find room beside them."""

Result = Completion | CactusError


def prepare_many(
    engine: Loaded,
    conversations: Iterable[Sequence[Mapping[str, Any]] | str],
    options: Options,
    stop: StopFlag,
    return_exceptions: bool = True,
    elsewhere: Elsewhere | None = None,
    documents: Documents | None = None,
    vision: Vision | None = None,
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
            began = time.perf_counter()
            request = build_request(engine, messages, options, began, elsewhere, documents, vision)
            requests.append(request)
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


class ManyRun(Run[tuple[int, Result], list[Result]]):
    """One call with many requests, some at a time; errors among them are the results of their own.

    An event is the index of a request and its result, as soon as there is one; those without an end
    are "cancelled". Without `return_exceptions` the first error ends the call and is raised.
    """

    def __init__(
        self,
        batch: Batch,
        call: Call,
        requests: Sequence[Request | CactusError],
        return_exceptions: bool,
    ) -> None:
        super().__init__(batch.turns, call)
        self._batch, self._requests = batch, requests
        self._return_exceptions = return_exceptions
        # The thread has nothing to do before the first of them ends.
        self._mailbox = batch.mailbox(patient=True)
        self._left, self._errors = deque[int](), deque[int]()
        for index, request in enumerate(requests):
            (self._left if isinstance(request, Request) else self._errors).append(index)
        self._lanes: dict[Lane, int] = {}  # all that have no result yet
        self._seconds: dict[Lane, SecondOpinion] = {}  # of those that may have one
        self._results: dict[int, Result] = {}

    def run(self, progress: Callable[[int, int], object] | None = None) -> list[Result]:
        """All results in order; `progress` gets how many there are, and of how many."""
        with closing(self.events()) as events:
            for index, result in events:
                self._results[index] = result
                if progress is not None:
                    progress(len(self._results), len(self._requests))
        return self._result()

    def _events(self) -> Generator[tuple[int, Result], None, None]:
        while self._errors:
            index = self._errors.popleft()
            error = self._requests[index]
            assert isinstance(error, CactusError)
            yield index, self._checked(index, error)
        while self._lanes or (self._left and not self.call.stopped):
            self._join()
            for lane in self._next():
                if lane in self._lanes:
                    index = self._lanes.pop(lane)
                    yield index, self._checked(index, self._ended_with(lane))
        if self._left:
            self._turns.cancel_if_closed()
        while self._left:
            index = self._left.popleft()
            request = self._requests[index]
            assert isinstance(request, Request)
            answer = Answer(self._batch.engine, request)
            answer.cancel()
            yield index, self._checked(index, answer.completion())

    def _result(self) -> list[Result]:
        """In order; nothing where the results were read as events, so that none is held here."""
        return [self._results[index] for index in sorted(self._results)]

    def _let_go(self) -> None:
        for second in self._seconds.values():
            second.close()
        self._batch.leave(self._mailbox, self._lanes)

    def _next(self) -> list[Lane]:
        """Those whose result is there now; works for all until something has changed."""
        if not self._seconds or any(not lane.ended for lane in self._lanes):
            lane, _, events = self._batch.next(self._mailbox)
            if lane is not None and lane not in self._seconds:
                return [lane] if events is None else []
        else:  # what is left is elsewhere
            wait_for_news(self._mailbox, self.call, self._turns)
        for lane, second in self._seconds.items():
            if lane.answer.doubt is not None and not second.settled:
                second.ask(lane.answer.doubt)
            second.look()
        return [lane for lane in self._seconds if self._is_over(lane)]

    def _is_over(self, lane: Lane) -> bool:
        second = self._seconds[lane]
        return second.answered or (lane.ended and (not second.waiting or self.call.stopped))

    def _join(self) -> None:
        while self._left and len(self._lanes) < AT_ONCE and not self.call.stopped:
            request = self._requests[self._left[0]]
            assert isinstance(request, Request)
            # Answers to a list are seldom continued: the conversations that are stay remembered.
            lane = self._batch.lane(self.call, request, self._mailbox, kept=False)
            self._lanes[lane] = self._left.popleft()
            if request.elsewhere is not None:
                self._seconds[lane] = SecondOpinion(request, self._mailbox)
            self._batch.join(lane)

    def _ended_with(self, lane: Lane) -> Result:
        second = self._seconds.pop(lane, None)
        if second is not None:
            if second.waiting:  # it was stopped
                self._turns.cancel_if_closed()
            second.close()
            if second.answered:
                self._batch.leave(self._mailbox, [lane])
                return second.completion(lane)
        if isinstance(lane.error, CactusError):
            return _as_value(lane.error)
        if lane.error is not None:
            raise lane.error
        if lane.answer.reason in (None, "cancelled"):
            self._turns.cancel_if_closed()
            lane.answer.cancel()
        completion = lane.answer.completion()
        return completion if second is None else second.noted(completion)

    def _checked(self, index: int, result: Result) -> Result:
        if isinstance(result, CactusError) and not self._return_exceptions:
            raise _numbered(index, result)
        request = self._requests[index]
        if isinstance(result, Completion) and isinstance(request, Request):
            return request.cited(result)
        return result
