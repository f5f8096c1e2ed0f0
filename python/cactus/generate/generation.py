"""One completion from its prompt to its end: its lane in the batch, its events."""

from __future__ import annotations

from collections.abc import Generator

from cactus.calls.reader import Reader
from cactus.calls.run import Run
from cactus.calls.turns import Call
from cactus.generate.answer import Answer, Request
from cactus.generate.batch import Batch
from cactus.generate.lane import Lane
from cactus.generate.mailbox import Mailbox
from cactus.types import Completion, StreamEvent


class Generation(Run[StreamEvent, Completion]):
    """One completion: an event for each token, two where reasoning ends.

    One more may follow with text that had been held back. Its id is that of the token that ended
    the answer; after a ``stop`` it is the last token's once more.
    """

    def __init__(self, batch: Batch, call: Call, request: Request) -> None:
        super().__init__(batch.turns, call)
        self._batch, self._request = batch, request
        self._mailbox: Mailbox | None = None
        self._lane: Lane | None = None
        self._read = 0  # tokens whose events were read
        self._streamed = True
        self._done: Answer | None = None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, those of images with them."""
        return len(self._request.prompt)

    @property
    def progress(self) -> tuple[str, str]:
        """How far it is ("not begun", "open", "ended"), and the text that there is."""
        if self.result is not None:
            return "ended", self.result.text
        if self._lane is None:
            return "ended" if self._over else "not begun", ""
        return "ended" if self._over else "open", self._lane.shown(self._read).text

    def run(self) -> Completion:
        """Generate to the end and return the completion; no thread looks at single tokens."""
        self._streamed = False
        return super().run()

    def attend(self, reader: Reader, *, streamed: bool = True) -> bool:
        """Begin, and tell `reader` when there is something to read.

        False where the answer is looked at once more when it is whole: that takes a thread.
        """
        if self._request.consulted is not None:
            return False
        self._turns.check()
        self._attended, self._streamed = True, streamed
        self._join(self._batch.letterbox(reader, patient=not streamed))
        self._batch.go_on()
        return True

    def waits(self) -> bool:
        """Whether there is nothing to read yet; if so, somebody works for it."""
        mailbox = self._mailbox
        return mailbox is not None and not (mailbox.items or self._over) and self._goes_on(mailbox)

    def at_work(self) -> bool:
        """Whether somebody still works for it, though it may have been stopped."""
        lane, mailbox = self._lane, self._mailbox
        if lane is None or mailbox is None or lane.at_rest:
            return False
        return self._goes_on(mailbox)

    def _goes_on(self, mailbox: Mailbox) -> bool:
        """See to it that somebody works for it; false where nobody can any more."""
        if mailbox.failure is not None or self._turns.forked:
            return False
        self._batch.go_on()
        return True

    def _events(self) -> Generator[StreamEvent, None, None]:
        lane = self._lane or self._begin()
        mailbox = self._mailbox
        assert mailbox is not None
        while True:
            _, number, events = self._batch.next(mailbox)
            if events is None:
                break
            # After a stop the rest is not shown; a step may have been given twice.
            if number >= self._read and not self.call.stopped:
                self._read = number + 1
                yield from events
        yield from self._end(lane)

    def _end(self, lane: Lane) -> Generator[StreamEvent, None, None]:
        """The lane has ended: what is left to show."""
        if lane.error is not None:
            raise lane.error
        answer = self._answer(lane)
        if answer.reason in (None, "cancelled"):
            self._turns.cancel_if_closed()
        if answer.reason is None:
            yield from answer.cancel()
        self._done = answer

    def _begin(self) -> Lane:
        return self._join(self._batch.mailbox(patient=not self._streamed))

    def _join(self, mailbox: Mailbox) -> Lane:
        self._mailbox = mailbox
        self._lane = self._batch.lane(self.call, self._request, mailbox)
        self._batch.join(self._lane)
        return self._lane

    def _answer(self, lane: Lane) -> Answer:
        """What its reader has seen of the answer; where nobody reads, all."""
        return lane.shown(self._read) if self._streamed else lane.answer

    def _result(self) -> Completion:
        return self._request.cited(self._completion())

    def _completion(self) -> Completion:
        """What it has come to, without what documents have to do with it."""
        assert self._lane is not None
        answer = self._answer(self._lane) if self._done is None else self._done
        return answer.completion()

    def _let_go(self) -> None:
        if self._mailbox is not None:
            self._batch.leave(self._mailbox, [] if self._lane is None else [self._lane])
