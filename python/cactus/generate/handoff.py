"""Completions that somebody else gives where the model is less sure than wanted.

The model goes on while another one is asked, so that a question without an answer costs no time:
what the model says is the answer then. Of a stream the first tokens are held back, as long as it
may still turn out that another one is to be asked: what is shown comes from one of both.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import replace

from cactus.calls.reader import Reader
from cactus.calls.turns import Call
from cactus.confidence.entropy import WINDOW
from cactus.errors import CactusError, CloudError
from cactus.generate.answer import Request
from cactus.generate.batch import Batch
from cactus.generate.generation import Generation
from cactus.generate.lane import Lane
from cactus.generate.mailbox import Mailbox
from cactus.generate.second import ELSEWHERE, SecondOpinion, wait_for_news
from cactus.types import Completion, StreamEvent


class HandoffGeneration(Generation):
    """One completion, of the model or of somebody else who is asked where it is in doubt.

    The events of a stream come from one of both. Those of somebody else have the id -1. Before the
    first ten tokens are there nothing is shown. After that, doubt comes too late once a part of the
    answer itself, and not only of reasoning, has been shown. Where somebody else breaks off after a
    part of an answer was shown, the model goes on with that.
    """

    def __init__(self, batch: Batch, call: Call, request: Request) -> None:
        super().__init__(batch, call, request)
        self._second: SecondOpinion | None = None
        self._held: list[tuple[int, list[StreamEvent]]] = []
        self._taken = 0  # tokens that came out of the mailbox
        self._has_shown = False  # a part of the model's own answer
        self._local_over = False
        self._sequel: Generation | None = None  # goes on with what somebody else has begun

    @property
    def progress(self) -> tuple[str, str]:
        """How far it is, and the text that there is."""
        state, text = super().progress
        second = self._second
        if self.result is None and second is not None and second.texts and self._streamed:
            more = "" if self._sequel is None else self._sequel.progress[1]
            return state, "".join(second.texts) + more
        return state, text

    def attend(self, reader: Reader, *, streamed: bool = True) -> bool:
        """It waits for news from two sides, in a thread of its own."""
        return False

    def _events(self) -> Generator[StreamEvent, None, None]:
        lane = self._lane or self._begin()
        mailbox = self._mailbox
        assert mailbox is not None
        if self._second is None:
            self._second = SecondOpinion(self._request, mailbox, streamed=self._streamed)
        second = self._second
        while not second.answered and (not self._local_over or second.waiting):
            self._take(lane, mailbox)
            if self._local_over and self.call.stopped:
                self._turns.cancel_if_closed()
                break
            self._ask_in_doubt(lane)
            text = second.look()
            if text and self._streamed:
                self._leave_local(lane)
                yield StreamEvent(text, ELSEWHERE)
            if second.answered and self._streamed:
                yield from second.call_events()
            if not second.waiting and not second.has_spoken:
                yield from self._release()
        second.close()
        if second.answered:
            return
        if second.has_spoken:
            if not self.call.stopped:
                yield from self._go_on(second)
            return
        yield from self._release(at_last=True)
        yield from self._end(lane)

    def _take(self, lane: Lane, mailbox: Mailbox) -> None:
        """Wait for the next thing, and work for it while there is something to do."""
        if self._local_over:
            began = time.perf_counter()
            wait_for_news(mailbox, self.call, self._turns)
            assert self._second is not None
            self._second.waited += time.perf_counter() - began
            return
        who, number, events = self._batch.next(mailbox)
        if who is not lane:
            return
        if events is None:
            self._local_over = True
        # After a stop the rest is not shown; a step may have been given twice.
        elif self._streamed and number >= self._taken and not self.call.stopped:
            self._taken = number + 1
            self._held.append((number, events))

    def _ask_in_doubt(self, lane: Lane) -> None:
        second, doubt = self._second, lane.answer.doubt
        assert second is not None
        if doubt is None or second.settled:
            return
        # The lane is ahead of its reader: what is decided must not depend on how far.
        if self._streamed and not self._local_over and doubt.tokens >= self._taken:
            return
        if self._has_shown:
            second.too_late(doubt)
        else:
            second.ask(doubt)

    def _release(self, at_last: bool = False) -> Generator[StreamEvent, None, None]:
        """Show what was held back, if it is clear that it is the answer."""
        second = self._second
        assert second is not None
        if not (at_last or self._local_over or second.settled or self._taken >= WINDOW):
            return
        while self._held:
            number, events = self._held.pop(0)
            self._read = number + 1
            for event in events:
                if event.kind != "reasoning" and (event.text or event.kind != "text"):
                    self._has_shown = True
                yield event

    def _go_on(self, second: SecondOpinion) -> Generator[StreamEvent, None, None]:
        """What the model says behind a text that has been shown and is not whole."""
        if self._sequel is None:
            try:
                request = self._continued("".join(second.texts))
            except CactusError:  # its template or its context have no room for that
                return
            self._sequel = Generation(self._batch, self.call, request)
        yield from self._sequel._events()

    def _continued(self, text: str) -> Request:
        from cactus.chat.messages import Message
        from cactus.generate.prompt import build_request

        question, engine = self._request.elsewhere, self._batch.engine
        assert question is not None
        if question.options.format is not None:
            raise CloudError("no grammar begins in the middle of a text", code="format")
        left = question.options.max_tokens - len(engine.tokenizer.encode(text))
        options = replace(
            question.options,
            max_tokens=max(0, left),
            confidence_threshold=None,
            continue_final_message=True,
        )
        turns = [*question.messages, Message("assistant", text)]
        vision = self._request.vision
        return build_request(engine, turns, options, time.perf_counter(), vision=vision)

    def _leave_local(self, lane: Lane) -> None:
        """The model need not go on: its answer will not be shown."""
        if not self._local_over:
            self._local_over = True
            assert self._mailbox is not None
            self._batch.leave(self._mailbox, [lane])

    def _completion(self) -> Completion:
        assert self._lane is not None
        done, second = super()._completion(), self._second
        if second is not None:
            done = (
                second.completion(self._lane, done.reasoning if self._streamed else None)
                if second.has_spoken
                else second.noted(done)
            )
        if self._sequel is None:
            return done
        more = self._sequel._completion()
        cost, added = done.metrics, more.metrics
        return replace(
            done,
            text=done.text + more.text,
            finish_reason=more.finish_reason,
            function_calls=more.function_calls,
            call_ids=more.call_ids,
            metrics=replace(
                added,
                time_to_first_token_ms=cost.time_to_first_token_ms,
                total_time_ms=cost.total_time_ms + added.total_time_ms,
                prefill_tokens=cost.prefill_tokens + added.prefill_tokens,
                cached_tokens=cost.cached_tokens,
            ),
        )

    def _let_go(self) -> None:
        if self._second is not None:
            self._second.close()
        if self._sequel is not None:
            self._sequel._let_go()
        super()._let_go()
