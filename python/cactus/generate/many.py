"""Many conversations at once: a list of requests that join the batch, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing
from typing import Any

from cactus.calls.run import Run
from cactus.calls.stop_flag import StopFlag
from cactus.calls.turns import Call
from cactus.errors import CactusError, InvalidRequest
from cactus.generate.answer import Answer, Request
from cactus.generate.batch import Batch
from cactus.generate.lane import Lane
from cactus.generate.options import Options
from cactus.generate.second import SecondOpinion, wait_for_news
from cactus.types import Completion

AT_ONCE = 60
"""Requests of one list in the batch at most. Others find room beside them; and the matrix kernels
take 4, 5 or 12 rows at once, which go into 60 without rest: 32 take 8 % longer for each."""

Result = Completion | CactusError


Prepare = Callable[["Sequence[Mapping[str, Any]] | str"], Request]
"""What makes a request of a conversation."""


def prepare_many(
    conversations: Iterable[Sequence[Mapping[str, Any]] | str],
    options: Options,
    stop: StopFlag,
    return_exceptions: bool,
    prepare: Prepare,
) -> list[Request | CactusError]:
    """A request for each conversation, or the error that is its result.

    Once stopped, those that are left of a list get empty requests; an iterator, which may have no
    end, is asked for no more. Raises InvalidRequest if `conversations` is not a list of
    conversations, and without `return_exceptions` the first error of one of them.
    """
    requests: list[Request | CactusError] = []
    for messages in conversations_of(conversations):
        if stop:
            requests.append(Request([], options))
            if isinstance(conversations, Sized):
                continue
            break
        request = _prepared(messages, prepare)
        if isinstance(request, CactusError) and not return_exceptions:
            raise _numbered(len(requests), request)
        requests.append(request)
    return requests


def prepare_each(
    conversations: Iterable[Sequence[Mapping[str, Any]] | str], prepare: Prepare
) -> Iterator[Request | CactusError]:
    """The same one by one, when it is asked for: the conversations may be more than memory has."""
    return (_prepared(messages, prepare) for messages in conversations_of(conversations))


def conversations_of(given: Any) -> Iterable[Any]:
    """`given`, or InvalidRequest if that is not several conversations."""
    single = isinstance(given, (str, bytes, bytearray, memoryview, Mapping))
    if single or not isinstance(given, Iterable):
        raise InvalidRequest(
            "chat_many takes a list of conversations, each a list of messages, "
            f"got {type(given).__name__}"
        )
    return given


def _prepared(messages: Any, prepare: Prepare) -> Request | CactusError:
    try:
        return prepare(messages)
    except CactusError as error:
        return _as_value(error)


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
    Of an iterator of requests the next is asked for when there is a place for it, and none once the
    call is stopped.
    """

    def __init__(
        self,
        batch: Batch,
        call: Call,
        requests: Sequence[Request | CactusError] | Iterator[Request | CactusError],
        return_exceptions: bool,
    ) -> None:
        super().__init__(batch.turns, call)
        self._batch = batch
        self._return_exceptions = return_exceptions
        # The thread has nothing to do before the first of them ends.
        self._mailbox = batch.mailbox(patient=True)
        self._left: Iterator[tuple[int, Request | CactusError]] = enumerate(requests)
        self._total: int | None = None
        if isinstance(requests, Sequence):  # what is known to be wrong comes first
            self._left = iter(sorted(self._left, key=lambda one: isinstance(one[1], Request)))
            self._total = len(requests)
        self._lanes: dict[Lane, tuple[int, Request]] = {}  # all that have no result yet
        self._seconds: dict[Lane, SecondOpinion] = {}  # of those that may have one
        self._results: dict[int, Result] = {}

    def run(self, progress: Callable[[int, int], object] | None = None) -> list[Result]:
        """All results in order; `progress` gets how many there are, and of how many."""
        with closing(self.events()) as events:
            for index, result in events:
                self._results[index] = result
                if progress is not None:
                    progress(len(self._results), self._total or 0)
        return self._result()

    def _events(self) -> Generator[tuple[int, Result], None, None]:
        while True:
            yield from self._join()
            if not self._lanes:
                break
            for lane in self._next():
                if lane in self._lanes:
                    index, request = self._lanes.pop(lane)
                    result = self._ended_with(lane)
                    if isinstance(result, Completion):
                        result = request.cited(result)
                    yield index, self._checked(index, result)
        if self._total is not None:
            yield from self._cancel()

    def _cancel(self) -> Iterator[tuple[int, Result]]:
        """Those that never began, of a list."""
        for index, request in self._left:
            if isinstance(request, CactusError):
                yield index, self._checked(index, request)
                continue
            self._turns.cancel_if_closed()
            answer = Answer(self._batch.engine, request)
            answer.cancel()
            yield index, request.cited(answer.completion())

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

    def _join(self) -> Iterator[tuple[int, Result]]:
        """Give all free places away; those that are errors are results already."""
        while len(self._lanes) < AT_ONCE and not self.call.stopped:
            index, request = next(self._left, (-1, None))
            if request is None:
                return
            if isinstance(request, CactusError):
                yield index, self._checked(index, request)
                continue
            # Answers to a list are seldom continued: the conversations that are stay remembered.
            lane = self._batch.lane(self.call, request, self._mailbox, kept=False)
            self._lanes[lane] = index, request
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
        return result
