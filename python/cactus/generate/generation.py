"""One completion from its prompt to its end: its lane in the batch, its events."""

from __future__ import annotations

from collections.abc import Generator

from cactus.calls.turns import Call
from cactus.errors import ReentrantCall
from cactus.generate.answer import Answer, Request
from cactus.generate.batch import Batch
from cactus.generate.lane import Lane
from cactus.types import Completion, StreamEvent


class Generation:
    """One completion. `run` it, or read its `events`; then `completion` is there.

    It stays None when generation failed, and until it has ended. After ReentrantCall `events` may
    be read on, with another call of it.
    """

    def __init__(self, batch: Batch, call: Call, request: Request) -> None:
        self._batch, self._call, self._request = batch, call, request
        self._lane: Lane | None = None
        self._completion: Completion | None = None
        self._read = 0  # tokens whose events were read
        self._ended = self._abandoned = False

    @property
    def completion(self) -> Completion | None:
        """The whole answer, or what had been shown of it when its reader went away."""
        if self._abandoned and self._completion is None and self._lane is not None:
            self._completion = self._lane.shown(self._read).completion()
        return self._completion

    @property
    def progress(self) -> tuple[str, str]:
        """How far it is ("not begun", "open", "ended"), and the text that there is."""
        if self._completion is not None:
            return "ended", self._completion.text
        if self._lane is None:
            return "ended" if self._ended else "not begun", ""
        return "ended" if self._ended else "open", self._lane.shown(self._read).text

    def run(self) -> Completion:
        """Generate to the end and return the completion."""
        try:
            lane = self._begin(streamed=False)
            while self._batch.next(lane.mailbox)[2] is not None:
                pass
            answer = lane.answer
            self._check(lane, answer)
            if answer.reason is None:
                answer.cancel()
            self._completion = answer.completion()
            return self._completion
        finally:
            self._leave()

    def events(self) -> Generator[StreamEvent, None, None]:
        """Yield one event a token (two where reasoning ends), as they are computed.

        One more may follow with text that had been held back. Its id is that of the token that
        ended the answer; after a ``stop`` it is the last token's once more.
        """
        refused = False
        try:
            lane = self._lane or self._begin(streamed=True)
            while True:
                _, number, events = self._batch.next(lane.mailbox)
                if events is None:
                    break
                # After a stop the rest is not shown; a step may have been given twice.
                if number >= self._read and not self._call.stopped:
                    self._read = number + 1
                    yield from events
            answer = lane.shown(self._read)
            self._check(lane, answer)
            if answer.reason is None:
                yield from answer.cancel()
            self._completion = answer.completion()
        except ReentrantCall:
            refused = True  # it is still in flight
            raise
        except GeneratorExit:  # the reader has had enough, or the interpreter is shutting down
            self._abandoned = True
            raise
        finally:
            if not refused:
                self._leave()

    def _begin(self, *, streamed: bool) -> Lane:
        self._batch.turns.check()
        mailbox = self._batch.mailbox(patient=not streamed)
        self._lane = self._batch.lane(self._call, self._request, mailbox)
        self._batch.join(self._lane)
        return self._lane

    def _check(self, lane: Lane, answer: Answer) -> None:
        """Raises what the lane, or the model, ended with."""
        if lane.error is not None:
            raise lane.error
        if answer.reason in (None, "cancelled"):
            self._batch.turns.cancel_if_closed()

    def _leave(self) -> None:
        self._ended = True
        if self._lane is not None:
            self._batch.leave(self._lane)
        self._batch.turns.leave(self._call)
