"""Completions that somebody else gives where the model is less sure than wanted.

The model goes on while another one is asked, so that a question without an answer costs no time:
what the model says is the answer then. Of a stream the first tokens are held back, as long as it
may still turn out that another one is to be asked: what is shown comes from one of both.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

from cactus.calls.turns import POLL_SECONDS, Call, Turns
from cactus.errors import CactusError, CloudError
from cactus.generate.answer import Doubt, Request
from cactus.generate.batch import Batch
from cactus.generate.confidence import WINDOW
from cactus.generate.elsewhere import Asked, Reply
from cactus.generate.generation import Generation
from cactus.generate.lane import Item, Lane, Mailbox
from cactus.generate.stop import StopMatcher
from cactus.types import Completion, FinishReason, Handoff, StreamEvent, Structure

ELSEWHERE = -1
"""The id of tokens that are not this model's."""


class SecondOpinion:
    """What becomes of a request where the model is in doubt; one for each request.

    `texts` are what the other one has said, up to a stop string. `answered`: it has said all.
    """

    def __init__(self, request: Request, mailbox: Mailbox, *, streamed: bool = False) -> None:
        self.texts: list[str] = []
        self.answered = False
        self.handoff: Handoff | None = None
        self.waited = 0.0  # seconds in which nothing else was left to do
        self._request, self._mailbox = request, weakref.ref(mailbox)
        self._streamed = streamed
        self._asked: Asked | None = None
        self._doubt: Doubt | None = None
        self._reason: FinishReason | None = None
        self._calls: tuple[dict[str, Any], ...] = ()
        options = request.options
        self._matcher = StopMatcher(options.stop, include=options.include_stop_sequences)

    @property
    def settled(self) -> bool:
        """Whether nobody will be asked any more."""
        return self._doubt is not None

    @property
    def waiting(self) -> bool:
        """Whether an answer may still come."""
        return self._asked is not None and self.handoff is None

    def ask(self, doubt: Doubt) -> None:
        """Ask, once."""
        question = self._request.elsewhere
        assert question is not None and self._doubt is None
        self._asked = question.ask(streamed=self._streamed, wake=_waker(self._mailbox))
        self._doubt = doubt
        self._asked.start()

    def too_late(self, doubt: Doubt) -> None:
        """Do not ask: the answer has been shown in part."""
        self._doubt = doubt
        self.handoff = Handoff(
            answered=False,
            confidence=doubt.confidence,
            code="too_late",
            reason="confidence fell below the threshold when a part of the answer had been shown",
        )

    def look(self) -> str:
        """See what has come; the text of it that is new."""
        asked = self._asked
        if asked is None or self.handoff is not None:
            return ""
        reply = asked.reply
        text = self._matcher.push(asked.take())
        stopped = self._matcher.stopped is not None
        if stopped:
            asked.close()
            reply = replace(asked.reply or Reply(), error=None)
        elif reply is not None and reply.error is None:
            text += self._matcher.flush()
        if text:
            self.texts.append(text)
        if reply is not None:
            self._settle(reply)
        return text

    def _settle(self, reply: Reply) -> None:
        error, doubt = reply.error or self._misfit(), self._doubt
        assert doubt is not None
        if error is None:
            self.answered = True
            self._reason, self._calls = reply.finish_reason, reply.function_calls
        self.handoff = Handoff(
            answered=error is None,
            confidence=doubt.confidence,
            code=None if error is None else error.code,
            reason="" if error is None else str(error),
            host=reply.host or None,
            model=reply.model or None,
            tokens_read=reply.tokens_read,
            tokens_written=reply.tokens_written,
        )

    def _misfit(self) -> CloudError | None:
        """Why the answer is not what it has to be; of one that was shown the result says that."""
        _, structure = self._read()
        if structure is None or structure.valid or self._streamed:
            return None
        what = structure.errors[0] if structure.errors else "it is not whole"
        return CloudError(f"the answer does not fit its schema: {what}", code="format")

    def _read(self) -> tuple[Any, Structure | None]:
        """The value of an answer that has a form, and how it fits that."""
        form = self._request.options.format
        if form is None:
            return None, None
        from cactus.grammar.result import read

        return read("".join(self.texts), form, None)

    @property
    def has_spoken(self) -> bool:
        """Whether the answer is the other one's: it is whole, or a part of it was shown."""
        return self.answered or (self._streamed and bool(self.texts))

    def noted(self, local: Completion) -> Completion:
        """The model's own answer, and why it is that."""
        return local if self.handoff is None else replace(local, handoff=self.handoff)

    def completion(self, lane: Lane, reasoning: str | None = None) -> Completion:
        """The other one's answer, as far as it got; `reasoning` is what the model has shown."""
        doubt = self._doubt
        assert doubt is not None
        before = lane.shown(doubt.tokens + 1).completion()
        parsed, structure = self._read()
        return replace(
            before,
            text="".join(self.texts),
            reasoning=reasoning,
            finish_reason=self._reason or "cancelled",
            confidence=doubt.confidence,
            tokens=(),
            logprobs=(),
            token_logprobs=None,
            function_calls=self._calls,
            parsed=parsed,
            structure=structure,
            handoff=self.handoff,
            metrics=replace(
                before.metrics,
                total_time_ms=before.metrics.total_time_ms + self.waited * 1000,
                decode_tokens=0,
                decode_tps=0.0,
            ),
        )

    def close(self) -> None:
        """End what is on its way."""
        asked, doubt = self._asked, self._doubt
        if asked is None:
            return
        asked.close()
        if self.handoff is None and doubt is not None:
            reply = asked.reply or Reply()
            spoken = self.has_spoken
            self.handoff = Handoff(
                answered=spoken,
                confidence=doubt.confidence,
                code=None if spoken else "cancelled",
                reason="" if spoken else "the call was ended before there was an answer",
                host=reply.host or None,
                model=reply.model or None,
            )


def _waker(mailbox: weakref.ref[Mailbox]) -> Callable[[], None]:
    def wake() -> None:
        found = mailbox()
        if found is not None:
            found.items.append((None, 0, []))
            found.wake()

    return wake


def wait_for_news(mailbox: Mailbox, call: Call, turns: Turns) -> Item | None:
    """The next thing in a mailbox, where no lane of it is left; None once the call is stopped.

    Raises ForkError in a child, where nobody is left who would bring something.
    """
    try:
        while not mailbox.items:
            if call.stopped:
                return None
            if turns.forked:
                turns.check()
            mailbox.waiting = True  # before it is looked into: who puts something in, looks then
            if not mailbox.items:
                mailbox.bell.wait(POLL_SECONDS)
    finally:
        mailbox.waiting = False
    return mailbox.items.popleft()


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
            if not second.waiting and not second.texts:
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
        return build_request(engine, turns, options, time.perf_counter())

    def _leave_local(self, lane: Lane) -> None:
        """The model need not go on: its answer will not be shown."""
        if not self._local_over:
            self._local_over = True
            assert self._mailbox is not None
            self._batch.leave(self._mailbox, [lane])

    def _result(self) -> Completion:
        assert self._lane is not None
        done, second = super()._result(), self._second
        if second is not None:
            done = (
                second.completion(self._lane, done.reasoning if self._streamed else None)
                if second.has_spoken
                else second.noted(done)
            )
        if self._sequel is None:
            return done
        more = self._sequel._result()
        cost, added = done.metrics, more.metrics
        return replace(
            done,
            text=done.text + more.text,
            finish_reason=more.finish_reason,
            function_calls=more.function_calls,
            metrics=replace(
                added,
                time_to_first_token_ms=cost.time_to_first_token_ms,
                total_time_ms=cost.total_time_ms + added.total_time_ms,
                prefill_tokens=cost.prefill_tokens + added.prefill_tokens,
            ),
        )

    def _let_go(self) -> None:
        if self._second is not None:
            self._second.close()
        if self._sequel is not None:
            self._sequel._let_go()
        super()._let_go()
